//! Everything one start needs, from the config to the words tmux runs: prompt, conversation, environment.
//!
//! Writes the kickoff file and the conversation id; opening the session is the caller's act.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::governance::bounds::{self, BeginError};
use super::sensors::{self, Guard};
use super::store::{LaunchRecord, Store, TypedPrompt};
use super::units::{Member, Tag};
use crate::backend::Backend;
use crate::backend::launch::{self, LaunchInput};
use crate::backend::resume::{self, ResumePlan};
use crate::base::name::UnitName;
use crate::base::now::Now;
use crate::base::quote::shell_word;
use crate::config::{Agent, Config, PhaseStep, Prompt, Service};
use crate::kickoff::compose;
use crate::sys::file;
use crate::sys::tmux::SessionSpec;

/// One-off changes for a single invocation: `AGENT_MODEL_<name>`, `AGENT_BACKEND_<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub models: BTreeMap<String, String>,
    pub backends: BTreeMap<String, String>,
}

impl Overrides {
    /// From environment variables; `-` in a name is `_` in its variable.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut found = Self::default();
        for (name, value) in variables {
            if let Some(agent) = name.strip_prefix("AGENT_MODEL_") {
                found.models.insert(agent.to_owned(), value);
            } else if let Some(agent) = name.strip_prefix("AGENT_BACKEND_") {
                found.backends.insert(agent.to_owned(), value);
            }
        }
        found
    }

    fn key(name: &UnitName) -> String {
        name.as_str().replace('-', "_")
    }
}

/// What one start is made from, beside the unit itself.
#[derive(Debug)]
pub struct Circumstances<'a> {
    pub config: &'a Config,
    pub store: &'a Store,
    pub project: &'a str,
    /// The running program, for `{ao}`.
    pub ao: &'a Path,
    /// Of whoever asked for the first start; later starts get the recorded one.
    pub environment: &'a BTreeMap<String, String>,
    pub overrides: &'a Overrides,
    pub phase: Option<&'a PhaseStep>,
    pub attempt: u64,
    pub fresh: bool,
    /// On the agent's `on_limit`.
    pub fallback: bool,
    pub start_id: String,
    pub now: Now,
}

/// Ready to open.
#[derive(Debug)]
pub struct Prepared {
    pub spec: SessionSpec,
    pub record: LaunchRecord,
    /// Worth a line in the event log.
    pub notes: Vec<String>,
}

