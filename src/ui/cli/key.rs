//! `ao key`: what requests to `ao serve` prove themselves with.

use chrono::TimeDelta;

use super::Globals;
use super::audit::failure as governance_failure;
use super::org::{failure, open};
use crate::run::governance::{GovernanceError, LOCAL_ORG, operator};
use crate::run::serve::key::{self, Key, NewKey, Scope};
use crate::run::serve::signature;
use crate::sys::clock;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// Make, list and revoke API keys for `ao serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Make a key and print it, this once.
    Create {
        #[arg(long, default_value = LOCAL_ORG)]
        org: String,
        /// What it is good for.
        #[arg(long, value_enum, default_value = "agent")]
        scope: ScopeName,
        /// The only agent it speaks for (default: any of its organisation).
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// After so many days it opens nothing.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3_650))]
        days: Option<u16>,
        /// What the key begins with; some clients take only `owkai`.
        #[arg(long, value_name = "WORD", default_value = "ao", value_parser = ["ao", "owkai"])]
        begins: String,
        /// Its requests must carry `X-Signature`; the secret for it is printed behind the key.
        #[arg(long)]
        signed: bool,
    },
    /// List all keys, revoked ones too; never their secret part.
    List,
    /// Make a key open nothing any more, at once.
    Revoke {
        /// As `ao key list` shows it.
        id: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ScopeName {
    /// Submits actions and reports outcomes.
    Agent,
    /// Reads everything of its organisation.
    Auditor,
    /// Everything but approving, which no key may.
    Admin,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let mut governance = open(globals, "key")?;
    let (by, now) = (operator::name(), clock::now());
    let server_key = governance.operator.server_key().map_err(GovernanceError::Operator);
    let server_key = server_key.map_err(|error| governance_failure(&error))?;
    let store = governance.store();
    match args.step {
        Step::Create { org, scope, agent, days, begins, signed } => {
            let scope = match scope {
                ScopeName::Agent => Scope::Agent,
                ScopeName::Auditor => Scope::Auditor,
                ScopeName::Admin => Scope::Admin,
            };
            let expires = days.map(|days| now.wall + TimeDelta::days(days.into()));
            let new = NewKey { org: &org, scope, agent, expires, beginning: &begins, signed };
            let (key, text) =
                key::create(store, &new, &by, now).map_err(|error| failure(&error))?;
            if globals.json {
                let shown = shown(&key);
                let secret = signed.then(|| signature::secret(&server_key, &key.id));
                print::out(
                    &serde_json::json!({
                        "version": 1, "key": text, "signing_secret": secret, "about": shown,
                    })
                    .to_string(),
                );
            } else {
                print::out(&text);
                if signed {
                    print::out(&signature::secret(&server_key, &key.id));
                }
                print::err(if signed {
                    "the key and its signing secret; this is the only time they are shown"
                } else {
                    "this is the only time the key is shown"
                });
            }
        }
        Step::List => {
            let keys = key::list(store).map_err(|error| failure(&error))?;
            if globals.json {
                let keys: Vec<_> = keys.iter().map(shown).collect();
                print::out(&serde_json::json!({ "version": 1, "keys": keys }).to_string());
            } else {
                let rows: Vec<_> = keys.iter().map(|key| row(key, now.wall)).collect();
                for line in table::render(&rows, &[], print::colored(globals), None) {
                    print::out(&line);
                }
            }
        }
        Step::Revoke { id } => {
            let key = key::revoke(store, &id, &by, now).map_err(|error| failure(&error))?;
            if globals.json {
                print::out(&serde_json::json!({ "version": 1, "about": shown(&key) }).to_string());
            } else if !globals.quiet {
                print::out(&format!("{id}  revoked"));
            }
        }
    }
    Ok(exit::DONE)
}

fn shown(key: &Key) -> serde_json::Value {
    serde_json::json!({
        "id": key.id, "org": key.org, "scope": key.scope, "agent": key.agent,
        "begins": format!("{}_{}", key.beginning, key.id), "made": key.made, "by": key.by,
        "expires": key.expires, "revoked": key.revoked, "signed": key.signed,
    })
}

fn row(key: &Key, now: chrono::DateTime<chrono::Utc>) -> Vec<(String, Tone)> {
    let state = match (key.revoked, key.expires) {
        (Some(at), _) => format!("revoked {}", at.format("%F")),
        (None, Some(at)) if at <= now => format!("expired {}", at.format("%F")),
        (None, Some(at)) => format!("until {}", at.format("%F")),
        (None, None) => "no end".to_owned(),
    };
    let agent = key.agent.clone().unwrap_or_else(|| "any agent".to_owned());
    let cells = [key.id.clone(), key.org.clone(), key.scope.word().to_owned(), agent, state];
    cells.map(|cell| (cell, Tone::Plain)).to_vec()
}
