//! What the supervisor remembers: the fleet, each unit's life, and what is still owed to whom.
//!
//! All of it is plain data that survives on disk; a watchdog that is killed goes on from here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::event::{Outcome, RequestId};
use super::outbox::{Message, MessageId};
use super::overload::OverloadClock;
use super::pacing::Pace;
use super::pinging::Handoff;
use super::restart::History;
use super::sequence::Phases;
use super::settings::Settings;
use super::stall::StallClock;
use crate::base::name::{PaneId, SessionName, UnitName};
use crate::base::now::Mono;
use crate::base::shared;
use crate::limits::window::Window;
use crate::screen::{Evidence, PaneState};

/// The version of the stored form; another one is set aside, not guessed at.
pub const FLEET_VERSION: u32 = 1;

/// Which tmux server: told apart by pid and start time, as pids come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerId {
    pub pid: u32,
    /// Epoch seconds.
    pub started: i64,
}

/// Everything remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    pub version: u32,
    /// The server of the last successful look.
    pub server: Option<ServerId>,
    pub sight: Sight,
    pub brake: Option<Brake>,
    pub units: BTreeMap<UnitName, Unit>,
    /// Why the newest config is not in force; `None` when it is.
    pub config_problem: Option<String>,
    /// Answers owed to people.
    pub owed: Vec<Owed>,
    /// The number of the newest message.
    #[serde(default)]
    pub newest_message: MessageId,
    #[serde(default)]
    pub settings: Settings,
    #[serde(default)]
    pub phases: Phases,
    #[serde(default)]
    pub handoff: Handoff,
    #[serde(default)]
    pub pacing: Pace,
    /// When time was last seen to pass; a gap means that the machine slept or nobody looked.
    #[serde(default)]
    pub awake_at: Option<Mono>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            version: FLEET_VERSION,
            server: None,
            sight: Sight::Never,
            brake: None,
            units: BTreeMap::new(),
            config_problem: None,
            owed: Vec::new(),
            newest_message: MessageId::default(),
            settings: Settings::default(),
            phases: Phases::default(),
            handoff: Handoff::default(),
            pacing: Pace::default(),
            awake_at: None,
        }
    }
}

/// Whether the last look at tmux told us anything. A failed look is not a death.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "sight")]
pub enum Sight {
    /// Not looked yet since the start.
    Never,
    Clear,
    /// Looking fails: nothing irreversible is done.
    Blind {
        since: DateTime<Utc>,
        error: String,
    },
}

/// Many died at once on a living server: look again before believing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    pub look_again_at: Mono,
    /// The second look was asked for; once is enough, however late it comes.
    #[serde(default)]
    pub asked: bool,
    pub dead: usize,
    pub running: usize,
}

/// A request whose answer is not complete yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    pub request: RequestId,
    pub outcomes: BTreeMap<UnitName, Option<Outcome>>,
}

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// An agent that is meant to run for good.
    Agent,
    /// An agent whose exit with status 0 is the end of its work.
    Task,
    Service,
}

/// How far the watchdog goes for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Care {
    /// Seen and shown, never touched.
    None,
    Heal,
    HealStall,
}

/// What the config says of a unit, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSpec {
    pub name: UnitName,
    pub session: SessionName,
    pub kind: UnitKind,
    pub care: Care,
    pub enabled: bool,
    /// Programs a healthy pane runs; empty: not judged.
    pub process_names: Vec<String>,
    pub max_restarts: u32,
    #[serde(with = "duration_ms")]
    pub stall_idle: Duration,
    /// Changes when anything that a start depends on changes.
    pub launch_digest: u64,
    #[serde(default)]
    pub habits: Habits,
}

