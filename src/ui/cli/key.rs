//! `ao key`: what requests to `ao serve` prove themselves with.

use chrono::TimeDelta;

use super::Globals;
use super::audit::failure as governance_failure;
use super::org::{failure, open};
use crate::run::governance::{GovernanceError, LOCAL_ORG, operator};
use crate::run::serve::key::{self, Key, KeyError, NewKey, Scope};
use crate::run::serve::person::{self, Person, Role};
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
    /// Make a key like this one, which ends some time later.
    Rotate {
        /// As `ao key list` shows it.
        id: String,
        /// The old key opens for so many hours more.
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=8_760))]
        keep_hours: u16,
    },
    /// Set when a key ends.
    Expire {
        /// As `ao key list` shows it.
        id: String,
        /// From now on.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(0..=3_650))]
        days: u16,
    },
    /// Make a token for a person, who may then decide on held actions over HTTP.
    Token {
        /// Who it is, for the record.
        #[arg(long, value_name = "NAME")]
        person: String,
        #[arg(long, default_value = LOCAL_ORG)]
        org: String,
        /// What it is good for.
        #[arg(long, value_enum, default_value = "approver")]
        role: RoleName,
        /// How long; it cannot be revoked.
        #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1_440))]
        minutes: u16,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RoleName {
    /// Reads everything of its organisation.
    Auditor,
    /// Reads, and decides on held actions.
    Approver,
    /// Everything.
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
            let made = key::create(store, &new, &by, now).map_err(|error| failure(&error))?;
            show_new(&made, &server_key, globals);
        }
        Step::Rotate { id, keep_hours } => {
            let overlap = TimeDelta::hours(keep_hours.into());
            let made = key::rotate(store, &id, overlap, &by, now);
            show_new(&made.map_err(|error| failure(&error))?, &server_key, globals);
        }
        Step::Expire { id, days } => {
            let at = now.wall + TimeDelta::days(days.into());
            let key = key::expire(store, &id, at, &by, now).map_err(|error| failure(&error))?;
            if globals.json {
                print::out(&serde_json::json!({ "version": 1, "about": shown(&key) }).to_string());
            } else if !globals.quiet {
                print::out(&format!("{id}  until {}", at.format("%F %R")));
            }
        }
        Step::Token { person, org, role, minutes } => {
            let known = key::org(store, &org).map_err(|error| failure(&error))?;
            if known.is_none() {
                return Err(failure(&KeyError::NoOrg(org)));
            }
            let role = match role {
                RoleName::Auditor => Role::Auditor,
                RoleName::Approver => Role::Approver,
                RoleName::Admin => Role::Admin,
            };
            let person = Person { name: person, org, role };
            let lasts = TimeDelta::minutes(minutes.into());
            key::record_token(store, &person, lasts, &by, now)
                .map_err(|error| failure(&KeyError::Db(error)))?;
            let token = person::issue(&server_key, &person, lasts, now.wall);
            if globals.json {
                print::out(&serde_json::json!({ "version": 1, "token": token }).to_string());
            } else {
                print::out(&token);
            }
        }
        Step::List => {
            let keys = key::list(store).map_err(|error| failure(&error))?;
            if globals.json {
                let keys: Vec<_> = keys.iter().map(shown).collect();
                print::out(&serde_json::json!({ "version": 1, "keys": keys }).to_string());
            } else if keys.is_empty() {
                print::err("no key yet; `ao key create` makes one");
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

fn show_new((key, text): &(Key, String), server_key: &[u8; 32], globals: &Globals) {
    let secret = key.signed.then(|| signature::secret(server_key, &key.id));
    if globals.json {
        let said = serde_json::json!({
            "version": 1, "key": text, "signing_secret": secret, "about": shown(key),
        });
        print::out(&said.to_string());
        return;
    }
    print::out(text);
    match secret {
        Some(secret) => {
            print::out(&secret);
            print::err("the key and its signing secret; this is the only time they are shown");
        }
        None => print::err("this is the only time the key is shown"),
    }
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
