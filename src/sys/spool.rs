//! A file that many short processes append lines to and one long process reads.
//!
//! Works when nobody reads: it is bounded, and at its bound begun anew, because the newest lines
//! matter most. A line is one `write` in append mode, so that writers never mix. Neither side waits
//! for the other: locks are tried, not taken.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

/// What was read of a file this large is cut off when its end is reached.
const CUT_BYTES: u64 = 64 * 1024;
/// Bytes taken at one look.
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// Neither a pipe nor a terminal that somebody put there may hold us up.
fn flags() -> i32 {
    i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0)
}

fn plain(file: &File) -> std::io::Result<u64> {
    let facts = file.metadata()?;
    if facts.is_file() { Ok(facts.len()) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

/// Appends the line as it is. The folder must be there: who has no spool is not listened to.
pub fn append(path: &Path, line: &str, bytes_max: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags())
        .open(path)?;
    let length = plain(&file)?;
    // Without the lock a line may be lost to a cut of the reader; that is better than to wait.
    let _ = flock(&file, FlockOperation::NonBlockingLockShared);
    let added = u64::try_from(line.len()).unwrap_or(u64::MAX);
    if length.saturating_add(added) > bytes_max {
        file.set_len(0)?;
    }
    file.write_all(line.as_bytes())
}

/// The reading side of one spool.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    offset: u64,
}

impl Reader {
    pub fn new(path: PathBuf) -> Self {
        Self { path, offset: 0 }
    }

    /// The whole lines added since the last look; empty when there are none.
    pub fn look(&mut self) -> std::io::Result<String> {
        let length = match std::fs::metadata(&self.path) {
            Ok(facts) if facts.is_file() => facts.len(),
            Ok(_) => return Err(std::io::ErrorKind::InvalidInput.into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if length < self.offset {
            self.offset = 0;
        }
        if length == self.offset {
            return Ok(String::new());
        }
        let mut file =
            OpenOptions::new().read(true).write(true).custom_flags(flags()).open(&self.path)?;
        plain(&file)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        (&file).take(LOOK_BYTES_MAX).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        bytes.truncate(whole);
        self.offset += u64::try_from(whole).unwrap_or(0);
        if self.offset >= CUT_BYTES {
            self.cut(&file)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn cut(&mut self, file: &File) -> std::io::Result<()> {
        if flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && plain(file)? == self.offset
        {
            file.set_len(0)?;
            self.offset = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.jsonl");
        (dir, path)
    }

    #[test]
    fn each_line_is_read_once_and_a_torn_one_when_it_is_whole() {
        let (_dir, path) = spool();
        let mut reader = Reader::new(path.clone());
        assert_eq!(reader.look().unwrap(), "");
        append(&path, "one\ntw", 1_000).unwrap();
        assert_eq!(reader.look().unwrap(), "one\n");
        append(&path, "o\n", 1_000).unwrap();
        assert_eq!(reader.look().unwrap(), "two\n");
        assert_eq!(reader.look().unwrap(), "");
    }

    #[test]
    fn a_full_spool_is_begun_anew_with_the_newest_line() {
        let (_dir, path) = spool();
        let mut reader = Reader::new(path.clone());
        append(&path, "0123456789\n", 20).unwrap();
        reader.look().unwrap();
        append(&path, "a\n", 20).unwrap();
        append(&path, "0123456789\n", 20).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0123456789\n");
        append(&path, "b\n", 20).unwrap();
        assert!(reader.look().unwrap().ends_with("b\n"));
    }

    #[test]
    fn what_was_read_does_not_pile_up() {
        let (_dir, path) = spool();
        let mut reader = Reader::new(path.clone());
        let line = format!("{}\n", "x".repeat(4_000));
        let mut read = 0;
        for _ in 0..100 {
            append(&path, &line, 1 << 20).unwrap();
            read += reader.look().unwrap().lines().count();
        }
        assert_eq!(read, 100);
        assert!(path.metadata().unwrap().len() <= CUT_BYTES);
    }

    #[test]
    fn a_pipe_in_its_place_neither_blocks_nor_is_read() {
        let (_dir, path) = spool();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        append(&path, "x\n", 100).unwrap_err();
        Reader::new(path).look().unwrap_err();
    }
}
