//! From the config to what decisions need: one spec a unit, and how each is started.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use crate::backend::Backend;
use crate::base::name::UnitName;
use crate::base::now::millis;
use crate::config::section::backend::Holder;
use crate::config::{Agent, Config, Kind, Sequence, Service, Watch};
use crate::handoff::{inbox, judge};
use crate::supervise::pacing;
use crate::supervise::settings::{SequenceSettings, Settings};
use crate::supervise::state::{Care, Habits, UnitKind, UnitSpec};
use crate::sys::clock;

/// The name services and agents share their namespace with.
pub enum Member<'a> {
    Agent(&'a Agent),
    Service(&'a Service),
}

/// The agent or service of that name.
pub fn member<'a>(config: &'a Config, name: &UnitName) -> Option<Member<'a>> {
    let agent = config.agent(name.as_str()).map(Member::Agent);
    agent.or_else(|| config.service(name.as_str()).map(Member::Service))
}

/// Names what is fetched: another repository, remote or branch is another source.
pub fn handoff_source(config: &Config) -> Option<String> {
    let handoff = config.sequence.as_ref()?.handoff.as_ref()?;
    Some(format!("{} {}/{}", handoff.repo.display(), handoff.remote, handoff.branch))
}

fn handoff_watch(config: &Config, sequence: &SequenceSettings) -> Option<judge::Watch> {
    let handoff = config.sequence.as_ref()?.handoff.as_ref()?;
    let told = |pings: &Option<UnitName>, pattern: &str, text: &str| {
        let pings = pings.clone()?;
        Some(judge::Rule { pings, pattern: pattern.to_owned(), text: text.to_owned() })
    };
    let by_position = [handoff.claim_pings.as_ref(), handoff.review_pings.as_ref()];
    let inboxes = handoff.inboxes.iter().enumerate().filter_map(|(position, file)| {
        let reader = inbox::reader(file, position, &sequence.members, by_position)?;
        let part = sequence.members.get(&reader).cloned().flatten();
        let reader_names = [Some(reader.to_string()), part].into_iter().flatten().collect();
        let text = handoff.inbox_text.clone();
        Some(judge::Inbox { file: file.clone(), reader, reader_names, text })
    });
    Some(judge::Watch {
        source: handoff_source(config)?,
        claims: told(&handoff.claim_pings, &handoff.claim_pattern, &handoff.claim_text),
        reviews: told(&handoff.review_pings, &handoff.review_pattern, &handoff.review_text),
        inboxes: inboxes.collect(),
    })
}

fn sequence_settings(config: &Config, sequence: &Sequence) -> SequenceSettings {
    let members = config.agents.iter().filter(|agent| agent.kind == Kind::Loop);
    SequenceSettings {
        phases: sequence.phases.iter().map(|phase| phase.id.clone()).collect(),
        resume_phase: sequence.resume_phase,
        auto_advance: sequence.auto_advance,
        on_complete: sequence.on_complete.as_ref().map(|on_complete| on_complete.run.clone()),
        members: members.map(|agent| (agent.name.clone(), agent.role.clone())).collect(),
    }
}

/// What the supervisor needs to know of the config beside its units.
pub fn settings(config: &Config) -> Settings {
    let watchdog = &config.watchdog;
    let sequence = config.sequence.as_ref().map(|sequence| sequence_settings(config, sequence));
    let handoff = sequence.as_ref().and_then(|sequence| handoff_watch(config, sequence));
    Settings {
        sequence: sequence.map(Box::new),
        handoff: handoff.map(Box::new),
        pacing: pacing::Bounds {
            max_starting: config.starts.max_starting,
            stagger: config.starts.stagger,
            account_spacing: config.starts.account_spacing,
            pressure_max_percent: config.starts.pressure_max_percent,
        },
        zone: clock::zone().name().to_owned(),
        limit_probe_fallback: watchdog.limit_probe_fallback,
        limit_reset_slack: watchdog.limit_reset_slack,
        max_limit_window: watchdog.max_limit_window,
        stall_grace: watchdog.stall_grace,
        probe_text: watchdog.limit_probe_text.clone(),
        nudge_text: watchdog.stall_nudge_text.clone(),
    }
}