/// What the config says of an agent beside its life and death.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Habits {
    /// Agents of one account share its usage limits.
    pub account: String,
    /// The account of the fallback it runs on while it is limited; `None`: it waits.
    pub fallback_account: Option<String>,
    /// Milliseconds between two wakes.
    pub wake_every_ms: Option<u64>,
    /// A log write this recent postpones a stall.
    pub log_grace_ms: u64,
    /// Its turns live in another process than the pane's: CPU of the pane says nothing.
    pub remote_turns: bool,
}

/// One agent or service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unit {
    #[serde(with = "shared")]
    pub spec: Arc<UnitSpec>,
    /// In the config and enabled, or started by name while disabled.
    pub listed: bool,
    /// A person asked for it to run; only wanted units are healed.
    pub wanted: bool,
    pub life: Life,
    /// Counts starts; names each one, so that a late outcome of an old one is recognised.
    pub attempt: u64,
    pub restarts: History,
    pub restarts_total: u32,
    /// The next start opens a new conversation.
    pub fresh_next: bool,
    /// Looks in a row that found a foreign program in the pane.
    pub mismatched_looks: u8,
    /// The last look did not find its session, too soon after its start to be believed alone.
    #[serde(default)]
    pub missed: bool,
    /// A session of that name exists that is not ours.
    pub foreign: bool,
    pub reading: Option<Known>,
    pub last: Option<Note>,
    /// The launch digest of the running process; differs from the spec's after a config change.
    pub launched_digest: Option<u64>,
    /// What waits to be typed, oldest first.
    #[serde(default)]
    pub outbox: Vec<Message>,
    /// Kept down by the sequence of phases, whatever is wished for.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Its usage limit: open, or over and remembered by its banner.
    #[serde(default)]
    pub window: Option<Window>,
    /// People know that its CLI should have gone on by itself by now.
    #[serde(default)]
    pub armed_told: bool,
    /// While it runs on its fallback: the window it waits out there.
    #[serde(default)]
    pub away: Option<Window>,
    #[serde(default)]
    pub stall: StallClock,
    #[serde(default)]
    pub overload: OverloadClock,
    /// When its last wake was queued.
    #[serde(default)]
    pub woken_at: Option<DateTime<Utc>>,
}

/// Why a loop agent is kept down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// All loop agents go to another phase.
    Moving,
    /// Every phase is done.
    Finished,
}

/// What the unit's screen or sensors said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    pub state: PaneState,
    pub since: DateTime<Utc>,
    pub since_mono: Mono,
    /// Looks in a row that said so.
    pub looks: u32,
    #[serde(with = "shared::list")]
    pub evidence: Arc<[Evidence]>,
    /// When it was last seen working, or its live region changed.
    pub active_at: Mono,
    pub live_hash: u64,
}

/// The last thing that happened to a unit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub at: DateTime<Utc>,
    #[serde(with = "shared::text")]
    pub what: Arc<str>,
}

/// Where a unit is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "life")]
pub enum Life {
    NotStarted,
    Starting {
        since: Mono,
    },
    Running {
        pane: PaneId,
        pid: u32,
        since: Mono,
        since_wall: DateTime<Utc>,
    },
    Stopping {
        since: Mono,
        then: Then,
        cause: String,
    },
    Dead {
        evidence: Death,
        since: DateTime<Utc>,
        /// `None`: nobody asked for it to come back.
        restart_at: Option<Mono>,
    },
    /// Restarted too often or cannot start: left alone until a person says `restart`.
    Failed {
        why: String,
        since: DateTime<Utc>,
    },
    /// A task that exited with status 0.
    Done {
        since: DateTime<Utc>,
    },
}

/// What follows a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "then")]
pub enum Then {
    Rest,
    /// Started at once: a person waits for it.
    Restart,
    /// Started when its backoff allows.
    RestartAt {
        at: Mono,
    },
    /// Left alone as `failed`, with the cause of the stop.
    Fail,
    /// Kept down by its sequence, which says what follows.
    Hold,
}

