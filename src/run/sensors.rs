//! Gives an agent's CLI what it needs to tell about itself, at each start, and takes it away at its end.
//!
//! Everything stands in our state folder and in the environment and arguments of the one process;
//! no file of the user is read for writing. Surprise: a setting of the user's that does the same
//! job wins, since replacing it would change how their CLI behaves.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hook;
use super::store::{Sensing, Store};
use crate::backend::{Backend, Launch};
use crate::base::name::{SessionName, UnitName};
use crate::base::quote::shell_word;
use crate::config::Agent;
use crate::sense::Cli;
use crate::sense::wiring::{self, Governed, Wiring};
use crate::sys::event_stream;
use crate::sys::file::{self, FileError};

/// Flags of a CLI that could switch its hooks off.
const LOOSE: [&str; 5] = ["--settings", "--setting-sources", "--bare", "--safe-mode", "--pure"];

/// What a governed start is told beside.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The file with the agent's bounds.
    pub bounds: PathBuf,
    /// How long a hook waits for a person.
    pub wait: Duration,
    /// The agent's own folder.
    pub folder: PathBuf,
    /// Where Claude Code keeps the user's own settings.
    pub user: Option<PathBuf>,
}

/// The CLI by whose hooks an agent can be governed; else why it cannot.
pub fn door(agent: &Agent, backend: &Backend) -> Result<Cli, String> {
    let cli = backend.preset.as_deref().and_then(Cli::from_word);
    let Some(cli) = cli.filter(|cli| *cli != Cli::Gemini) else {
        return Err(format!("nothing can be asked of the CLI of `{}`", agent.backend));
    };
    if !agent.hooks {
        return Err("`hooks = false` leaves nobody to ask".to_owned());
    }
    match LOOSE.into_iter().find(|flag| backend.flags.contains(flag)) {
        Some(flag) => Err(format!("its flags name `{flag}`, which could switch its hooks off")),
        None => Ok(cli),
    }
}

/// The variable with the password of opencode's server.
const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";
/// The file with the same, as one of the settings.
const PASSWORD_EXTENSION: &str = "key";

/// What one start is given.
#[derive(Debug, Default)]
pub struct Installed {
    /// Of the CLI's own server, and the file with its password.
    server: Option<(u16, PathBuf)>,
    wiring: Wiring,
    cli: Option<Cli>,
    program: Option<PathBuf>,
    /// Worth a line in the event log.
    pub note: Option<String>,
}

impl Installed {
    /// For the launch line.
    pub fn flag(&self) -> &str {
        &self.wiring.flag
    }
}

/// Writes the settings of this start; an agent of an unknown CLI, or one that wants none, gets none.
pub fn install(
    agent: &Agent,
    backend: &Backend,
    store: &Store,
    ao: &Path,
    guard: Option<&Guard>,
) -> Result<Installed, FileError> {
    remove(store, &agent.session, &agent.name)?;
    let cli = backend.preset.as_deref().and_then(Cli::from_word);
    let Some(cli) = cli.filter(|_| agent.hooks) else {
        return Ok(Installed { cli, ..Installed::default() });
    };
    let path = store.settings(&agent.session, wiring::extension(cli));
    let (Some(program), Some(settings)) = (ao.to_str(), path.to_str()) else {
        let note = Some("its state folder is not UTF-8: it gets no hooks".to_owned());
        return Ok(Installed { cli: Some(cli), note, ..Installed::default() });
    };
    let mut wiring = match guard {
        None => wiring::wire(cli, program, settings),
        Some(guard) => wiring::wire_governed(cli, program, settings, &told(guard)),
    };
    let mut note = None;
    if cli == Cli::Claude && backend.flags.contains("--settings") {
        wiring = Wiring::default();
        note = Some("its flags name a settings file of their own: it gets no hooks".to_owned());
    }
    if let Some(text) = &wiring.file {
        // Written anew at each start.
        file::replace_volatile(&path, text.as_bytes(), 0o600)?;
    }
    let program = (wiring != Wiring::default()).then(|| ao.to_owned());
    let mut server = None;
    // A governed agent could do through it what nobody is asked about.
    if cli == Cli::Opencode && guard.is_none() && takes_port(backend) {
        let key = store.settings(&agent.session, PASSWORD_EXTENSION);
        file::replace_volatile(&key, uuid::Uuid::new_v4().simple().to_string().as_bytes(), 0o600)?;
        server = free_port().map(|port| (port, key));
    }
    if let Some((port, _)) = &server {
        wiring.flag = format!("--hostname 127.0.0.1 --port {port}");
    }
    Ok(Installed { server, wiring, cli: Some(cli), program, note })
}