fn habits(config: &Config, agent: &Agent, backend: &Backend) -> Habits {
    let fallback = agent.on_limit.as_ref().map(|_| {
        let other = agent.on_fallback();
        let account = Backend::by_name(config, &other.backend).account;
        // Another model of the same account has limits of its own.
        if other.backend == agent.backend { format!("{account} (fallback)") } else { account }
    });
    Habits {
        account: agent.account.clone().unwrap_or_else(|| backend.account.clone()),
        fallback_account: fallback,
        wake_every_ms: agent.wake.as_ref().map(|wake| millis(wake.interval)),
        log_grace_ms: millis(backend.log_grace),
        remote_turns: backend.holder == Holder::Server,
    }
}

/// What the supervisor needs to know of every unit of the config.
pub fn specs(config: &Config) -> Vec<UnitSpec> {
    // Resolving one reads its preset's text: once is enough for a hundred agents of one backend.
    let mut backends: BTreeMap<&str, (Backend, u64)> = BTreeMap::new();
    let agents = config.agents.iter().map(|agent| {
        let name = agent.backend.as_str();
        let (backend, of_backend) = backends.entry(name).or_insert_with(|| {
            let backend = Backend::by_name(config, name);
            let of_backend = digest(&format!("{backend:?}"));
            (backend, of_backend)
        });
        agent_spec(config, agent, backend, *of_backend)
    });
    let services = config.services.iter().map(|service| service_spec(config, service));
    agents.chain(services).collect()
}

fn agent_spec(config: &Config, agent: &Agent, backend: &Backend, of_backend: u64) -> UnitSpec {
    UnitSpec {
        name: agent.name.clone(),
        session: agent.session.clone(),
        kind: match agent.kind {
            Kind::Loop | Kind::Persistent => UnitKind::Agent,
            Kind::Task => UnitKind::Task,
        },
        care: match agent.watch {
            Watch::None => Care::None,
            Watch::Heal => Care::Heal,
            Watch::HealStall => Care::HealStall,
        },
        enabled: agent.enabled,
        process_names: backend.process_name.clone(),
        max_restarts: config.watchdog.max_restarts,
        stall_idle: backend.stall_idle,
        launch_digest: digest(&format!("{agent:?}{of_backend}{:?}", config.env)),
        habits: habits(config, agent, backend),
    }
}

fn service_spec(config: &Config, service: &Service) -> UnitSpec {
    UnitSpec {
        name: service.name.clone(),
        session: service.session.clone(),
        kind: UnitKind::Service,
        care: Care::Heal,
        enabled: service.enabled,
        process_names: Vec::new(),
        max_restarts: config.watchdog.max_restarts,
        stall_idle: std::time::Duration::MAX,
        launch_digest: digest(&format!("{service:?}{:?}", config.env)),
        habits: Habits::default(),
    }
}

/// Changes when anything the start depends on changes. `SipHash` with fixed keys: stable within one build.
fn digest(text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Our mark on a session: which project, which unit, which start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag<'a> {
    pub project: &'a str,
    pub unit: &'a str,
    pub start_id: &'a str,
}

impl<'a> Tag<'a> {
    /// `ao1/<project>/<unit>/<start id>`, all of characters that tmux leaves alone.
    pub fn text(&self) -> String {
        format!("ao1/{}/{}/{}", self.project, self.unit, self.start_id)
    }

    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("ao1/")?.split('/');
        let (project, unit, start_id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { project, unit, start_id })
    }
}

/// Tells projects with look-alike prefixes apart: a digest of where their state lives.
pub fn project_id(config: &Config) -> String {
    let path = config.log_dir.to_string_lossy();
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_reads_back_and_a_foreign_text_is_no_tag() {
        let tag = Tag { project: "p", unit: "builder", start_id: "s-1" };
        assert_eq!(Tag::parse(&tag.text()), Some(tag));
        assert_eq!(Tag::parse(""), None);
        assert_eq!(Tag::parse("other/tool"), None);
    }
}
