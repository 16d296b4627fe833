//! What bounds one governed agent, as it was when it started: `state/governed-<session>.json`.
//!
//! A hook reads this one file and never agents.toml, so that an edit of the config frees nobody who
//! runs, and a hook costs no parsing. Its place stands in the settings that the start wrote, because
//! the agent could change its own environment. Left out: policies, which are loaded by themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::zone::Tz;
use serde::{Deserialize, Serialize};

use super::{Governance, GovernanceError, LOCAL_ORG, Place, sources};
use crate::base::name::SessionName;
use crate::base::now::Now;
use crate::config::governance::{BudgetWindow, DepthRule};
use crate::config::{Agent, Config};
use crate::govern::action::Micros;
use crate::govern::audit::{Draft, Kind};
use crate::govern::budget::{Budget, Window};
use crate::govern::classes::Table;
use crate::govern::policy::Known;
use crate::govern::session::Caps;
use crate::govern::trust::Level;
use crate::run::accepted;
use crate::run::store::{self, Store};
use crate::sys::db::rows::TrustRow;
use crate::sys::db::{self, DbError, Tx};

const VERSION: u32 = 1;

/// Everything a door must know of one agent before it looks into the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governed {
    version: u32,
    pub start_id: String,
    pub agent: String,
    pub org: String,
    /// As rules name it in `scope.projects`.
    pub project: String,
    pub state: PathBuf,
    pub database: Place,
    /// The folder of the keys.
    pub operator: PathBuf,
    pub policies: PathBuf,
    /// What a person accepted of the project, by its head.
    #[serde(default)]
    pub accepted: Option<PathBuf>,
    /// Text of the project's own table of classes.
    pub classes: Option<String>,
    pub zone: String,
    pub trust: Level,
    pub trust_max: Level,
    pub capabilities: Option<Vec<String>>,
    pub permissions: Option<Vec<String>>,
    /// The agent's own folder, real path.
    pub folder: PathBuf,
    pub home: Option<PathBuf>,
    /// Nobody but the operator writes these.
    pub protected: Vec<PathBuf>,
    pub approval_timeout_ms: u64,
    pub hook_wait_ms: u64,
    pub exact_depth: bool,
    #[serde(default)]
    pub session: Caps,
    /// Those that this agent's costs count in.
    pub budgets: Vec<Limit>,
    /// Names that rules may mean.
    pub agents: Vec<String>,
}

/// A budget, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    name: String,
    most: Micros,
    window: Window,
    warn_at: u8,
    downgrade_at: u8,
    downgrade_to: Option<Level>,
}

