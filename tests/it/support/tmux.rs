//! A tmux server of the test's own, killed on drop by pid: no test comes near the user's server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ao::base::name::{PaneId, SessionName};
use ao::sys::clock;
use ao::sys::process::{Call, kill_tree};
use ao::sys::tmux::{Commands, Look, PaneFacts, ServerId, SessionSpec, Tmux, World, is_alive};

/// A private server: nothing runs until the first session is opened.
pub(crate) struct TestTmux {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) tmux: Commands,
    server: Option<ServerId>,
}

impl TestTmux {
    pub(crate) fn start() -> Self {
        // A short root: the socket's path may have at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("ao-t").tempdir_in("/tmp").unwrap();
        let socket = dir.path().join("s");
        let tmux = Commands::new(socket.clone(), dir.path().join("state"), None);
        Self { dir, socket, tmux, server: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// A session that runs the script in `sh`.
    pub(crate) fn spec(&self, session: &str, script: &str) -> SessionSpec {
        SessionSpec {
            session: SessionName::new(session).unwrap(),
            dir: self.dir.path().to_owned(),
            argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            tag: format!("tag-{session}"),
            width: 200,
            height: 50,
            log: None,
        }
    }

    pub(crate) fn open(&mut self, spec: &SessionSpec) -> PaneId {
        let pane = self.tmux.open(spec).unwrap();
        self.world();
        pane
    }

    pub(crate) fn world(&mut self) -> World {
        match self.tmux.look().unwrap() {
            Look::Seen(world) => {
                self.server = Some(world.server);
                world
            }
            Look::NoServer { evidence } => panic!("the server is gone: {evidence}"),
        }
    }

    pub(crate) fn pane(&mut self, pane: &PaneId) -> PaneFacts {
        let world = self.world();
        world.panes.into_iter().find(|facts| facts.pane == *pane).expect("the pane is listed")
    }

    pub(crate) fn screen(&mut self, pane: &PaneId) -> String {
        let captures = self.tmux.capture(std::slice::from_ref(pane)).unwrap();
        captures.into_iter().next().expect("the pane is there").text
    }

    /// A raw tmux command on this server.
    pub(crate) fn raw(&self, args: &[&str]) -> String {
        let output = Call::new("tmux").env_remove("TMUX").arg("-S").arg(&self.socket).args(args);
        output.run().unwrap().stdout_text()
    }

    pub(crate) fn kill_server(&mut self) {
        if let Some(server) = self.server.take() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(server.pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            eventually("the server is gone", || (!is_alive(server)).then_some(()));
        }
    }
}

impl Drop for TestTmux {
    fn drop(&mut self) {
        let Some(server) = self.server else {
            return;
        };
        if let Ok(Look::Seen(world)) = self.tmux.look() {
            let roots: Vec<u32> =
                world.panes.iter().filter(|pane| !pane.dead).map(|pane| pane.pid).collect();
            kill_tree(&roots, None);
        }
        if is_alive(server)
            && let Some(pid) =
                i32::try_from(server.pid).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Asks until there is an answer, for at most 15 s (a loaded machine is slow; a healthy run takes
/// milliseconds).
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = clock::now().mono.plus(Duration::from_secs(15));
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::now().mono < end, "not within 15 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The file's text once it says so.
#[track_caller]
pub(crate) fn file_when(path: &Path, ready: impl Fn(&str) -> bool) -> String {
    eventually(&format!("`{}` is ready", path.display()), || {
        std::fs::read_to_string(path).ok().filter(|text| ready(text))
    })
}
