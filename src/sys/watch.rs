//! Tells that a file may have changed. The receiver debounces and reads the file itself.
//!
//! Its folder is watched, not the file: editors replace files, and a watch on the old one would hear
//! nothing more. A watch that cannot be had is no disaster: the file is also looked at now and then.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};

use notify::{EventKind, RecursiveMode, Watcher as _};

/// Watches until dropped.
#[derive(Debug)]
pub struct FileWatch {
    _watcher: notify::RecommendedWatcher,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot watch `{}`", folder.display())]
pub struct WatchError {
    pub folder: PathBuf,
    #[source]
    pub cause: notify::Error,
}

impl FileWatch {
    /// Tells which file of a folder may have changed, from a thread of its own; `None`: any of them.
    pub fn files(
        folder: &Path,
        mut changed: impl FnMut(Option<&Path>) + Send + 'static,
    ) -> Result<Self, WatchError> {
        Self::hear(folder, RecursiveMode::NonRecursive, move |event| match event {
            Some(event) => event.paths.iter().for_each(|path| changed(Some(path))),
            None => changed(None),
        })
    }

    /// Tells that something may have happened in a folder, no matter what.
    pub fn folder(
        folder: &Path,
        changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, WatchError> {
        Self::watch(folder, None, RecursiveMode::NonRecursive, changed)
    }

    /// The same for a folder and all below it.
    pub fn tree(folder: &Path, changed: impl FnMut() + Send + 'static) -> Result<Self, WatchError> {
        Self::watch(folder, None, RecursiveMode::Recursive, changed)
    }

    /// Calls `changed` from a thread of its own, often several times for one change.
    pub fn start(file: &Path, changed: impl FnMut() + Send + 'static) -> Result<Self, WatchError> {
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let name = file.file_name().map(std::ffi::OsStr::to_owned);
        Self::watch(folder, name, RecursiveMode::NonRecursive, changed)
    }

    /// `name`: only this file of the folder counts.
    fn watch(
        folder: &Path,
        name: Option<std::ffi::OsString>,
        depth: RecursiveMode,
        mut changed: impl FnMut() + Send + 'static,
    ) -> Result<Self, WatchError> {
        Self::hear(folder, depth, move |event| {
            let named = |name: &std::ffi::OsStr| {
                event.is_none_or(|event| {
                    event.paths.iter().any(|path| path.file_name() == Some(name))
                })
            };
            if name.as_deref().is_none_or(named) {
                changed();
            }
        })
    }

    /// `None` is heard where changes may have been missed.
    fn hear(
        folder: &Path,
        depth: RecursiveMode,
        mut changed: impl FnMut(Option<&notify::Event>) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let heard = move |event: notify::Result<notify::Event>| match &event {
            Ok(event) if event.need_rescan() => changed(None),
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => {}
            Ok(event) => changed(Some(event)),
            // An error (such as an overflow) may hide a change, so it counts as one.
            Err(_) => changed(None),
        };
        let failed = |cause| WatchError { folder: folder.to_owned(), cause };
        let mut watcher = notify::recommended_watcher(heard).map_err(failed)?;
        watcher.watch(folder, depth).map_err(failed)?;
        Ok(Self { _watcher: watcher })
    }

    /// A unit per possible change arrives on a channel.
    pub fn channel(file: &Path) -> Result<(Self, Receiver<()>), WatchError> {
        let (sender, receiver) = mpsc::channel();
        Ok((Self::start(file, move || _ = sender.send(()))?, receiver))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_file_of_a_folder_is_told_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, changes) = mpsc::channel();
        let told = move |path: Option<&Path>| drop(sender.send(path.map(Path::to_owned)));
        let _watch = FileWatch::files(dir.path(), told).unwrap();
        for name in ["one", "two"] {
            let file = dir.path().join(name);
            std::fs::write(&file, "x").unwrap();
            assert_eq!(changes.recv_timeout(Duration::from_secs(5)), Ok(Some(file)));
            while changes.recv_timeout(Duration::from_millis(50)).is_ok() {}
        }
    }

    #[test]
    fn a_replaced_file_is_told_again_and_again_and_a_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agents.toml");
        let (_watch, changes) = FileWatch::channel(&file).unwrap();
        std::fs::write(dir.path().join("neighbour"), "x").unwrap();
        for _ in 0..2 {
            while changes.try_recv().is_ok() {}
            crate::sys::file::replace(&file, b"x", 0o600).unwrap();
            assert_eq!(changes.recv_timeout(Duration::from_secs(5)), Ok(()));
        }
    }
}