/// Why a start cannot even be tried; trying again without a change would not help.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("its backend `{0}` is neither in the config nor a preset")]
    Backend(String),
    #[error("cannot read its prompt `{path}`")]
    Prompt {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("its folder `{0}` does not exist")]
    Folder(PathBuf),
    #[error("it is a loop agent without a phase to work on")]
    Phase,
    #[error("cannot compose its prompt")]
    Compose(#[source] compose::ComposeError),
    #[error("cannot build its launch line")]
    Launch(#[source] launch::LaunchError),
    #[error("cannot write the settings of its CLI")]
    Settings(#[source] file::FileError),
    #[error("it is governed, but {0}")]
    NoDoor(String),
    #[error("what governs it cannot be set up")]
    Governance(#[source] BeginError),
    #[error("cannot write its prompt")]
    Write(#[source] file::FileError),
}

/// Prepares the start of an agent or service.
pub fn prepare(member: &Member<'_>, with: &Circumstances<'_>) -> Result<Prepared, PrepareError> {
    match member {
        Member::Agent(agent) => prepare_agent(agent, with),
        Member::Service(service) => prepare_service(service, with),
    }
}

fn prepare_agent(agent: &Agent, with: &Circumstances<'_>) -> Result<Prepared, PrepareError> {
    if !agent.dir.is_dir() {
        return Err(PrepareError::Folder(agent.dir.clone()));
    }
    let other = with.fallback.then(|| agent.on_fallback());
    let elsewhere = other.as_ref().is_some_and(|other| other.backend != agent.backend);
    let agent = other.as_ref().unwrap_or(agent);
    let key = Overrides::key(&agent.name);
    let override_of =
        |map: &'_ BTreeMap<String, String>| map.get(&key).filter(|_| !with.fallback).cloned();
    let given = override_of(&with.overrides.backends);
    let backend_name = given.as_ref().unwrap_or(&agent.backend);
    if !with.config.backends.contains_key(backend_name)
        && crate::backend::preset::get(backend_name).is_none()
    {
        return Err(PrepareError::Backend(backend_name.clone()));
    }
    let backend = Backend::by_name(with.config, backend_name);
    let phase_model = agent
        .role
        .as_ref()
        .zip(with.phase)
        .and_then(|(role, phase)| phase.models.get(role).cloned())
        .filter(|_| !with.fallback);
    let model = override_of(&with.overrides.models).or(phase_model).or(agent.model.clone());

    let prompt = prompt_text(agent, with)?;
    let kickoff = with.store.kickoff(&agent.session);
    if let Some(text) = &prompt {
        // Written anew at each start.
        file::replace_volatile(&kickoff, text.as_bytes(), 0o600).map_err(PrepareError::Write)?;
    }
    let mut notes = Vec::new();
    let plan = conversation(agent, &backend, elsewhere, with, &mut notes)?;
    let guard = guard(agent, &backend, with)?;
    let mut installed = sensors::install(agent, &backend, with.store, with.ao, guard.as_ref())
        .map_err(PrepareError::Settings)?;

    let recorded = with.store.launch(&agent.session, with.now).value;
    let base_env = recorded
        .map(|record| record.environment)
        .filter(|environment| !environment.is_empty())
        .unwrap_or_else(|| with.environment.clone());
    let input = LaunchInput {
        name: agent.name.as_str(),
        session: agent.session.as_str(),
        model: model.as_deref(),
        dir: &agent.dir,
        role: agent.role.as_deref(),
        kickoff_file: prompt.is_some().then_some(kickoff.as_path()),
        kickoff_bytes: prompt.as_ref().map_or(0, String::len),
        resume: &plan,
        settings_flag: installed.flag(),
        ao: with.ao,
        start_id: &with.start_id,
        base_env: &base_env,
        project_env: &with.config.env,
        agent_env: &agent.env,
    };
    let mut launch = launch::plan(&backend, &input).map_err(PrepareError::Launch)?;
    let follows = agent.resume && backend.supports_resume && !elsewhere;
    let sensing = sensors::apply(&mut installed, &mut launch, &with.store.state(), follows);
    Ok(Prepared {
        spec: SessionSpec {
            session: agent.session.clone(),
            dir: agent.dir.clone(),
            argv: launch.argv,
            env: launch.env,
            tag: tag(&agent.name, with),
            width: with.config.tmux.width,
            height: with.config.tmux.height,
            log: Some(with.store.session_log(&agent.session)),
        },
        record: LaunchRecord {
            version: 1,
            start_id: with.start_id.clone(),
            attempt: with.attempt,
            at: with.now.wall,
            backend: Some(backend_name.clone()),
            model,
            phase: with.phase.map(|phase| phase.id.clone()),
            resumed: matches!(plan, ResumePlan::Resume { .. }),
            prompt: if launch.types_prompt_after_ready {
                TypedPrompt::Pending
            } else {
                TypedPrompt::None
            },
            environment: base_env,
            sensing,
        },
        notes: notes.into_iter().chain(launch.note).chain(installed.note).collect(),
    })
}

/// What a governed agent's CLI must be told; a CLI without a door does not start.
fn guard(
    agent: &Agent,
    backend: &Backend,
    with: &Circumstances<'_>,
) -> Result<Option<Guard>, PrepareError> {
    if !agent.bounds.governed {
        return Ok(None);
    }
    sensors::door(agent, backend).map_err(PrepareError::NoDoor)?;
    let bounds = bounds::begin(with.config, with.store, agent, &with.start_id, with.now)
        .map_err(PrepareError::Governance)?;
    let named = |name: &str| {
        let found = agent.env.get(name).or(with.config.env.get(name)).cloned();
        found.or_else(|| with.environment.get(name).cloned()).map(PathBuf::from)
    };
    let user = named("CLAUDE_CONFIG_DIR").or_else(|| Some(named("HOME")?.join(".claude")));
    let wait = with.config.governance.hook_wait;
    Ok(Some(Guard { bounds, wait, folder: agent.dir.clone(), user }))
}

fn prepare_service(service: &Service, with: &Circumstances<'_>) -> Result<Prepared, PrepareError> {
    if !service.dir.is_dir() {
        return Err(PrepareError::Folder(service.dir.clone()));
    }
    let recorded = with.store.launch(&service.session, with.now).value;
    let base_env = recorded
        .map(|record| record.environment)
        .filter(|environment| !environment.is_empty())
        .unwrap_or_else(|| with.environment.clone());
    let mut env = launch::clean_environment(base_env.clone());
    env.extend(with.config.env.clone());
    env.extend(service.env.clone());
    env.insert("AO_START".to_owned(), with.start_id.clone());
    let dir = shell_word(&service.dir.to_string_lossy());
    let script = format!("cd -- {dir} || exit {}\n{}", launch::EXIT_NO_START, service.command);
    Ok(Prepared {
        spec: SessionSpec {
            session: service.session.clone(),
            dir: service.dir.clone(),
            argv: vec!["sh".to_owned(), "-c".to_owned(), script],
            env,
            tag: tag(&service.name, with),
            width: with.config.tmux.width,
            height: with.config.tmux.height,
            log: Some(with.store.session_log(&service.session)),
        },
        record: LaunchRecord {
            version: 1,
            start_id: with.start_id.clone(),
            attempt: with.attempt,
            at: with.now.wall,
            backend: None,
            model: None,
            phase: None,
            resumed: false,
            prompt: TypedPrompt::None,
            environment: base_env,
            sensing: None,
        },
        notes: Vec::new(),
    })
}

fn tag(name: &UnitName, with: &Circumstances<'_>) -> String {
    Tag { project: with.project, unit: name.as_str(), start_id: &with.start_id }.text()
}

/// The exact first prompt; `None` when the agent starts without one.
fn prompt_text(agent: &Agent, with: &Circumstances<'_>) -> Result<Option<String>, PrepareError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|cause| PrepareError::Prompt { path: path.to_owned(), cause })
    };
    let text = match &agent.prompt {
        Prompt::None => return Ok(None),
        Prompt::Inline(text) => text.clone(),
        Prompt::File(path) => read(path)?,
        Prompt::Kickoff => {
            let (sequence, phase, role) = with
                .config
                .sequence
                .as_ref()
                .zip(with.phase)
                .zip(agent.role.as_ref())
                .map(|((sequence, phase), role)| (sequence, phase, role))
                .ok_or(PrepareError::Phase)?;
            let template = read(&sequence.kickoff_template)?;
            let role_text = read(&sequence.roles_dir.join(format!("{role}.md")))?;
            let slots = compose::KickoffSlots {
                phase_id: &phase.id,
                plan: &phase.plan,
                status: &phase.status,
                role,
            };
            compose::loop_prompt(&template, &role_text, &slots).map_err(PrepareError::Compose)?
        }
    };
    let text = compose::safe_start(&text);
    Ok((!text.trim().is_empty()).then_some(text))
}

/// Which conversation the start opens; the id is stored before the CLI can use it.
fn conversation(
    agent: &Agent,
    backend: &Backend,
    elsewhere: bool,
    with: &Circumstances<'_>,
    notes: &mut Vec<String>,
) -> Result<ResumePlan, PrepareError> {
    let path = if elsewhere {
        // The conversation on the agent's own backend is taken up again afterwards.
        with.store.state().join(format!("{}.fallback.id", agent.name))
    } else {
        with.store.conversation_id(&agent.name)
    };
    // What we wrote ends its line; anything else is what is left of it.
    let stored = file::read(&path).unwrap_or_else(|_| Some(String::new()));
    let sound = stored.as_ref().is_none_or(|text| resume::is_whole(text));
    if !sound {
        let at = file::set_aside(&path, with.now.wall).map_err(PrepareError::Write)?;
        let (path, at) = (path.display(), at.display());
        notes.push(format!("`{path}` names no conversation; it was set aside as `{at}`"));
    }
    let stored = stored.filter(|_| sound);
    let new_id = uuid::Uuid::new_v4().to_string();
    let plan = resume::decide(
        agent.resume && backend.supports_resume,
        backend.session_id_flag.as_deref(),
        stored.as_deref(),
        with.fresh,
        &new_id,
    );
    if with.fresh && stored.is_some() {
        drop(file::set_aside(&path, with.now.wall));
    }
    if let ResumePlan::Fresh { id: Some(id) } = &plan {
        file::replace(&path, format!("{id}\n").as_bytes(), 0o600).map_err(PrepareError::Write)?;
    }
    Ok(plan)
}
