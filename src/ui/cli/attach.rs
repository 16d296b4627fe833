//! `ao attach`: look at a session, by the name its agent has in the config.
//!
//! `ao` becomes tmux; it does not stay between the person and the terminal. Inside a client of the
//! same server that client is switched instead, as tmux sessions do not nest.

use super::{Globals, load_config, logs};
use crate::run::project::Project;
use crate::sys::process::Call;
use crate::ui::failure::Failure;

/// Attach to an agent's, a service's or the watchdog's session (leave it with `C-b d`).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An agent, a service, or `watchdog`.
    name: String,
    /// Only watch: keys do nothing but leave.
    #[arg(short, long)]
    read_only: bool,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let Args { name, read_only } = args;
    let config = load_config(globals)?;
    let session = logs::session_of(&config, &name)?;
    let socket = Project::peek(config).socket;
    // The `:` ends the name: without it tmux would also take a session that only begins so.
    let target = format!("={session}:");
    let tmux = Call::new("tmux").arg("-S").arg(&socket);

    let known = tmux.clone().args(["has-session", "-t", &target]).run();
    match known {
        Ok(output) if output.success() => {}
        Ok(_) => {
            return Err(Failure::failed(format!("`{name}` has no session `{session}`"))
                .hint(format!("start it with `ao up {name}`")));
        }
        Err(error) => return Err(Failure::failed("cannot ask tmux").caused_by(&error)),
    }

    let inside = std::env::var("TMUX").is_ok_and(|client| same_server(&client, &socket));
    let tmux = if inside {
        tmux.args(["switch-client"])
    } else {
        // A client of another server may well hold this one; tmux refuses only because of the variable.
        tmux.env_remove("TMUX").args(["attach-session"])
    };
    let tmux = if read_only { tmux.arg("-r") } else { tmux };
    let error = tmux.args(["-t", &target]).exec();
    Err(Failure::failed("cannot start tmux").caused_by(&error))
}

/// Whether `$TMUX` (`socket,pid,session`) names a client of the server behind this socket.
fn same_server(client: &str, socket: &std::path::Path) -> bool {
    let theirs = std::path::Path::new(client.split(',').next().unwrap_or_default());
    let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(theirs) == real(socket)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_a_client_of_the_same_server_is_switched() {
        assert!(same_server("/nowhere/tmux-0/default,12,0", Path::new("/nowhere/tmux-0/default")));
        assert!(!same_server("/nowhere/tmux-0/other,12,0", Path::new("/nowhere/tmux-0/default")));
        assert!(!same_server("", Path::new("/nowhere/tmux-0/default")));
    }
}
