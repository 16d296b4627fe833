//! How hard the machine's tasks wait for CPU and memory, as the kernel tells it in `/proc/pressure`.
//!
//! Two small reads, no process. Kernels without it (and other systems) tell nothing.

use crate::supervise::pacing::Pressure;

/// Of the last ten seconds; `None` where the kernel does not tell.
pub fn read() -> Option<Pressure> {
    let of =
        |what: &str| some_avg10(&std::fs::read_to_string(format!("/proc/pressure/{what}")).ok()?);
    Some(Pressure { cpu_percent: of("cpu")?, memory_percent: of("memory")? })
}

/// From `some avg10=1.53 avg60=…`, in whole percent.
fn some_avg10(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let number = line.split(' ').find_map(|field| field.strip_prefix("avg10="))?;
    number.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_seconds_of_some_are_read_in_whole_percent() {
        let text = "some avg10=61.98 avg60=2.00 avg300=1.00 total=1\nfull avg10=7.00 avg60=0.00\n";
        assert_eq!(some_avg10(text), Some(61));
        assert_eq!(some_avg10("full avg10=7.00\n"), None);
        assert_eq!(some_avg10(""), None);
    }
}
