//! `ao session`: what agents did together, from one root act on.

use super::Globals;
use super::audit::{failure, open};
use crate::base::money::Micros;
use crate::report::session::{SessionList, SessionReport};
use crate::run::governance::{GovernanceError, LOCAL_ORG, session};
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// Show sessions of delegated acts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// All sessions, by name.
    List {
        /// Of this organisation.
        #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
        org: String,
        /// Only those behind this one.
        #[arg(long, value_name = "ID", default_value = "")]
        after: String,
        /// At most so many.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 200)]
        lines: usize,
    },
    /// One session: what it adds up to, and its acts as a tree.
    Show {
        id: String,
        /// Of this organisation.
        #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
        org: String,
    },
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let mut governance = open(globals)?;
    let store = governance.store();
    let failed = |error| failure(&GovernanceError::Db(error));
    match args.what {
        What::List { org, after, lines } => {
            let sessions = session::list(store, &org, &after, lines).map_err(failed)?;
            if globals.json {
                let list = SessionList { version: 1, sessions };
                let text = serde_json::to_string(&list).expect("plain data of ours serialises");
                print::out(&text);
            } else if sessions.is_empty() {
                print::err("no session yet");
            } else {
                let rows: Vec<_> = sessions.iter().map(row).collect();
                let titles =
                    ["SESSION", "ACTS", "BLOCKED", "RISK", "DEPTH", "COST", "AGENTS", "BEGAN"];
                let titles = titles.map(|title| (title.to_owned(), Tone::Dim)).to_vec();
                let rows = [vec![titles], rows].concat();
                let right = [1, 2, 3, 4, 5, 6];
                for line in table::render(&rows, &right, print::colored(globals), print::width()) {
                    print::out(&line);
                }
            }
        }
        What::Show { id, org } => {
            let found = session::show(store, &org, &id).map_err(failed)?;
            let report = found.ok_or_else(|| {
                Failure::usage(format!("there is no session `{id}` in `{org}`"))
                    .hint("`ao session list` shows all")
            })?;
            if globals.json {
                let text = serde_json::to_string(&report).expect("plain data of ours serialises");
                print::out(&text);
            } else {
                print::out(&report.summary());
                for line in report.tree() {
                    print::out(&line);
                }
                if report.cut {
                    print::err("there are more acts than are shown");
                }
            }
        }
    }
    Ok(exit::DONE)
}

fn row(report: &SessionReport) -> Vec<(String, Tone)> {
    let began = report.first.clone().unwrap_or_default();
    let cells = [
        report.id.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        report.action_count.to_string(),
        report.blocked_count.to_string(),
        report.max_risk.to_string(),
        report.max_depth.to_string(),
        Micros(report.cost_micros).dollars(),
        report.agents.len().to_string(),
        began.chars().take(19).collect(),
    ];
    cells.map(|cell| (cell, Tone::Plain)).to_vec()
}
