//! `ao serve`: governance over HTTP until it is told to end.

use std::net::SocketAddr;

use super::audit::failure as governance_failure;
use super::{Globals, act, load_config};
use crate::run::project::Project;
use crate::run::serve::{ServeError, Server};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Serve governance over HTTP, for agents of other machines and published clients.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen: an address of this machine alone; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8730")]
    listen: SocketAddr,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let config = load_config(globals)?;
    act::refuse_inside_agent("serve")?;
    // Before anything is accepted: a signal that comes at once must end well too.
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|error| failure(&ServeError::Start(error)))?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let server = Server::start(project, args.listen).map_err(|error| failure(&error))?;
    let url = format!("http://{}", server.address());
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "url": url }).to_string());
    } else if !globals.quiet {
        print::out(&format!("listening on {url}"));
    }
    signals.forever().next();
    server.stop();
    Ok(exit::DONE)
}

fn failure(error: &ServeError) -> Failure {
    match error {
        ServeError::NotLoopback(_) => Failure::from_error(exit::USAGE, error)
            .hint("listen on 127.0.0.1 and put a proxy that speaks TLS in front of it"),
        ServeError::Listen { .. } => Failure::from_error(exit::FAILED, error)
            .hint("`--listen 127.0.0.1:0` takes a free port"),
        ServeError::Governance(error) => governance_failure(error),
        ServeError::Client(_)
        | ServeError::Start(_)
        | ServeError::ReadClasses(_)
        | ServeError::Classes(_) => Failure::from_error(exit::FAILED, error),
    }
}
