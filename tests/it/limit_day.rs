//! A day of usage limits in virtual time: every second a tick, what the agents show is played.
//!
//! The machine sleeps in the middle of a window; one probe finds that the limit still holds; one CLI
//! goes on by itself. What must come out: one probe a window and account, no restart, nothing lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use ao::base::name::{PaneId, SessionName, UnitName};
use ao::base::now::{Mono, Now};
use ao::base::zone::Tz;
use ao::screen::{Composer, Evidence, PaneState, Reading};
use ao::supervise::action::{Action, What};
use ao::supervise::decide::decide;
use ao::supervise::event::{Event, Request, RequestId, Seen, Sighting, StartOutcome, StopOutcome};
use ao::supervise::invariant;
use ao::supervise::outbox::{Draft, MessageId, Origin, Typed};
use ao::supervise::settings::Settings;
use ao::supervise::state::{Care, Death, Fleet, Habits, ServerId, UnitKind, UnitSpec};
use chrono::{DateTime, Utc};
use expect_test::{Expect, expect};

/// 2026-11-21 08:00 UTC, which is 9 o'clock in Berlin.
const MORNING: i64 = 1_795_248_000;
const SERVER: ServerId = ServerId { pid: 9, started: 1 };

/// One agent as it is, whatever the supervisor thinks.
struct Agent {
    state: PaneState,
    /// What its screen says.
    text: String,
    /// It works until then, then it is idle.
    works_until: Option<i64>,
    pid: u32,
    dead: bool,
}

struct Day {
    fleet: Fleet,
    agents: BTreeMap<UnitName, Agent>,
    second: i64,
    slept: i64,
    story: String,
    /// What was typed to whom.
    typed: Vec<(UnitName, String)>,
    under_way: Vec<(i64, Event)>,
    starts: Vec<UnitName>,
    stops: Vec<UnitName>,
    pids: u32,
}

fn name(name: &str) -> UnitName {
    UnitName::new(name).expect("plain")
}

fn spec(unit: &str, account: &str) -> UnitSpec {
    UnitSpec {
        name: name(unit),
        session: SessionName::new(unit).expect("plain"),
        kind: UnitKind::Agent,
        care: Care::HealStall,
        enabled: true,
        process_names: Vec::new(),
        max_restarts: 3,
        stall_idle: Duration::from_secs(300),
        launch_digest: 1,
        habits: Habits { account: account.to_owned(), ..Habits::default() },
    }
}

impl Day {
    fn new(units: &[(&str, &str)]) -> Self {
        let mut day = Self {
            fleet: Fleet::default(),
            agents: BTreeMap::new(),
            second: 0,
            slept: 0,
            story: String::new(),
            typed: Vec::new(),
            under_way: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            pids: 0,
        };
        let specs: Vec<UnitSpec> =
            units.iter().map(|(unit, account)| spec(unit, account)).collect();
        let names: BTreeSet<UnitName> = specs.iter().map(|spec| spec.name.clone()).collect();
        let settings = Settings { zone: "Europe/Berlin".to_owned(), ..Settings::default() };
        day.hear(Event::Configured { units: specs, wanted: BTreeSet::new(), settings });
        day.hear(Event::Looked { server: SERVER, panes: Vec::new() });
        let request = Request::Up { units: names, by_name: false };
        day.hear(Event::Requested { id: RequestId("up".to_owned()), request });
        day.pass(5);
        day
    }

    fn now(&self) -> Now {
        let wall = DateTime::<Utc>::from_timestamp(MORNING + self.second, 0).expect("in range");
        Now { wall, mono: Mono(u64::try_from(self.second + 1_000).expect("positive") * 1_000) }
    }

    fn tell(&mut self, line: &str) {
        let at = self
            .now()
            .wall
            .with_timezone(&"Europe/Berlin".parse::<Tz>().unwrap())
            .format("%H:%M:%S");
        writeln!(self.story, "{at} {line}").expect("a string");
    }

