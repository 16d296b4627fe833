//! `ao approvals`, `ao approve`, `ao deny`: what waits for a person, and the answer.

use serde::Serialize;

use super::audit::{failure, open};
use super::{Globals, act};
use crate::base::human;
use crate::govern::approval::State;
use crate::run::governance::decide::{Answer, inbox};
use crate::run::governance::{LOCAL_ORG, operator};
use crate::sys::clock;
use crate::sys::db::rows::Approval;
use crate::ui::failure::Failure;
use crate::ui::print::Tone;
use crate::ui::{exit, print, table};

/// List the acts that wait for a person's leave.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Of this organisation.
    #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
    org: String,
}

/// Let one held act through, once and exactly as it was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// As `ao approvals` shows it.
    id: i64,
    /// Of this organisation.
    #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
    org: String,
}

/// Refuse one held act.
#[derive(Debug, clap::Args)]
pub(crate) struct DenyArgs {
    /// As `ao approvals` shows it.
    id: i64,
    /// Of this organisation.
    #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
    org: String,
    /// What the agent is told.
    #[arg(long)]
    why: String,
}

/// One approval, as `--json` shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: i64,
    action_id: i64,
    agent: &'a str,
    summary: &'a str,
    reason: &'a str,
    state: &'static str,
    created: String,
    expires: String,
    /// Of the exact act.
    digest: &'a str,
    decided_by: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn new(approval: &'a Approval) -> Self {
        Self {
            id: approval.id,
            action_id: approval.new.action_id,
            agent: &approval.new.agent,
            summary: &approval.new.summary,
            reason: &approval.new.reason,
            state: approval.state.word(),
            created: approval.new.created.to_rfc3339(),
            expires: approval.new.expires.to_rfc3339(),
            digest: &approval.new.digest,
            decided_by: approval.decided_by.as_deref(),
        }
    }
}

pub(crate) fn list(args: ListArgs, globals: &Globals) -> Result<u8, Failure> {
    let mut governance = open(globals)?;
    let (org, now) = (args.org, clock::now());
    let open = inbox(governance.store(), &org, now).map_err(|error| failure(&error))?;
    if globals.json {
        let approvals: Vec<Shown<'_>> = open.iter().map(Shown::new).collect();
        print::out(&serde_json::json!({ "version": 1, "approvals": approvals }).to_string());
        return Ok(exit::DONE);
    }
    if open.is_empty() {
        if !globals.quiet {
            print::err("nothing waits");
        }
        return Ok(exit::DONE);
    }
    let cell = |text: String, tone: Tone| (one_line(&text), tone);
    let mut rows = vec![
        ["ID", "AGENT", "STATE", "LEFT", "ACT"]
            .map(|title| cell(title.to_owned(), Tone::Dim))
            .to_vec(),
    ];
    for approval in &open {
        let left = (approval.new.expires - now.wall).to_std().unwrap_or_default();
        let tone = if approval.state == State::Pending { Tone::Warn } else { Tone::Good };
        rows.push(vec![
            cell(approval.id.to_string(), Tone::Plain),
            cell(approval.new.agent.clone(), Tone::Plain),
            cell(approval.state.word().to_owned(), tone),
            cell(human::duration(left), Tone::Plain),
            cell(format!("{} ({})", approval.new.summary, approval.new.reason), Tone::Plain),
        ]);
    }
    for line in table::render(&rows, &[0], print::colored(globals), print::width()) {
        print::out(&line);
    }
    Ok(exit::DONE)
}

/// What an agent wrote must not move the cursor of whoever approves it.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

pub(crate) fn approve(args: &ApproveArgs, globals: &Globals) -> Result<u8, Failure> {
    answer("approve", &args.org, args.id, &Answer::Approve, globals)
}

pub(crate) fn deny(args: &DenyArgs, globals: &Globals) -> Result<u8, Failure> {
    answer("deny", &args.org, args.id, &Answer::Deny { why: args.why.clone() }, globals)
}

fn answer(
    verb: &str,
    org: &str,
    id: i64,
    answer: &Answer,
    globals: &Globals,
) -> Result<u8, Failure> {
    act::refuse_inside_agent(verb)?;
    let mut governance = open(globals)?;
    org.clone_into(&mut governance.org);
    let decided = governance
        .answer(id, answer, &operator::name(), clock::now())
        .map_err(|error| failure(&error))?;
    if globals.json {
        let shown = Shown::new(&decided);
        print::out(&serde_json::json!({ "version": 1, "approval": shown }).to_string());
    } else if !globals.quiet {
        let word = decided.state.word();
        let (agent, summary) = (&decided.new.agent, one_line(&decided.new.summary));
        print::out(&format!("{id}  {word}: {agent}, {summary}"));
    }
    Ok(exit::DONE)
}
