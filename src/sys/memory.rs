//! Letting go of memory that only the start needed.
//!
//! Reading options and a config, compiling patterns and relocating the program touch most of it, in
//! steps of 64 kB; watching needs little. Measured: the mapped code is half of a watchdog's memory.
//! Linux only; elsewhere nothing is done.

/// Lets go of both: what was freed and what was only read.
pub fn let_go() {
    let_go_of_code();
    let_go_of_heap();
}

/// Makes all threads take their memory from one heap, for a process whose threads mostly wait: each heap
/// more keeps what its thread freed. To be called before the first thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is C's")]
pub fn share_one_heap() {
    // SAFETY: sets a number of the allocator; threads that have a heap of their own keep it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share_one_heap() {}

/// Gives freed memory back to the kernel, also where something still in use lies behind it.
/// Measured: 0.8 of 6 MB that a watchdog of 100 agents had written to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator is C's")]
fn let_go_of_heap() {
    // SAFETY: takes the allocator's own locks and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn let_go_of_heap() {}

/// Lets go of the pages of our own code and constants; what is needed again is read from the file
/// again, which is in the page cache. Costs some hundred page faults, so not for every tick.
#[cfg(target_os = "linux")]
fn let_go_of_code() {
    let (Ok(program), Ok(maps)) =
        (std::fs::read_link("/proc/self/exe"), std::fs::read_to_string("/proc/self/maps"))
    else {
        return;
    };
    for (start, length) in linux::unwritten(&maps, &program.to_string_lossy()) {
        linux::drop_pages(start, length);
    }
}

#[cfg(not(target_os = "linux"))]
fn let_go_of_code() {}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::mm::{Advice, madvise};

    /// Start and length of the mappings of `program` that nobody ever writes to: its code, and the
    /// constants before it. Read-only data behind them was written to when it was relocated.
    pub(super) fn unwritten(maps: &str, program: &str) -> Vec<(usize, usize)> {
        let mapping = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            let (range, mode, offset) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = line.ends_with(program) && fields.nth(2) == Some(program);
            let first = offset.bytes().all(|digit| digit == b'0');
            let kept = mode == "r-xp" || (mode == "r--p" && first);
            let (start, end) = range.split_once('-')?;
            let start = usize::from_str_radix(start, 16).ok()?;
            let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
            (ours && kept).then_some((start, length))
        };
        maps.lines().filter_map(mapping).collect()
    }

    #[expect(unsafe_code, reason = "no safe call tells the kernel this")]
    pub(super) fn drop_pages(start: usize, length: usize) {
        // SAFETY: the range is a whole mapping of this program's file as the kernel just listed it,
        // private and never writable, so every page equals the file and is read from there again.
        let _ = unsafe {
            madvise(std::ptr::with_exposed_provenance_mut(start), length, Advice::LinuxDontNeed)
        };
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn resident_kb(kind: &str) -> u64 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
        }

        #[test]
        fn only_what_is_never_written_is_let_go_of() {
            let maps = "\
5629a000-5629b000 r--p 00000000 fe:00 77 /opt/ao
5629b000-562ab000 r-xp 00001000 fe:00 77 /opt/ao
562ab000-562ad000 r--p 00011000 fe:00 77 /opt/ao
562ad000-562ae000 rw-p 00013000 fe:00 77 /opt/ao
562b0000-562c0000 rw-p 00000000 00:00 0 [heap]
7f000000-7f001000 r-xp 00000000 fe:00 78 /opt/other/ao
7f001000-7f002000 r-xp 00000000 fe:00 79 /opt/lib.so
";
            let found = unwritten(maps, "/opt/ao");
            assert_eq!(found, [(0x5629_a000, 0x1000), (0x5629_b000, 0x1_0000)]);
        }

        #[test]
        fn the_program_goes_on_with_less_memory() {
            let before = resident_kb("RssFile");
            super::super::let_go_of_code();
            assert!(resident_kb("RssFile") < before, "{before} kB");
        }

        #[cfg(target_env = "gnu")]
        #[test]
        fn freed_memory_goes_back_though_something_behind_it_is_in_use() {
            // Small ones, as large ones are mapped by themselves and given back at once.
            let mut taken: Vec<_> =
                (0_u8..=255).cycle().take(60_000).map(|x| vec![x; 1_000]).collect();
            let last = taken.pop();
            drop(taken);
            let before = resident_kb("RssAnon");
            super::super::let_go_of_heap();
            let after = resident_kb("RssAnon");
            assert!(after + 10_000 < before, "{before} kB, then {after} kB");
            assert_eq!(last.map(|last| last.len()), Some(1_000));
        }
    }
}