    fn hear(&mut self, event: Event) {
        let now = self.now();
        let actions = decide(&mut self.fleet, &event, now);
        assert_eq!(invariant::broken(&self.fleet), Vec::<String>::new());
        // What is on disk is all that another supervisor would know.
        if matches!(event, Event::Looked { .. }) {
            let text = serde_json::to_string(&self.fleet).expect("plain data");
            self.fleet = serde_json::from_str(&text).expect("own text");
        }
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        let soon = self.second + 1;
        match action {
            Action::Start { unit, attempt, .. } => {
                self.pids += 1;
                self.starts.push(unit.clone());
                let agent = Agent {
                    state: PaneState::Working,
                    text: "working".to_owned(),
                    works_until: Some(self.second + 60),
                    pid: self.pids,
                    dead: false,
                };
                self.agents.insert(unit.clone(), agent);
                let outcome = StartOutcome::Opened {
                    pane: PaneId::new(format!("%{}", self.pids)),
                    pid: self.pids,
                };
                self.under_way.push((soon, Event::Started { unit, attempt, outcome }));
            }
            Action::Stop { unit, attempt, cause } => {
                self.tell(&format!("{unit} stopped: {cause}"));
                self.stops.push(unit.clone());
                self.agents.remove(&unit);
                let outcome = StopOutcome::Gone { cut: false };
                self.under_way.push((soon, Event::Stopped { unit, attempt, outcome }));
            }
            Action::Type { unit, message, text, .. } => {
                self.tell(&format!("{unit} is told: {text}"));
                if text == PING {
                    self.works(unit.as_str(), 3 * 3_600);
                }
                self.typed.push((unit.clone(), text));
                let outcome = Typed::Submitted { keys: 1 };
                self.under_way.push((soon, Event::Typed { unit, message, outcome }));
            }
            Action::Report(report) if matches!(report.what, What::Limit | What::Stall) => {
                let unit = report.unit.as_ref().map_or("fleet", UnitName::as_str).to_owned();
                self.tell(&format!("{unit}: {}", report.why));
            }
            Action::Report(_)
            | Action::SaveLimit { .. }
            | Action::ReadWake { .. }
            | Action::Look
            | Action::Sequence { .. }
            | Action::SaveHandoff
            | Action::SaveWanted
            | Action::Answer { .. } => {}
        }
    }

