//! `ao serve`: governance over HTTP until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::audit::failure as governance_failure;
use super::{Globals, act, load_config};
use crate::run::project::Project;
use crate::run::serve::tls::Files;
use crate::run::serve::{Door, ServeError, Server};
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Serve governance over HTTP, for agents of other machines and published clients.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; without TLS an address of this machine alone; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8730")]
    listen: SocketAddr,
    /// Speak TLS with this certificate (PEM, with those it hangs on behind it); read again when it changes.
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy in front speaks TLS: listen without it where others can reach.
    #[arg(long, conflicts_with = "tls_cert")]
    behind_proxy: bool,
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<u8, Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let config = load_config(globals)?;
    act::refuse_inside_agent("serve")?;
    crate::run::log::to_standard_error();
    // Before anything is accepted: a signal that comes at once must end well too.
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .map_err(|error| failure(&ServeError::Start(error)))?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let tls = tls.map(|(certificate, key)| Files { certificate, key });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let door = Door { listen: args.listen, tls, behind_proxy: args.behind_proxy };
    let server = Server::open(project, door).map_err(|error| failure(&error))?;
    let url = format!("{scheme}://{}", server.address());
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "url": url }).to_string());
    } else if !globals.quiet {
        print::out(&format!("listening on {url}"));
    }
    let handle = signals.handle();
    server.when_broken(move || handle.close());
    signals.forever().next();
    let broken = server.broken();
    server.stop();
    broken.map_or(Ok(exit::DONE), |error| Err(failure(&error)))
}

fn failure(error: &ServeError) -> Failure {
    match error {
        ServeError::NotLoopback(_) => Failure::from_error(exit::USAGE, error).hint(
            "give `--tls-cert` and `--tls-key`, or `--behind-proxy` if a proxy that speaks TLS stands in front",
        ),
        ServeError::Listen { .. } => Failure::from_error(exit::FAILED, error)
            .hint("`--listen 127.0.0.1:0` takes a free port"),
        ServeError::Governance(error) => governance_failure(error),
        ServeError::People(_) | ServeError::Tls(_) => Failure::from_error(exit::USAGE, error),
        ServeError::Client(_)
        | ServeError::Broken(_)
        | ServeError::Start(_)
        | ServeError::ReadClasses(_)
        | ServeError::Classes(_) => Failure::from_error(exit::FAILED, error),
    }
}