/// Why the bounds of an agent are not known; a door denies then.
#[derive(Debug, thiserror::Error)]
pub enum BoundsError {
    #[error("cannot read what bounds this agent")]
    Read(#[source] std::io::Error),
    #[error("what bounds this agent is not what ao wrote")]
    Form(#[source] serde_json::Error),
    #[error("what bounds this agent was written by another version of ao")]
    Version,
}

/// Why a governed agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error("cannot read the table of classes `{path}`")]
    Classes {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("the table of classes `{path}` is not sound")]
    Table {
        path: PathBuf,
        #[source]
        cause: crate::govern::classes::ClassesError,
    },
    #[error("cannot write down what bounds it")]
    Write(#[source] store::StoreError),
}

/// Where the bounds of a session's agent stand.
pub fn file(state: &Path, session: &SessionName) -> PathBuf {
    state.join(format!("governed-{session}.json"))
}

impl Governed {
    /// As the config has it; `operator` is the folder of the keys.
    pub fn of(
        config: &Config,
        agent: &Agent,
        state: &Path,
        operator: &Path,
        start_id: &str,
    ) -> Result<Self, BeginError> {
        let governance = &config.governance;
        let classes = governance.classes.as_ref().map(|path| {
            let text = std::fs::read_to_string(path)
                .map_err(|cause| BeginError::Classes { path: path.clone(), cause })?;
            Table::extended(&text)
                .map_err(|cause| BeginError::Table { path: path.clone(), cause })?;
            Ok::<_, BeginError>(text)
        });
        let state = real(state);
        let (project, folder) = (real(&config.project_dir), real(&agent.dir));
        let mut protected = vec![real(&config.file), real(&governance.policies), state.clone()];
        protected.extend(governance.classes.as_deref().map(real));
        protected.extend(sources::files(config).map(|path| real(&path)));
        let mine = |budget: &&crate::config::governance::Budget| {
            budget.agents.is_empty() || budget.agents.contains(&agent.name)
        };
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let millis = |duration: Duration| crate::base::now::millis(duration);
        Ok(Self {
            version: VERSION,
            start_id: start_id.to_owned(),
            agent: agent.name.to_string(),
            org: LOCAL_ORG.to_owned(),
            project: project_name(config),
            database: Governance::place_of(config, &state),
            accepted: accepted::head_of(config, &state),
            state,
            operator: operator.to_owned(),
            policies: governance.policies.clone(),
            classes: classes.transpose()?,
            zone: governance.zone.name().to_owned(),
            trust: agent.bounds.trust.into(),
            trust_max: agent.bounds.trust_max.into(),
            capabilities: agent.bounds.capabilities.clone(),
            permissions: agent.bounds.permissions.clone(),
            // A folder inside the project is at home in the whole of it.
            folder: if folder.starts_with(&project) { project } else { folder },
            home: home.map(|home| real(&home)),
            protected,
            approval_timeout_ms: millis(governance.approval_timeout),
            hook_wait_ms: millis(governance.hook_wait),
            session: caps(governance),
            exact_depth: governance.depth_rule == DepthRule::Exact,
            budgets: governance.budgets.iter().filter(mine).map(Limit::of).collect(),
            agents: config.agents.iter().map(|agent| agent.name.to_string()).collect(),
        })
    }

    /// Reads the bounds a start wrote down.
    pub fn read(path: &Path) -> Result<Self, BoundsError> {
        let bytes = std::fs::read(path).map_err(BoundsError::Read)?;
        let found: Self = serde_json::from_slice(&bytes).map_err(BoundsError::Form)?;
        if found.version == VERSION { Ok(found) } else { Err(BoundsError::Version) }
    }

    /// Of schedules and budgets that name none.
    pub fn zone(&self) -> Tz {
        self.zone.parse().unwrap_or(Tz::UTC)
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let zone = self.zone();
        self.budgets.iter().map(|limit| limit.budget(zone)).collect()
    }

    pub fn known(&self) -> Known {
        Known { agents: self.agents.clone(), ..Known::default() }
    }

    /// What an act may not touch.
    pub fn bounds(&self) -> crate::govern::bounds::Bounds {
        crate::govern::bounds::Bounds {
            project: Some(self.folder.clone()),
            home: self.home.clone(),
            scratch: vec!["/tmp".into(), "/var/tmp".into()],
            protected: self.protected.clone(),
            secrets: vec![self.operator.clone()],
        }
    }

    /// The level in force: the store's, never above the ceiling; the config's where the store has none.
    pub fn level(&self, row: Option<&TrustRow>, now: chrono::DateTime<chrono::Utc>) -> Level {
        let held = row.map_or(self.trust, |row| match row.lowered_until {
            Some(until) if now >= until => row.base,
            Some(_) | None => row.level,
        });
        held.min(self.trust_max)
    }
}

/// What no act of anybody in the project may touch. A path of another machine that looks the same
/// counts as the same.
pub fn of_project(config: &Config, governance: &Governance) -> crate::govern::bounds::Bounds {
    let state = Store::new(config).state();
    let mut protected = vec![real(&config.file), real(&config.governance.policies), real(&state)];
    if let Place::File(path) = Governance::place_of(config, &state) {
        protected.push(real(&path));
    }
    protected.extend(config.governance.classes.as_deref().map(real));
    protected.extend(sources::files(config).map(|path| real(&path)));
    crate::govern::bounds::Bounds {
        project: Some(real(&config.project_dir)),
        home: std::env::var_os("HOME").map(|home| real(Path::new(&home))),
        scratch: vec!["/tmp".into(), "/var/tmp".into()],
        protected,
        secrets: vec![governance.operator.folder().to_owned()],
    }
}

/// The project's name, as rules have it.
pub fn project_name(config: &Config) -> String {
    config.session_prefix.trim_end_matches(['-', '_', '.']).to_owned()
}

impl Limit {
    fn of(budget: &crate::config::governance::Budget) -> Self {
        Self {
            name: budget.name.clone(),
            most: Micros(budget.limit_micros),
            window: match budget.window {
                BudgetWindow::Day => Window::Day,
                BudgetWindow::Week => Window::Week,
                BudgetWindow::Month => Window::Month,
            },
            warn_at: budget.warn_at,
            downgrade_at: budget.downgrade_at,
            downgrade_to: budget.downgrade_to.map(Level::from),
        }
    }

    fn budget(&self, zone: Tz) -> Budget {
        let Self { name, most, window, warn_at, downgrade_at, downgrade_to } = self.clone();
        Budget { name, limit: most, window, zone, warn_at, downgrade_at, downgrade_to }
    }
}

/// Links resolved; a path that is not there yet stays as it is.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A governed agent starts: its bounds are written down, its level is in the store, the start is on record.
pub fn begin(
    config: &Config,
    store: &Store,
    agent: &Agent,
    start_id: &str,
    now: Now,
) -> Result<PathBuf, BeginError> {
    let state = store.state();
    let mut governance = Governance::open_for(config, &state)?;
    let governed = Governed::of(config, agent, &state, governance.operator.folder(), start_id)?;
    let path = file(&state, &agent.session);
    // What bounded it before tells whether the config was lowered since.
    let lowered = Governed::read(&path).is_ok_and(|before| before.trust > governed.trust);
    store::replace(&path, &governed).map_err(BeginError::Write)?;
    let org = governance.org.clone();
    db::write(governance.store(), &org, now, |tx| {
        let level = settle_level(tx, &governed, lowered, now)?;
        let draft = Draft::new(Kind::Started, "ao", &governed.agent)
            .with("start", start_id)
            .with("trust", level.word());
        db::append(tx, &draft, now).map(drop)
    })
    .map_err(GovernanceError::from)?;
    Ok(path)
}

/// The agent stopped.
pub fn end(config: &Config, store: &Store, agent: &Agent, now: Now) -> Result<(), GovernanceError> {
    let draft = Draft::new(Kind::Stopped, "ao", agent.name.as_str());
    Governance::open_for(config, &store.state())?.record(&draft, now)
}

/// The bounds of an agent by the config as it is, for an act outside its sessions.
pub fn of_now(
    config: &Config,
    store: &Store,
    agent: &Agent,
    now: Now,
) -> Result<Governed, BeginError> {
    let state = store.state();
    let mut governance = Governance::open_for(config, &state)?;
    let governed = Governed::of(config, agent, &state, governance.operator.folder(), "run")?;
    let org = governance.org.clone();
    db::write(governance.store(), &org, now, |tx| settle_level(tx, &governed, false, now))
        .map_err(GovernanceError::from)?;
    Ok(governed)
}

/// Where the agent begins, the first time; a lower starting level lowers, a higher one lifts nobody.
fn settle_level(
    tx: &mut dyn Tx,
    governed: &Governed,
    lowered: bool,
    now: Now,
) -> Result<Level, DbError> {
    let before = tx.trust(&governed.agent)?;
    let start = governed.trust.min(governed.trust_max);
    let row = |level: Level, why: &str| TrustRow {
        agent: governed.agent.clone(),
        level,
        base: level,
        lowered_until: None,
        why: why.to_owned(),
        by: "ao".to_owned(),
        changed: now.wall,
    };
    let next = match &before {
        None => row(start, "the config's starting level"),
        Some(found) if found.level > governed.trust_max => {
            row(governed.trust_max, "the config lowered `trust_max`")
        }
        Some(found) if lowered && found.level > start => row(start, "the config lowered `trust`"),
        Some(found) => return Ok(found.level),
    };
    tx.trust_put(&next)?;
    let draft = Draft::new(Kind::TrustChanged, "ao", &governed.agent)
        .with("from", before.map(|row| row.level.word()))
        .with("to", next.level.word())
        .with("why", next.why.clone());
    db::append(tx, &draft, now)?;
    Ok(next.level)
}
/// What each session may do.
pub fn caps(governance: &crate::config::governance::Governance) -> Caps {
    Caps {
        actions: governance.session_actions_max,
        cost: governance.session_cost_max_micros.map(Micros),
    }
}