    /// Seconds pass while everything is awake.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.second += 1;
            let due: Vec<Event> = self
                .under_way
                .extract_if(.., |(at, _)| *at <= self.second)
                .map(|(_, event)| event)
                .collect();
            for event in due {
                self.hear(event);
            }
            if self.second % 30 == 0 {
                self.look();
            }
            self.read();
            self.hear(Event::Tick);
        }
    }

    fn until(&mut self, clock: &str) {
        let (hours, minutes) = clock.split_once(':').expect("HH:MM");
        let hours: i64 = hours.parse().expect("hours");
        let minutes: i64 = minutes.parse().expect("minutes");
        let target = (hours - 9) * 3_600 + minutes * 60;
        self.pass(target - self.second);
    }

    /// The lid is closed: both clocks go on, nobody sees it.
    fn sleep(&mut self, seconds: i64) {
        self.tell("the machine sleeps");
        self.second += seconds;
        self.slept += seconds;
        self.under_way.iter_mut().for_each(|(at, _)| *at += seconds);
        self.tell("the machine wakes");
    }

    fn look(&mut self) {
        let panes = self.agents.iter().map(|(unit, agent)| {
            let pane = PaneId::new(format!("%{}", agent.pid));
            let seen = if agent.dead {
                Seen::Dead { death: Death::Exited { status: 1 }, of: None }
            } else {
                let busy = if agent.state == PaneState::Working { 500 } else { 0 };
                let awake = u64::try_from(self.second - self.slept).expect("positive");
                let (cpu_ms, silent_ms) = (Some(awake * busy), Some(600_000));
                Seen::Alive { pane, pid: agent.pid, programs: None, cpu_ms, silent_ms }
            };
            Sighting { unit: unit.clone(), seen }
        });
        let event = Event::Looked { server: SERVER, panes: panes.collect() };
        self.hear(event);
    }

    /// Every screen that may have changed.
    fn read(&mut self) {
        for unit in self.agents.keys().cloned().collect::<Vec<_>>() {
            let agent = self.agents.get_mut(&unit).expect("listed");
            if agent.works_until.is_some_and(|until| until <= self.second) {
                agent.works_until = None;
                agent.state = PaneState::Idle;
                "idle".clone_into(&mut agent.text);
            }
            if agent.dead {
                continue;
            }
            let known = self.fleet.units[&unit].reading.as_ref();
            let same = known.is_some_and(|known| {
                known.state == agent.state && known.evidence[0].text == agent.text
            });
            if same && agent.state != PaneState::Working {
                continue;
            }
            let evidence = Evidence {
                rule: "rule".to_owned(),
                region: "last_item".to_owned(),
                text: agent.text.clone(),
            };
            let moving = if agent.state == PaneState::Working { self.second } else { 0 };
            let reading = Reading {
                state: agent.state,
                evidence: vec![evidence],
                cure: None,
                composer: Composer::Empty,
                live_hash: u64::try_from(moving).expect("positive")
                    ^ (agent.text.len() as u64) << 32,
                marker: None,
            };
            let attempt = self.fleet.units[&unit].attempt;
            self.hear(Event::Read { unit, attempt, reading });
        }
    }

    fn limited(&mut self, unit: &str, banner: &str) {
        let agent = self.agents.get_mut(&name(unit)).expect("it runs");
        (agent.state, agent.text) = (PaneState::Limited, banner.to_owned());
        agent.works_until = None;
    }

    fn works(&mut self, unit: &str, seconds: i64) {
        let until = self.second + seconds;
        let agent = self.agents.get_mut(&name(unit)).expect("it runs");
        (agent.state, agent.text) = (PaneState::Working, "working".to_owned());
        agent.works_until = Some(until);
    }

    fn dies(&mut self, unit: &str) {
        self.agents.get_mut(&name(unit)).expect("it runs").dead = true;
        self.look();
    }

    fn ping(&mut self, unit: &str, text: &str) {
        let draft = Draft {
            text: text.to_owned(),
            origin: Origin::Handoff,
            key: None,
            expires_at: None,
            busy_input: false,
            command: false,
        };
        let id = RequestId(format!("{unit} {text}"));
        let request = Request::Send { unit: name(unit), draft, wait: false };
        self.hear(Event::Requested { id, request });
    }

    fn told(&self, unit: &str, text: &str) -> usize {
        self.typed.iter().filter(|(who, what)| who.as_str() == unit && what == text).count()
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "`expect![…]` reads best in place")]
    fn check(&mut self, expected: Expect) {
        expected.assert_eq(&std::mem::take(&mut self.story));
    }
}

const PROBE: &str = "Continue where you left off.";
/// What agents go to work on.
const PING: &str = "a review waits";

