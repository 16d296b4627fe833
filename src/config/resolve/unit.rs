//! `[[agent]]` and `[[service]]`: names, sessions, prompts, and what they inherit.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use super::{INTERVAL_MIN, PRESETS, Resolver, or};
use crate::base::name::{NameError, SessionName, UnitName};
use crate::base::suggest;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::sections::{
    AgentSection, DefaultsSection, OnLimitSection, Root, ServiceSection, WakeSection,
};
use crate::config::raw::{At, quoted};
use crate::config::{Agent, Kind, OnLimit, Prompt, Service, Wake, Watch};

/// The name that the supervisor's own session has.
const RESERVED: &str = "watchdog";

/// An agent and where it was declared.
pub(super) struct PlacedAgent {
    pub(super) agent: Agent,
    pub(super) role_at: Option<Range<usize>>,
}

/// Names that were given, each with the place where it was first.
type Taken = BTreeMap<String, Range<usize>>;

/// What is given away already.
#[derive(Default)]
struct Register {
    names: Taken,
    sessions: Taken,
    /// With the name that it is made of.
    variables: BTreeMap<String, (String, Range<usize>)>,
}

/// How an agent and a service say who they are.
struct Identity<'a> {
    name: Option<&'a At<String>>,
    session: Option<&'a At<String>>,
}