/// How we know that a unit died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "death")]
pub enum Death {
    Exited {
        status: i32,
    },
    Signaled {
        signal: i32,
    },
    /// The pane is dead; tmux does not know how it ended.
    Unexplained,
    SessionGone,
    ServerGone {
        evidence: String,
    },
    /// A start whose outcome was never seen.
    StartLost,
    /// We ended it ourselves.
    Ended {
        cause: String,
    },
}

impl Death {
    /// For people: `exited with status 1`, `killed by signal 9`.
    pub fn words(&self) -> String {
        match self {
            Self::Exited { status } => format!("exited with status {status}"),
            Self::Signaled { signal } => format!("killed by signal {signal}"),
            Self::Unexplained => "its process ended".to_owned(),
            Self::SessionGone => "its session is gone".to_owned(),
            Self::ServerGone { evidence } => format!("the tmux server is gone ({evidence})"),
            Self::StartLost => "its start was interrupted".to_owned(),
            Self::Ended { cause } => cause.clone(),
        }
    }
}

impl Unit {
    pub fn new(spec: impl Into<Arc<UnitSpec>>) -> Self {
        let spec = spec.into();
        Self {
            listed: spec.enabled,
            spec,
            wanted: false,
            life: Life::NotStarted,
            attempt: 0,
            restarts: History::default(),
            restarts_total: 0,
            fresh_next: false,
            mismatched_looks: 0,
            missed: false,
            foreign: false,
            reading: None,
            last: None,
            launched_digest: None,
            outbox: Vec::new(),
            pause: None,
            window: None,
            armed_told: false,
            away: None,
            stall: StallClock::default(),
            overload: OverloadClock::default(),
            woken_at: None,
        }
    }

    /// Whether a usage limit is being waited out: nothing but the probe is typed, nothing is healed.
    pub fn is_limited(&self) -> bool {
        self.window.as_ref().is_some_and(Window::is_open)
    }

    /// Whether the watchdog brings it back when it dies.
    pub fn healed(&self) -> bool {
        self.wanted && self.listed && self.pause.is_none() && self.spec.care != Care::None
    }

    pub fn is_running(&self) -> bool {
        matches!(self.life, Life::Running { .. })
    }

    pub fn config_changed(&self) -> bool {
        self.is_running()
            && self.launched_digest.is_some_and(|launched| launched != self.spec.launch_digest)
    }
}

/// Nobody waits for the outcome of a start or stop any more: the next look settles it at once.
pub fn outcomes_lost(fleet: &mut Fleet) {
    for unit in fleet.units.values_mut() {
        if let Life::Starting { since } | Life::Stopping { since, .. } = &mut unit.life {
            *since = Mono(0);
        }
    }
}

/// What is left of a fleet once the machine was restarted: wishes and verdicts, no monotonic times.
///
/// Nothing of it runs any more. Wanted units come back at the first look, without their old restarts.
pub fn after_reboot(mut fleet: Fleet) -> Fleet {
    fleet.server = None;
    fleet.sight = Sight::Never;
    fleet.brake = None;
    fleet.awake_at = None;
    fleet.pacing = Pace::default();
    for unit in fleet.units.values_mut() {
        unit.restarts.cleared();
        unit.reading = None;
        unit.mismatched_looks = 0;
        unit.missed = false;
        unit.foreign = false;
        unit.launched_digest = None;
        unit.stall = StallClock::default();
        unit.overload = OverloadClock::default();
        match unit.life {
            Life::Failed { .. } | Life::Done { .. } => {}
            Life::NotStarted
            | Life::Starting { .. }
            | Life::Running { .. }
            | Life::Stopping { .. }
            | Life::Dead { .. } => unit.life = Life::NotStarted,
        }
    }
    fleet
}

pub(super) mod duration_ms {
    //! Durations as whole milliseconds on disk.

    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::supervise) fn serialize<S: Serializer>(
        value: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(crate::base::now::millis(*value))
    }

    pub(in crate::supervise) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
