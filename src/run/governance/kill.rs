//! The kill switch: blocked in the store first, then the processes.
//!
//! The processes get no time to leave: a kill is for what must not do one thing more. The supervisor
//! is told beside it, so that it neither heals what died nor keeps its sessions; it asks the switch
//! itself before every start, so that a restart in between comes to nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Governance, GovernanceError};
use crate::base::chain;
use crate::base::name::UnitName;
use crate::base::now::Now;
use crate::base::redact;
use crate::govern::audit::{Draft, Kind};
use crate::run::prepare::Overrides;
use crate::run::project::Project;
use crate::run::units::{self, Tag};
use crate::run::{request, survey};
use crate::supervise::event::Request;
use crate::supervise::state::UnitKind;
use crate::sys::db::rows::KillSwitch;
use crate::sys::db::{self, DbError, Tx};
use crate::sys::process::{self, Ending};
use crate::sys::tmux::{Look, TmuxError};

impl Governance {
    /// Blocks every further act of the target ([`KillSwitch::ALL`] or an agent's name) at once.
    pub fn kill(
        &mut self,
        targets: &[String],
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<(), GovernanceError> {
        let org = self.org.clone();
        let work = |tx: &mut dyn Tx| -> Result<(), DbError> {
            for target in targets {
                let why = redact::text(why);
                let draft = Draft::new(Kind::Killed, by, target).with("why", why.clone());
                let (target, by) = (target.clone(), by.to_owned());
                tx.kill_put(&KillSwitch { target, by, why, at: now.wall })?;
                db::append(tx, &draft, now)?;
            }
            Ok(())
        };
        Ok(db::write(self.store(), &org, now, work)?)
    }

    /// Lifts switches; those that were in force.
    pub fn unkill(
        &mut self,
        targets: &[String],
        by: &str,
        why: &str,
        now: Now,
    ) -> Result<Vec<String>, GovernanceError> {
        let org = self.org.clone();
        let work = |tx: &mut dyn Tx| -> Result<Vec<String>, DbError> {
            let mut lifted = Vec::new();
            for target in targets {
                if tx.kill_lift(target)? {
                    let draft = Draft::new(Kind::Unkilled, by, target).with("why", why);
                    db::append(tx, &draft, now)?;
                    lifted.push(target.clone());
                }
            }
            Ok(lifted)
        };
        Ok(db::write(self.store(), &org, now, work)?)
    }

    /// The switches in force.
    pub fn kills(&mut self) -> Result<Vec<KillSwitch>, GovernanceError> {
        let org = self.org.clone();
        Ok(db::read(self.store(), &org, |tx| tx.kills())?)
    }

    /// The switch that keeps this unit down, if one does.
    pub fn killed(&mut self, unit: &UnitName) -> Result<Option<KillSwitch>, GovernanceError> {
        Ok(self.kills()?.into_iter().find(|kill| kill.covers(unit.as_str())))
    }
}

/// What became of one unit's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub unit: UnitName,
    /// Killed and proven gone.
    pub processes: usize,
    pub failed: Option<String>,
}

/// The switch that keeps this unit down. A project without a store has none; a store that cannot be
/// read keeps everything down.
pub fn in_force(project: &Project, unit: &UnitName) -> Result<Option<KillSwitch>, GovernanceError> {
    if !Governance::exists(project) {
        return Ok(None);
    }
    Governance::open(project)?.killed(unit)
}

/// All agents: those of the config, and those that run on from an older one.
pub fn agents(project: &Project) -> BTreeSet<UnitName> {
    let known = survey::survey(project).fleet.units;
    let known = known.into_values().filter(|unit| unit.spec.kind != UnitKind::Service);
    let configured = project.config.agents.iter().map(|agent| agent.name.clone());
    configured.chain(known.map(|unit| unit.spec.name.clone())).collect()
}

/// The roots of each unit's processes.
pub fn would_end(project: &Project, units: &BTreeSet<UnitName>) -> BTreeMap<UnitName, Vec<u32>> {
    let endings = endings(project, units).unwrap_or_default();
    let roots = |unit: &UnitName| endings.get(unit).map(|it| it.roots.clone()).unwrap_or_default();
    units.iter().map(|unit| (unit.clone(), roots(unit))).collect()
}

/// How the supervisor's part of a kill goes.
enum Word {
    /// It starts none of them any more.
    Heard,
    /// Their sessions are closed, or why that is not known.
    Settled(Option<String>),
}

