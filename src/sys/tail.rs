//! Following a file that grows, is rotated by copying and emptying, or does not exist yet.
//!
//! No waiting here: the caller asks again when it likes. What was written between the last look and
//! an emptying stands in `<file>.1` and is read from there, as far as only one rotation lies between
//! two looks.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes taken at one look, so that a huge file is not held in memory at once.
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// A place in a growing file.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    /// To tell a new file of the same name.
    inode: Option<u64>,
}

impl Tail {
    /// The last `bytes_max` bytes of the file and its predecessor `<file>.1`, and the place behind them.
    pub fn from_end(path: &Path, bytes_max: u64) -> std::io::Result<(Vec<u8>, Self)> {
        let mut tail = Self { path: path.to_owned(), offset: 0, inode: None };
        let mut bytes = Vec::new();
        let Some(length) = tail.length()? else {
            return Ok((bytes, tail));
        };
        if length < bytes_max
            && let Some(older) = length_of(&previous(path))?
        {
            let from = older.saturating_sub(bytes_max - length);
            bytes = read_between(&previous(path), from, older)?;
        }
        bytes.extend(read_between(path, length.saturating_sub(bytes_max), length)?);
        tail.offset = length;
        Ok((bytes, tail))
    }

    /// From a place that was kept; with `inode`, another file of the same name is read from its beginning.
    pub fn resume(path: &Path, offset: u64, inode: Option<u64>) -> Self {
        Self { path: path.to_owned(), offset, inode }
    }

    /// The place to resume from: the offset, and which file it is in.
    pub fn place(&self) -> (u64, Option<u64>) {
        (self.offset, self.inode)
    }

    /// What was added since the last look; empty when nothing was.
    pub fn look(&mut self) -> std::io::Result<Vec<u8>> {
        let (offset, inode) = (self.offset, self.inode);
        let Some(length) = self.length()? else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        if length < offset || (inode.is_some() && inode != self.inode) {
            if let Some(older) = length_of(&previous(&self.path))?.filter(|&older| older > offset) {
                bytes = read_between(&previous(&self.path), offset, older)?;
            }
            self.offset = 0;
        }
        let end = length.min(self.offset + LOOK_BYTES_MAX);
        bytes.extend(read_between(&self.path, self.offset, end)?);
        self.offset = end;
        Ok(bytes)
    }

    /// `None` when there is no such file.
    fn length(&mut self) -> std::io::Result<Option<u64>> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                self.inode = Some(metadata.ino());
                Ok(Some(metadata.len()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

fn length_of(path: &Path) -> std::io::Result<Option<u64>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_between(path: &Path, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to.saturating_sub(from)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[track_caller]
    fn check(tail: &mut Tail, expected: &str) {
        assert_eq!(String::from_utf8(tail.look().unwrap()).unwrap(), expected);
    }

    #[test]
    fn only_what_is_new_is_read_and_a_file_may_come_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (bytes, mut tail) = Tail::from_end(&path, 10).unwrap();
        assert!(bytes.is_empty());
        check(&mut tail, "");
        append(&path, "one\n");
        check(&mut tail, "one\n");
        append(&path, "two\n");
        check(&mut tail, "two\n");
        check(&mut tail, "");
    }

    #[test]
    fn what_came_just_before_the_log_was_emptied_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path, "seen\n");
        let (_, mut tail) = Tail::from_end(&path, 100).unwrap();
        append(&path, "unseen\n");
        fs::copy(&path, previous(&path)).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        append(&path, "new\n");
        check(&mut tail, "unseen\nnew\n");
    }

    #[test]
    fn a_kept_place_is_gone_on_from_unless_the_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path, "one\n");
        let (_, tail) = Tail::from_end(&path, 0).unwrap();
        let (offset, inode) = tail.place();
        append(&path, "two\n");
        check(&mut Tail::resume(&path, offset, inode), "two\n");
        append(&folder.path().join("new"), "another file\n");
        fs::rename(folder.path().join("new"), &path).unwrap();
        check(&mut Tail::resume(&path, offset, inode), "another file\n");
    }

    #[test]
    fn a_start_at_the_end_reaches_back_into_the_rotated_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&previous(&path), "0123456789");
        append(&path, "abcd");
        let (bytes, mut tail) = Tail::from_end(&path, 6).unwrap();
        assert_eq!(bytes, b"89abcd");
        check(&mut tail, "");
    }
}