/// Whether its launch line has a place for our flags and chooses no port itself.
fn takes_port(backend: &Backend) -> bool {
    let slot = backend.attach.as_ref().is_some_and(|line| line.contains("{settings_flag}"));
    slot && !["--port", "--hostname", "attach"].iter().any(|word| backend.flags.contains(word))
}

/// Free at this moment. Should another take it first, the CLI does not start and is started again.
fn free_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    Some(listener.local_addr().ok()?.port())
}

/// The server of this start, when it has one.
pub fn server(
    store: &Store,
    session: &SessionName,
    sensing: &Sensing,
) -> Option<event_stream::Server> {
    let port = sensing.port?;
    let key = file::read(&store.settings(session, PASSWORD_EXTENSION)).ok()??;
    let authorization = format!("Basic {}", base64(format!("opencode:{}", key.trim()).as_bytes()));
    Some(event_stream::Server { port, authorization })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0)];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// What is given back of that which the flags of a governed Claude Code take away.
fn told(guard: &Guard) -> Governed {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let there = |path: PathBuf| path.is_file().then(|| text(&path));
    let user = guard.user.as_ref();
    let settings = user.and_then(|user| std::fs::read_to_string(user.join("settings.json")).ok());
    Governed {
        bounds: text(&guard.bounds),
        wait_s: guard.wait.as_secs(),
        folder: text(&guard.folder),
        mcp: there(guard.folder.join(".mcp.json")),
        memory: user.and_then(|user| there(user.join("CLAUDE.md"))),
        settings: settings.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
    }
}

/// Puts what the start needs into its environment, and says how it will be listened to.
pub fn apply(
    installed: &mut Installed,
    launch: &mut Launch,
    state: &Path,
    follows: bool,
) -> Option<Sensing> {
    // For whatever hook a person gives an agent that we know nothing of.
    launch.env.insert(hook::STATE.to_owned(), state.to_string_lossy().into_owned());
    if let Some(plugin) = &installed.wiring.opencode_plugin {
        let name = "OPENCODE_CONFIG_CONTENT";
        match wiring::with_plugin(launch.env.get(name).map(String::as_str), plugin) {
            Some(content) => {
                launch.env.insert(name.to_owned(), content);
            }
            None => {
                installed.note = Some(format!("its `{name}` is not an object: it gets no hooks"));
            }
        }
    }
    launch.env.extend(installed.wiring.env.clone());
    let cli = installed.cli?;
    let port = installed.server.as_ref().and_then(|(port, key)| guard_port(*port, key, launch));
    let config_dir = (cli == Cli::Claude).then(|| {
        let named = launch.env.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        named.or_else(|| launch.env.get("HOME").map(|home| Path::new(home).join(".claude")))
    });
    Some(Sensing {
        cli,
        program: installed.program.clone(),
        config_dir: config_dir.flatten(),
        follows,
        port,
    })
}

/// Locks the server with a password that stands neither in arguments nor in tmux's environment.
fn guard_port(port: u16, key: &Path, launch: &mut Launch) -> Option<u16> {
    // One that the user chose is not ours to know.
    let script = launch.argv.get_mut(2).filter(|_| !launch.env.contains_key(PASSWORD))?;
    let key = shell_word(key.to_str()?);
    *script = format!(
        "{PASSWORD}=$(cat -- {key}) || exit {}\nexport {PASSWORD}\n{script}",
        crate::backend::launch::EXIT_NO_START
    );
    Some(port)
}

/// Takes away what a start was given.
pub fn remove(store: &Store, session: &SessionName, name: &UnitName) -> Result<(), FileError> {
    for extension in ["json", "js", PASSWORD_EXTENSION] {
        file::remove(&store.settings(session, extension))?;
    }
    file::remove(&hook::status_file(&store.state(), name))?;
    file::remove(&hook::spool_file(&store.state(), name))
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads_as_it_should() {
        let check = |text: &str, coded: &str| assert_eq!(base64(text.as_bytes()), coded);
        check("", "");
        check("f", "Zg==");
        check("fo", "Zm8=");
        check("foo", "Zm9v");
        check("opencode:~\u{ff}>", "b3BlbmNvZGU6fsO/Pg==");
    }
}