/// Kills every process of these units at once, proves each gone, and makes the units unwanted; their
/// sessions are closed when this returns.
pub fn end(project: &Project, units: &BTreeSet<UnitName>) -> Vec<Ended> {
    end_by(project, units, |word| matches!(word, Word::Settled(_)))
}

/// The same, but returns when the processes are proven gone and none can come after them: the
/// supervisor closes the sessions, one after the other, while the caller goes on.
pub fn end_promptly(project: &Project, units: &BTreeSet<UnitName>) -> Vec<Ended> {
    end_by(project, units, |_| true)
}

fn end_by(
    project: &Project,
    units: &BTreeSet<UnitName>,
    enough: impl Fn(&Word) -> bool,
) -> Vec<Ended> {
    let (say, said) = std::sync::mpsc::channel();
    std::thread::spawn({
        let (project, units) = (project.clone(), units.clone());
        move || {
            // Nobody listens any more to what comes after enough.
            let mut heard = || drop(say.send(Word::Heard));
            let request = Request::Down { units };
            let asked = request::ask_heard(&project, request, Overrides::default(), &mut heard);
            let problem = asked.err().map(|error| chain::text(&error));
            if let Some(error) = &problem {
                tracing::error!(
                    error,
                    "nobody knows whether the supervisor closed what was killed"
                );
            }
            drop(say.send(Word::Settled(problem)));
        }
    });
    let mut ended = kill_now(project, units);
    let told = match said.iter().find(&enough) {
        Some(Word::Heard) => None,
        Some(Word::Settled(problem)) => problem,
        None => Some("the request ended in a bug".to_owned()),
    };
    // What was started in the moment before the switch was set is there now.
    for again in kill_now(project, units) {
        if let Some(first) = ended.iter_mut().find(|first| first.unit == again.unit) {
            first.processes += again.processes;
            first.failed = again.failed;
        }
    }
    if let Some(why) = told {
        for unit in &mut ended {
            let why = format!("the supervisor was not told: {why}");
            unit.failed = unit.failed.take().or(Some(why));
        }
    }
    ended
}

fn kill_now(project: &Project, units: &BTreeSet<UnitName>) -> Vec<Ended> {
    let endings = match endings(project, units) {
        Ok(endings) => endings,
        Err(error) => {
            let why = chain::text(&error);
            let failed = |unit: &UnitName| Ended {
                unit: unit.clone(),
                processes: 0,
                failed: Some(format!("tmux cannot be asked for its processes: {why}")),
            };
            return units.iter().map(failed).collect();
        }
    };
    let listed: Vec<Ending> = endings.values().cloned().collect();
    let reports = process::kill_trees(&listed);
    let ended = endings.into_keys().zip(reports).map(|(unit, report)| {
        let survivors: Vec<String> = report.survivors.iter().map(ToString::to_string).collect();
        let failed = (!survivors.is_empty())
            .then(|| format!("still there in spite of SIGKILL: {}", survivors.join(", ")));
        let processes = report.killed.len() - survivors.len().min(report.killed.len());
        Ended { unit, processes, failed }
    });
    ended.collect()
}

/// What belongs to each unit: the processes of its panes, and the marks its starts carry.
fn endings(
    project: &Project,
    units: &BTreeSet<UnitName>,
) -> Result<BTreeMap<UnitName, Ending>, TmuxError> {
    let mut endings: BTreeMap<UnitName, Ending> =
        units.iter().map(|unit| (unit.clone(), Ending::default())).collect();
    let panes = match project.tmux(None).look()? {
        Look::Seen(world) => world.panes,
        Look::NoServer { .. } => Vec::new(),
    };
    let own = units::project_id(&project.config);
    for pane in panes {
        let Some(tag) = Tag::parse(&pane.tag).filter(|tag| tag.project == own) else { continue };
        let unit = endings.iter_mut().find(|(unit, _)| unit.as_str() == tag.unit);
        if let Some((_, ending)) = unit {
            if !pane.dead {
                ending.roots.push(pane.pid);
            }
            ending.start_ids.push(tag.start_id.to_owned());
        }
    }
    // A pane that is gone may have left processes behind: its start is on record.
    let now = crate::sys::clock::now();
    for (unit, ending) in &mut endings {
        let session = project.config.agent(unit.as_str()).map(|agent| agent.session.clone());
        let recorded = session.and_then(|session| project.store.launch(&session, now).value);
        if let Some(record) = recorded
            && !ending.start_ids.contains(&record.start_id)
        {
            ending.start_ids.push(record.start_id);
        }
    }
    Ok(endings)
}