#[test]
fn a_day_of_limits_takes_one_probe_a_window_and_account_and_no_restart() {
    let mut day =
        Day::new(&[("a1", "one"), ("a2", "one"), ("a3", "one"), ("b1", "two"), ("b2", "two")]);
    let units = ["a1", "a2", "a3", "b1", "b2"];
    for unit in units {
        day.works(unit, 4 * 3_600);
    }
    let starts = day.starts.len();
    day.until("11:00");
    day.limited("a1", "  ⎿  You've hit your 5-hour limit · resets 1pm (Europe/Berlin)");
    day.until("11:10");
    day.limited("a2", "5-hour limit reached ∙ resets 1pm");
    day.until("11:20");
    let noon = MORNING + 4 * 3_600;
    day.limited("a3", &format!("Claude AI usage limit reached|{noon}"));
    day.limited("b1", "■ You’ve hit your usage limit. Try again at 1:20 PM.");
    day.limited(
        "b2",
        "5 hour usage limit reached. It will reset in 1 hour 40 minutes. [retrying in 1h 40m attempt #1]",
    );
    for unit in units {
        day.ping(unit, PING);
    }
    day.until("12:50");
    day.check(expect![[r"
        11:00:01 a1: 5-hour limit, until 2026-11-21 12:00:00 UTC (in 1 h 59 min)
        11:10:01 a2: 5-hour limit, until 2026-11-21 12:00:00 UTC (in 1 h 49 min)
        11:20:01 a3: usage limit, until 2026-11-21 12:00:00 UTC (in 1 h 39 min)
        11:20:01 b1: usage limit, until 2026-11-21 12:20:00 UTC (in 1 h 59 min)
        11:20:01 b2: 5-hour limit, until 2026-11-21 12:00:01 UTC (in 1 h 40 min)
    "]]);
    day.sleep(40 * 60);
    day.pass(20);
    // Its banner names a second where those of the others name a minute: it is the first.
    assert_eq!([day.told("a1", PROBE), day.told("a2", PROBE), day.told("a3", PROBE)], [0, 0, 1]);
    let three = MORNING + 6 * 3_600;
    day.limited("a3", &format!("Claude AI usage limit reached|{three}"));
    assert_eq!([day.told("b1", PROBE), day.told("b2", PROBE)], [1, 0]);
    day.works("b1", 90);
    day.works("b2", 120);
    day.until("14:22");
    day.check(expect![[r"
        12:50:00 the machine sleeps
        13:30:00 the machine wakes
        13:30:01 b2: 5-hour limit is over, and its CLI has not gone on by itself yet
        13:30:01 a3: probe 1 of the usage limit
        13:30:01 b1: probe 1 of the usage limit
        13:30:01 a3 is told: Continue where you left off.
        13:30:01 b1 is told: Continue where you left off.
        13:30:21 a3: usage limit again, until 2026-11-21 14:00:00 UTC
        13:30:31 b1: usage limit over: the probe was answered
        13:30:31 b2: 5-hour limit over: it works again
        13:31:50 b1 is told: a review waits
        13:32:20 b2 is told: a review waits
    "]]);
    day.until("15:01");
    assert_eq!([day.told("a1", PROBE), day.told("a2", PROBE), day.told("a3", PROBE)], [1, 0, 1]);
    day.works("a1", 90);
    day.pass(25);
    assert_eq!([day.told("a1", PROBE), day.told("a2", PROBE), day.told("a3", PROBE)], [1, 1, 2]);
    day.works("a2", 100);
    day.works("a3", 100);
    day.until("15:06");
    day.check(expect![[r"
        15:00:45 a1: probe 1 of the 5-hour limit
        15:00:45 a1 is told: Continue where you left off.
        15:01:11 a1: 5-hour limit over: the probe was answered
        15:01:16 a2: probe 1 of the 5-hour limit
        15:01:16 a2 is told: Continue where you left off.
        15:01:22 a3: probe 2 of the usage limit
        15:01:22 a3 is told: Continue where you left off.
        15:01:36 a2: 5-hour limit over: the probe was answered
        15:01:36 a3: usage limit over: the probe was answered
        15:02:30 a1 is told: a review waits
        15:03:05 a2 is told: a review waits
        15:03:05 a3 is told: a review waits
    "]]);
    for unit in units {
        assert_eq!(day.told(unit, PING), 1, "{unit}");
        let window = day.fleet.units[&name(unit)].window.as_ref();
        assert!(window.is_some_and(|window| !window.is_open()), "{unit}");
    }
    let probes: Vec<usize> = units.iter().map(|unit| day.told(unit, PROBE)).collect();
    assert_eq!(probes, [1, 1, 2, 1, 0]);
    assert_eq!((day.starts.len(), day.stops.len()), (starts, 0), "nothing was restarted");
}

#[test]
fn an_agent_that_dies_while_limited_is_started_at_the_end_and_no_crash_is_counted() {
    let mut day = Day::new(&[("a", "one")]);
    day.works("a", 3_600);
    day.until("09:10");
    day.limited("a", "You've hit your 5-hour limit · resets 11am (Europe/Berlin)");
    day.pass(60);
    day.dies("a");
    day.until("11:00");
    assert_eq!(day.starts.len(), 1, "left alone until its window ends");
    day.until("11:05");
    day.check(expect![[r"
        09:10:01 a: 5-hour limit, until 2026-11-21 10:00:00 UTC (in 1 h 49 min)
        11:01:56 a: 5-hour limit over: the probe was answered
    "]]);
    assert_eq!((day.starts.len(), day.typed.len()), (2, 0), "started instead of probed");
    let unit = &day.fleet.units[&name("a")];
    assert_eq!(unit.restarts.count(day.now().mono), 0);
    assert!(unit.is_running() && !unit.is_limited());
}

#[test]
fn the_old_banner_arms_nothing_and_a_new_one_does() {
    let mut day = Day::new(&[("a", "one")]);
    let banner = "You've hit your 5-hour limit · resets 10am (Europe/Berlin)";
    day.until("09:10");
    day.limited("a", banner);
    day.until("10:05");
    assert_eq!(day.told("a", PROBE), 1);
    day.ping("a", "read this");
    day.until("10:10");
    // It was never seen to work; the banner stands where it stood.
    assert_eq!(day.told("a", "read this"), 1, "what was held is delivered");
    day.works("a", 60);
    day.until("10:20");
    day.limited("a", "You've hit your 5-hour limit · resets 3pm (Europe/Berlin)");
    day.until("10:30");
    assert!(day.fleet.units[&name("a")].is_limited());
    assert_eq!(day.told("a", PROBE), 1);
}

#[test]
fn an_idle_agent_is_nudged_then_restarted_with_its_conversation_then_with_a_new_one() {
    let mut day = Day::new(&[("a", "one")]);
    day.until("12:30");
    day.check(expect![[r"
        09:06:30 a: idle for 5 min without CPU: it is nudged
        09:06:30 a is told: You have been idle for a while. Continue with your task, or say in a last line WAITING-UNTIL: TIME (as ISO 8601) that you wait on purpose.
        09:16:30 a: idle for 10 min without CPU: restarted with its conversation
        09:16:30 a stopped: idle for 10 min without CPU: restarted with its conversation
        09:37:31 a: idle for 20 min without CPU: restarted with a new conversation
        09:37:31 a stopped: idle for 20 min without CPU: restarted with a new conversation
        10:18:32 a: idle for 40 min without CPU: restarted with a new conversation
        10:18:32 a stopped: idle for 40 min without CPU: restarted with a new conversation
        11:19:33 a: idle for 1 h without CPU: restarted with a new conversation
        11:19:33 a stopped: idle for 1 h without CPU: restarted with a new conversation
        12:20:34 a: idle for 1 h without CPU: restarted with a new conversation
        12:20:34 a stopped: idle for 1 h without CPU: restarted with a new conversation
    "]]);
    assert_eq!(
        day.fleet.units[&name("a")].restarts.count(day.now().mono),
        0,
        "no crash is counted"
    );
}

#[test]
fn work_after_the_nudge_ends_the_stall_and_a_sleeping_machine_is_no_idle_agent() {
    let mut day = Day::new(&[("a", "one")]);
    day.until("09:03");
    day.sleep(8 * 3_600);
    day.pass(120);
    assert_eq!((day.typed.len(), day.stops.len()), (0, 0), "asleep is not idle");
    day.pass(600);
    assert_eq!(day.typed.len(), 1, "the nudge");
    day.works("a", 60);
    day.pass(120);
    assert_eq!(day.fleet.units[&name("a")].stall.doublings, 0);
    assert_eq!(day.stops.len(), 0);
    day.check(expect![[r"
        09:03:00 the machine sleeps
        17:03:00 the machine wakes
        17:08:30 a: idle for 6 min without CPU: it is nudged
        17:08:30 a is told: You have been idle for a while. Continue with your task, or say in a last line WAITING-UNTIL: TIME (as ISO 8601) that you wait on purpose.
        17:15:01 a: it works again after the nudge
    "]]);
}

#[test]
fn an_overloaded_provider_is_asked_again_ever_more_rarely_and_nothing_is_restarted() {
    let mut day = Day::new(&[("a", "one")]);
    day.works("a", 3_600);
    day.until("09:10");
    day.typed.clear();
    let agent = day.agents.get_mut(&name("a")).expect("it runs");
    (agent.state, agent.text) = (PaneState::Overloaded, "529 Overloaded".to_owned());
    agent.works_until = None;
    day.until("12:00");
    day.check(expect![[r"
        09:12:01 a: its provider was overloaded: try 1, the next in 4 min
        09:12:01 a is told: Continue where you left off.
        09:16:01 a: its provider was overloaded: try 2, the next in 8 min
        09:16:01 a is told: Continue where you left off.
        09:24:01 a: its provider was overloaded: try 3, the next in 16 min
        09:24:01 a is told: Continue where you left off.
        09:40:01 a: its provider was overloaded: try 4, the next in 32 min
        09:40:01 a is told: Continue where you left off.
        10:12:01 a: its provider was overloaded: try 5, the next in 1 h
        10:12:01 a is told: Continue where you left off.
        11:12:01 a: its provider was overloaded: try 6, the next in 1 h
        11:12:01 a is told: Continue where you left off.
    "]]);
    assert_eq!(day.stops.len(), 0);
}

#[test]
fn a_limited_agent_goes_on_with_its_fallback_and_comes_back() {
    let mut day = Day::new(&[("a", "one")]);
    let mut with = spec("a", "one");
    with.care = Care::Heal;
    with.habits.fallback_account = Some("other".to_owned());
    let settings = day.fleet.settings.clone();
    day.hear(Event::Configured {
        units: vec![with],
        wanted: BTreeSet::from([name("a")]),
        settings,
    });
    day.limited("a", "You've hit your 5-hour limit · resets 10am (Europe/Berlin)");
    day.pass(30);
    assert!(day.fleet.units[&name("a")].away.is_some());
    day.works("a", 50 * 60);
    day.until("10:20");
    day.check(expect![[r"
        09:00:06 a: 5-hour limit, until 2026-11-21 09:00:00 UTC (in 59 min)
        09:00:06 a stopped: 5-hour limit: it goes on with its fallback
        10:01:45 a stopped: 5-hour limit over: back from its fallback
    "]]);
    assert!(day.fleet.units[&name("a")].away.is_none());
    assert_eq!((day.starts.len(), day.told("a", PROBE)), (3, 0));
}

#[test]
fn a_wake_comes_one_interval_after_the_start_and_once_when_it_was_held() {
    let mut day = Day::new(&[("a", "one")]);
    let mut with = spec("a", "one");
    with.care = Care::Heal;
    with.habits.wake_every_ms = Some(3_600_000);
    let settings = day.fleet.settings.clone();
    day.hear(Event::Configured {
        units: vec![with],
        wanted: BTreeSet::from([name("a")]),
        settings,
    });
    let wake = |day: &mut Day| {
        let text = Ok("look around".to_owned());
        day.hear(Event::WakeText { unit: name("a"), text });
    };
    day.until("09:59");
    wake(&mut day);
    assert_eq!(day.told("a", "look around"), 0, "not before its time");
    day.until("10:01");
    wake(&mut day);
    wake(&mut day);
    day.pass(5);
    assert_eq!(day.told("a", "look around"), 1);
    day.works("a", 3 * 3_600);
    day.until("11:02");
    wake(&mut day);
    day.until("12:03");
    wake(&mut day);
    day.until("13:30");
    assert_eq!(day.told("a", "look around"), 2, "two that were held are one");
    let id = MessageId(2);
    assert!(day.fleet.newest_message > id);
}

#[test]
fn an_agent_probed_before_its_time_whose_limit_still_holds_waits_for_its_own_end() {
    let mut day = Day::new(&[("a1", "one"), ("a2", "one")]);
    day.works("a1", 4_000);
    day.works("a2", 4_000);
    day.until("09:10");
    let banner = "You've hit your 5-hour limit · resets 3pm (Europe/Berlin)";
    day.limited("a1", banner);
    day.limited("a2", banner);
    day.until("10:00");
    // A person lifted the limit of one of them only.
    day.works("a1", 6 * 3_600);
    day.pass(20);
    assert_eq!(day.told("a2", PROBE), 1, "its account works");
    day.until("14:50");
    assert!(day.fleet.units[&name("a2")].is_limited());
    assert_eq!(day.told("a2", PROBE), 1);
    day.until("15:02");
    assert_eq!(day.told("a2", PROBE), 2);
}
