//! `ao kill`, `ao unkill`: an agent is blocked first, then everything of it is ended and proven gone.

use std::collections::BTreeSet;

use super::audit::failure;
use super::{Globals, act, load_config};
use crate::base::name::UnitName;
use crate::report::act::{Line, Verdict};
use crate::run::governance::{Governance, LOCAL_ORG, kill, operator};
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::db::rows::KillSwitch;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

/// Block agents at once and end all their processes; they stay down until `ao unkill`.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// These agents.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// Every agent of this project, also ones that come later.
    #[arg(long)]
    all: bool,
    /// Say what would be blocked and ended, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// For the record, and for whoever wonders.
    #[arg(long, required_unless_present = "dry_run")]
    why: Option<String>,
}

/// Lift kill switches; `ao up` starts the agents again.
#[derive(Debug, clap::Args)]
pub(crate) struct UnkillArgs {
    /// These agents.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// The switch that `ao kill --all` set, and every other one.
    #[arg(long)]
    all: bool,
    /// For the record.
    #[arg(long)]
    why: String,
    /// Of this organisation.
    #[arg(long, value_name = "NAME", default_value = LOCAL_ORG)]
    org: String,
}

pub(crate) fn kill(args: &KillArgs, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let named = act::named(&config, &args.names)?;
    act::refuse_inside_agent("kill")?;
    let project = Project::open(config).map_err(|error| act::failure(&error))?;
    let units: BTreeSet<UnitName> = if args.all { kill::agents(&project) } else { named };
    if args.dry_run {
        return Ok(rehearse(&project, &units, globals));
    }
    let targets: Vec<String> = if args.all {
        vec![KillSwitch::ALL.to_owned()]
    } else {
        units.iter().map(ToString::to_string).collect()
    };
    let why = args.why.as_deref().unwrap_or_default();
    let mut governance = Governance::open(&project).map_err(|error| failure(&error));
    let blocked = governance.as_mut().map_err(|_| ()).and_then(|governance| {
        governance.kill(&targets, &operator::name(), why, clock::now()).map_err(|error| {
            print::err(&failure(&error).text());
        })
    });
    // Processes are ended even where nothing can be recorded: a store that is broken must not keep
    // an agent alive.
    let ended = kill::end(&project, &units);
    let mut lines: Vec<Line> = ended.into_iter().map(line).collect();
    lines.sort_by(|left, right| left.name.cmp(&right.name));
    act::show(&lines, globals);
    if let Err(error) = governance {
        return Err(error
            .hint("their processes were ended, but nothing keeps them from being started again"));
    }
    let well = blocked.is_ok() && lines.iter().all(|line| line.verdict != Verdict::Failed);
    Ok(if well { exit::DONE } else { exit::FAILED })
}

fn line(ended: kill::Ended) -> Line {
    let name = ended.unit.to_string();
    if let Some(why) = ended.failed {
        return Line { name, verdict: Verdict::Failed, why: Some(why) };
    }
    if ended.processes == 0 {
        let why = Some("blocked; no process of it was running".to_owned());
        return Line { name, verdict: Verdict::NotRunning, why };
    }
    let noun = if ended.processes == 1 { "process" } else { "processes" };
    let why = format!("blocked; {} {noun} killed and proven gone", ended.processes);
    Line { name, verdict: Verdict::Stopped, why: Some(why) }
}

fn rehearse(project: &Project, units: &BTreeSet<UnitName>, globals: &Globals) -> u8 {
    let found = kill::would_end(project, units);
    if globals.json {
        let units: Vec<serde_json::Value> = found
            .iter()
            .map(|(unit, processes)| serde_json::json!({ "name": unit, "processes": processes }))
            .collect();
        print::out(
            &serde_json::json!({ "version": 1, "dry_run": true, "units": units }).to_string(),
        );
    } else {
        for (unit, processes) in &found {
            let count = crate::base::human::count(processes.len(), "process root");
            print::out(&format!(
                "{unit}  would be blocked; {count} would be killed with all below"
            ));
        }
    }
    exit::DONE
}

pub(crate) fn unkill(args: &UnkillArgs, globals: &Globals) -> Result<u8, Failure> {
    act::refuse_inside_agent("unkill")?;
    let mut governance = super::audit::open(globals)?;
    args.org.clone_into(&mut governance.org);
    let targets: Vec<String> = if args.all {
        let kills = governance.kills().map_err(|error| failure(&error))?;
        kills.into_iter().map(|kill| kill.target).collect()
    } else {
        args.names.clone()
    };
    let lifted = governance
        .unkill(&targets, &operator::name(), &args.why, clock::now())
        .map_err(|error| failure(&error))?;
    let still = governance.kills().map_err(|error| failure(&error))?;
    if globals.json {
        print::out(&serde_json::json!({ "version": 1, "lifted": lifted }).to_string());
    } else if !globals.quiet {
        for target in &lifted {
            let name = if target == KillSwitch::ALL { "all agents" } else { target };
            print::out(&format!("{name}  may run again: `ao up`"));
        }
    }
    let missing: Vec<&String> = targets.iter().filter(|it| !lifted.contains(it)).collect();
    for name in &missing {
        print::err(&format!("{name}  was not killed"));
    }
    if !args.all && still.iter().any(|kill| kill.target == KillSwitch::ALL) {
        print::err("a switch for all agents is in force: `ao unkill --all` lifts it");
    }
    Ok(if missing.is_empty() { exit::DONE } else { exit::NOT_SO })
}

/// What a switch that is in force says of an agent somebody wants to start.
pub(super) fn words(kill: &KillSwitch) -> String {
    let lift = if kill.target == KillSwitch::ALL { "--all" } else { kill.target.as_str() };
    format!("killed by {}: {}; `ao unkill {lift} --why …` lifts it", kill.by, kill.why)
}
