//! Files that survive a crash: whole or untouched, never half.
//!
//! Appending is one `write`, so that lines of two writers never mix. Rotation copies and truncates,
//! because the writer of a pane's log (`cat >>`) cannot be told to open another file; bytes written
//! between copy and truncate can be lost, which a log bears.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

#[derive(Debug, thiserror::Error)]
#[error("cannot {act} `{}`", path.display())]
pub struct FileError {
    pub act: &'static str,
    pub path: PathBuf,
    #[source]
    pub cause: std::io::Error,
}

impl From<FileError> for std::io::Error {
    fn from(error: FileError) -> Self {
        error.cause
    }
}

fn because<'a>(act: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FileError + 'a {
    move |cause| FileError { act, path: path.to_owned(), cause }
}

/// Replaces the file as a whole; readers see the old or the new content, also after a power cut.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    put(path, bytes, mode, true)
}

/// The same for a file that is of no use after a power cut: nothing waits for the disk.
pub fn replace_volatile(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    put(path, bytes, mode, false)
}

fn put(path: &Path, bytes: &[u8], mode: u32, lasting: bool) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        // Made with mode 0600, so that a secret is never readable in between.
        let mut temporary = tempfile::Builder::new().prefix(".ao-").tempfile_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        if lasting {
            temporary.as_file().sync_all()?;
        }
        temporary.persist(path).map_err(|error| error.error)?;
        if lasting { File::open(folder)?.sync_all() } else { Ok(()) }
    };
    write().map_err(because("replace", path))
}

/// Appends one line (its LF is added) in a single write; the file is made with mode 0600.
pub fn append_line(path: &Path, line: &str) -> Result<(), FileError> {
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    };
    write().map_err(because("append to", path))
}

/// The last at most `bytes_max` bytes, begun at a line's start unless that is all there is.
///
/// `None`: there is no such file. Bytes that are not UTF-8 are replaced.
pub fn read_tail(path: &Path, bytes_max: u64) -> Result<Option<String>, FileError> {
    let read = || -> std::io::Result<Option<String>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let start = file.metadata()?.len().saturating_sub(bytes_max);
        // One byte earlier tells whether the cut fell on a line's start.
        file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes)?;
        if start > 0 {
            let cut = bytes.iter().position(|&byte| byte == b'\n').map_or(1, |at| at + 1);
            let cut = if cut >= bytes.len() { 1 } else { cut };
            bytes.drain(..cut.min(bytes.len()));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    };
    read().map_err(because("read", path))
}

/// The first at most `bytes_max` bytes as text, `None` when there is no such file.
pub fn read_head(path: &Path, bytes_max: u64) -> Result<Option<String>, FileError> {
    let read = || -> std::io::Result<Option<String>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    };
    read().map_err(because("read", path))
}

/// The whole file as text, `None` when there is none. Bytes that are not UTF-8 are replaced.
pub fn read(path: &Path) -> Result<Option<String>, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FileError { act: "read", path: path.to_owned(), cause }),
    }
}

/// Moves a file nobody can read out of the way, to `<file>.corrupt-<time>`; where it is now.
pub fn set_aside(path: &Path, at: DateTime<Utc>) -> Result<PathBuf, FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".corrupt-{}", at.format("%Y%m%dT%H%M%S%3fZ")));
    let aside = PathBuf::from(name);
    std::fs::rename(path, &aside).map_err(because("set aside", path))?;
    Ok(aside)
}

/// Removes the file; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError { act: "remove", path: path.to_owned(), cause: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies a log over `bytes_max` bytes to `<file>.1` (older ones move up, at most `keep` stay) and
/// empties it in place. Says whether it did.
pub fn rotate(path: &Path, bytes_max: u64, keep: u32) -> Result<bool, FileError> {
    let large = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len() > bytes_max,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(cause) => return Err(FileError { act: "measure", path: path.to_owned(), cause }),
    };
    if !large {
        return Ok(false);
    }
    for number in (1..keep).rev() {
        let older = numbered(path, number);
        if older.exists() {
            std::fs::rename(&older, numbered(path, number + 1))
                .map_err(because("rotate", &older))?;
        }
    }
    let shift = || -> std::io::Result<()> {
        if keep > 0 {
            let mut from = File::open(path)?;
            let mut to = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(numbered(path, 1))?;
            std::io::copy(&mut from, &mut to)?;
        }
        OpenOptions::new().write(true).open(path)?.set_len(0)
    };
    shift().map_err(because("rotate", path))?;
    Ok(true)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        (dir, file)
    }

    #[test]
    fn a_replaced_file_has_the_new_content_the_mode_and_no_leftovers() {
        let (dir, file) = file();
        replace(&file, b"old", 0o644).unwrap();
        replace(&file, b"new", 0o600).unwrap();
        assert_eq!(read(&file).unwrap().as_deref(), Some("new"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_tail_begins_at_a_line() {
        let (_dir, file) = file();
        assert_eq!(read_tail(&file, 10).unwrap(), None);
        for line in ["one", "two", "three"] {
            append_line(&file, line).unwrap();
        }
        let tail = |bytes| read_tail(&file, bytes).unwrap().unwrap();
        assert_eq!(tail(100), "one\ntwo\nthree\n");
        assert_eq!(tail(14), "one\ntwo\nthree\n");
        assert_eq!(tail(13), "two\nthree\n");
        assert_eq!(tail(10), "two\nthree\n");
        assert_eq!(tail(9), "three\n");
        assert_eq!(tail(3), "ee\n");
    }

    #[test]
    fn a_corrupt_file_is_kept_under_another_name() {
        let (_dir, file) = file();
        append_line(&file, "{").unwrap();
        let aside = set_aside(&file, DateTime::UNIX_EPOCH).unwrap();
        assert!(aside.to_str().unwrap().ends_with("file.corrupt-19700101T000000000Z"));
        assert_eq!(read(&aside).unwrap().as_deref(), Some("{\n"));
        assert_eq!(read(&file).unwrap(), None);
    }

    #[test]
    fn rotation_keeps_so_many_and_the_writer_goes_on_in_the_same_file() {
        let (_dir, file) = file();
        let mut writer =
            OpenOptions::new().append(true).create(true).mode(0o600).open(&file).unwrap();
        for round in ["first", "second", "third"] {
            writer.write_all(round.as_bytes()).unwrap();
            assert!(rotate(&file, 3, 2).unwrap());
        }
        assert!(!rotate(&file, 3, 2).unwrap());
        let content = |path: &Path| read(path).unwrap();
        assert_eq!(content(&file).as_deref(), Some(""));
        assert_eq!(content(&numbered(&file, 1)).as_deref(), Some("third"));
        assert_eq!(content(&numbered(&file, 2)).as_deref(), Some("second"));
        assert_eq!(content(&numbered(&file, 3)), None);
    }
}
