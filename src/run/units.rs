//! From the config to what decisions need: one spec a unit, and how each is started.

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};

use crate::backend::Backend;
use crate::base::name::UnitName;
use crate::config::{Agent, Config, Kind, Service, Watch};
use crate::supervise::settings::Settings;
use crate::supervise::state::{Care, UnitKind, UnitSpec};

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

/// What the supervisor needs to know of the watchdog's own section.
pub fn settings(_config: &Config) -> Settings {
    Settings {}
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
pub struct Tag {
    pub project: String,
    pub unit: String,
    pub start_id: String,
}

impl Tag {
    /// `ao1/<project>/<unit>/<start id>`, all of characters that tmux leaves alone.
    pub fn text(&self) -> String {
        format!("ao1/{}/{}/{}", self.project, self.unit, self.start_id)
    }

    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("ao1/")?.split('/');
        let (project, unit, start_id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { project: project.into(), unit: unit.into(), start_id: start_id.into() })
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
        let tag = Tag { project: "p".into(), unit: "builder".into(), start_id: "s-1".into() };
        assert_eq!(Tag::parse(&tag.text()), Some(tag));
        assert_eq!(Tag::parse(""), None);
        assert_eq!(Tag::parse("other/tool"), None);
    }
}