impl Resolver<'_> {
    pub(super) fn units(
        &mut self,
        root: &Root,
        defaults: &DefaultsSection,
        prefix: Option<&str>,
    ) -> (Vec<PlacedAgent>, Vec<Service>) {
        let mut register = Register::default();
        let mut agents = Vec::new();
        for entry in root.agent.iter().flat_map(|list| &list.value) {
            agents.extend(self.agent(root, defaults, prefix, &mut register, &entry.value));
        }
        let mut services = Vec::new();
        for entry in root.service.iter().flat_map(|list| &list.value) {
            services.extend(self.service(defaults, prefix, &mut register, &entry.value));
        }
        self.default_backend(root, defaults);
        (agents, services)
    }

    fn agent(
        &mut self,
        root: &Root,
        defaults: &DefaultsSection,
        prefix: Option<&str>,
        register: &mut Register,
        section: &AgentSection,
    ) -> Option<PlacedAgent> {
        let given = Identity {
            name: self.required(section, "name", |section| &section.name),
            session: section.session.as_ref(),
        };
        let identity = self.identity(&given, prefix, register);
        if let Some(name) = &section.name {
            self.claim_variable(name, register);
        }
        let kind = or(section.kind.as_ref(), Kind::Persistent);
        let backend = self.backend_of(root, defaults, section);
        let prompt = self.prompt(section, kind);
        self.check_loop(root, section, kind);
        let wake = section.wake.as_ref().and_then(|wake| self.wake(&wake.value));
        let on_limit = section.on_limit.as_ref().and_then(|given| self.on_limit(root, given));
        let env = self.env(section.env.as_ref());
        let bounds = self.bounds(section);
        let (name, session) = identity?;
        // A config with an agent on no backend is never handed out; the agent stays for references to it.
        let backend = backend.unwrap_or_default();
        let on_default = defaults.backend.as_ref().is_some_and(|given| given.value == backend);
        let inherited = defaults.model.as_ref().filter(|_| on_default);
        let text = |field: &Option<At<String>>| field.as_ref().map(|field| field.value.clone());
        let agent = Agent {
            name,
            session,
            kind,
            model: section.model.as_ref().or(inherited).map(|model| model.value.clone()),
            backend,
            dir: self.dir(section.dir.as_ref(), defaults),
            role: text(&section.role),
            resume: or(section.resume.as_ref(), false),
            watch: or(section.watch.as_ref().or(defaults.watch.as_ref()), Watch::Heal),
            enabled: or(section.enabled.as_ref(), true),
            wake,
            prompt,
            log_signature: text(&section.log_signature),
            account: text(&section.account),
            bounds,
            hooks: or(section.hooks.as_ref().or(defaults.hooks.as_ref()), true),
            on_limit,
            env,
        };
        Some(PlacedAgent { agent, role_at: section.role.as_ref().map(|role| role.span.clone()) })
    }

    fn service(
        &mut self,
        defaults: &DefaultsSection,
        prefix: Option<&str>,
        register: &mut Register,
        section: &ServiceSection,
    ) -> Option<Service> {
        let given = Identity {
            name: self.required(section, "name", |section| &section.name),
            session: section.session.as_ref(),
        };
        let identity = self.identity(&given, prefix, register);
        let command = self.required(section, "command", |section| &section.command);
        if let Some(command) = command.filter(|command| command.value.trim().is_empty()) {
            self.problems.push(
                Diagnostic::error("`command` cannot be empty").at(&command.span, "nothing to run"),
            );
        }
        let env = self.env(section.env.as_ref());
        let (name, session) = identity?;
        Some(Service {
            name,
            session,
            command: command?.value.clone(),
            dir: self.dir(section.dir.as_ref(), defaults),
            enabled: or(section.enabled.as_ref(), true),
            env,
        })
    }

    fn dir(&self, given: Option<&At<String>>, defaults: &DefaultsSection) -> PathBuf {
        let given = given.or(defaults.dir.as_ref());
        self.path(given.map_or(".", |dir| &dir.value))
    }

    /// Name and session, if both are good and nobody has them yet.
    fn identity(
        &mut self,
        unit: &Identity<'_>,
        prefix: Option<&str>,
        register: &mut Register,
    ) -> Option<(UnitName, SessionName)> {
        let name = unit.name?;
        let good =
            UnitName::new(&name.value).map_err(|error| self.refuse_name("name", name, &error));
        if name.value == RESERVED {
            self.problems.push(
                Diagnostic::error(format!(
                    "the name `{RESERVED}` is taken by the supervisor itself"
                ))
                .at(&name.span, "choose another name"),
            );
        }
        let first = self.claim("name", &name.value, &name.span, &mut register.names);
        let session = match unit.session {
            Some(given) => {
                let good = SessionName::new(&given.value)
                    .map_err(|error| self.refuse_name("session", given, &error));
                (good.ok(), &given.span)
            }
            None => (
                SessionName::new(&format!("{}{}", prefix.unwrap_or_default(), name.value)).ok(),
                &name.span,
            ),
        };
        let (Some(session), at) = session else {
            return None;
        };
        let watchdog = prefix.map(|prefix| format!("{prefix}{RESERVED}"));
        if watchdog.as_deref() == Some(session.as_str()) && name.value != RESERVED {
            self.problems.push(
                Diagnostic::error(format!("the session `{session}` is the supervisor's own"))
                    .at(at, "choose another session"),
            );
        }
        // Equal names give equal sessions; that clash has been told already.
        if first || unit.session.is_some() {
            self.claim("session", session.as_str(), at, &mut register.sessions);
        }
        Some((good.ok()?, session))
    }

    fn refuse_name(&mut self, what: &str, given: &At<String>, error: &NameError) {
        self.problems.push(
            Diagnostic::error(format!("`{what}` is not a usable name"))
                .at(&given.span, error.to_string()),
        );
    }

    /// Says whether nobody had it before.
    fn claim(&mut self, what: &str, text: &str, at: &Range<usize>, taken: &mut Taken) -> bool {
        if let Some(first) = taken.get(text) {
            self.problems.push(
                Diagnostic::error(format!("the {what} `{text}` is used twice"))
                    .at(at, "used again here")
                    .at(first, "first defined here"),
            );
            return false;
        }
        taken.insert(text.to_owned(), at.clone());
        true
    }

    /// `AGENT_MODEL_a_b` would mean both `a-b` and `a_b`.
    fn claim_variable(&mut self, name: &At<String>, register: &mut Register) {
        let variable = name.value.replace(['-', '.'], "_");
        match register.variables.get(&variable) {
            // One that is used twice has been told already.
            Some((first, _)) if *first == name.value => {}
            Some((first, at)) => self.problems.push(
                Diagnostic::error(format!(
                    "`{first}` and `{}` share the variable `AGENT_MODEL_{variable}`",
                    name.value
                ))
                .at(&name.span, "rename one of the two")
                .at(at, "first defined here"),
            ),
            None => {
                register.variables.insert(variable, (name.value.clone(), name.span.clone()));
            }
        }
    }

    /// The agent's backend, or a report that nobody names one.
    fn backend_of(
        &mut self,
        root: &Root,
        defaults: &DefaultsSection,
        section: &AgentSection,
    ) -> Option<String> {
        if let Some(given) = &section.backend {
            self.check_backend(root, given);
            return Some(given.value.clone());
        }
        if let Some(inherited) = &defaults.backend {
            return Some(inherited.value.clone());
        }
        if !section.refused.contains(&"backend") && !defaults.refused.contains(&"backend") {
            let at = section.name.as_ref().map_or(&section.at, |name| &name.span);
            self.problems.push(
                Diagnostic::error("nothing says which backend this agent runs on")
                    .at(at, "no `backend` here, and none in `[defaults]`")
                    .hint(format!("write `backend = \"…\"`; presets: {}", quoted(&PRESETS))),
            );
        }
        None
    }

    fn default_backend(&mut self, root: &Root, defaults: &DefaultsSection) {
        if let Some(given) = &defaults.backend {
            self.check_backend(root, given);
        }
    }

    fn check_backend(&mut self, root: &Root, given: &At<String>) {
        let tables = root.backend.iter().flat_map(|table| &table.value.0);
        let mut known: Vec<&str> = tables.map(|(name, _)| name.value.as_str()).collect();
        known.extend(
            PRESETS.iter().filter(|preset| !known.contains(preset)).copied().collect::<Vec<_>>(),
        );
        if known.contains(&given.value.as_str()) || root.refused.contains(&"backend") {
            return;
        }
        let near = suggest::nearest(&given.value, known.iter().copied())
            .map_or(String::new(), |near| format!("did you mean `{near}`? "));
        self.problems.push(
            Diagnostic::error(format!("unknown backend `{}`", given.value))
                .at(&given.span, "no backend has this name")
                .hint(format!("{near}known: {}", quoted(&known))),
        );
    }

    fn prompt(&mut self, section: &AgentSection, kind: Kind) -> Prompt {
        if let (Some(inline), Some(file)) = (&section.prompt, &section.prompt_file) {
            self.problems.push(
                Diagnostic::error("an agent has one prompt: `prompt` or `prompt_file`, not both")
                    .at(&file.span, "this or the other")
                    .at(&inline.span, "first defined here"),
            );
        }
        let file = section.prompt_file.as_ref().map(|file| self.existing("prompt file", file));
        if kind == Kind::Loop {
            if let Some(given) = section.prompt.as_ref().or(section.prompt_file.as_ref()) {
                self.problems.push(
                    Diagnostic::warning(
                        "a loop agent's prompt is its kickoff; this one is not used",
                    )
                    .at(&given.span, "without effect"),
                );
            }
            return Prompt::Kickoff;
        }
        match (&section.prompt, file) {
            (Some(inline), _) => Prompt::Inline(inline.value.clone()),
            (None, Some(path)) => Prompt::File(path),
            (None, None) => Prompt::None,
        }
    }

    fn check_loop(&mut self, root: &Root, section: &AgentSection, kind: Kind) {
        if kind != Kind::Loop {
            return;
        }
        let at = section.kind.as_ref().map_or(&section.at, |kind| &kind.span);
        if root.r#loop.is_none() && !root.refused.contains(&"loop") {
            self.problems.push(
                Diagnostic::error("an agent of kind `loop` needs a `[loop]` section")
                    .at(at, "works through the phases of `[loop]`"),
            );
        }
        if section.role.is_none() && !section.refused.contains(&"role") {
            self.problems.push(
                Diagnostic::error("an agent of kind `loop` needs a `role`")
                    .at(at, "its prompt is the kickoff and `<roles_dir>/<role>.md`"),
            );
        }
    }

    fn on_limit(&mut self, root: &Root, given: &At<OnLimitSection>) -> Option<OnLimit> {
        let section = &given.value;
        if section.backend.is_none() && section.model.is_none() && section.refused.is_empty() {
            self.problems.push(
                Diagnostic::error("`on_limit` names neither `backend` nor `model`")
                    .at(&given.span, "nothing to go on with"),
            );
            return None;
        }
        if let Some(backend) = &section.backend {
            self.check_backend(root, backend);
        }
        let text = |field: &Option<At<String>>| field.as_ref().map(|field| field.value.clone());
        Some(OnLimit { backend: text(&section.backend), model: text(&section.model) })
    }

    fn wake(&mut self, section: &WakeSection) -> Option<Wake> {
        let interval = self.required(section, "interval", |section| &section.interval);
        let interval =
            interval.map(|field| self.lapse("interval", Some(field), Duration::ZERO, INTERVAL_MIN));
        let file = self.required(section, "prompt_file", |section| &section.prompt_file);
        let prompt_file = file.map(|file| self.existing("wake prompt file", file));
        Some(Wake { interval: interval?, prompt_file: prompt_file? })
    }
}
