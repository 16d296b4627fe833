//! The pure paths that a look at a fleet runs through, by criterion.
//!
//! Not here: anything that touches tmux or the disk (`fleet.rs`).

use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::Path;

use ao::backend::detect_preset;
use ao::base::name::PaneId;
use ao::base::now::{Mono, Now};
use ao::base::zone::Tz;
use ao::config;
use ao::govern::action::{Ask, Micros};
use ao::govern::attribute::{Attribute, Attributes, Source, Value};
use ao::govern::class::Class;
use ao::govern::policy::{Known, Set, Situation, Usage};
use ao::govern::trust::Level;
use ao::limits;
use ao::run::units;
use ao::screen::capture::Screen;
use ao::screen::corpus;
use ao::screen::detect::{Detector, PaneHints};
use ao::supervise::decide::decide;
use ao::supervise::event::{Event, Seen, Sighting};
use ao::supervise::state::{Fleet, Life, ServerId};
use ao::transcript::render::Renderer;
use ao::transcript::usage::Ledger;
use ao::transcript::{self, Format, Reader};
use chrono::{DateTime, Utc};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const EXAMPLE: &str = include_str!("../agents.example.toml");
const SERVER: ServerId = ServerId { pid: 1, started: 1 };

fn berlin() -> Tz {
    "Europe/Berlin".parse().expect("the name of a zone")
}

fn now() -> Now {
    Now {
        wall: DateTime::<Utc>::from_timestamp(1_790_000_000, 0).expect("a date"),
        mono: Mono(1_000_000),
    }
}

fn screens(criterion: &mut Criterion) {
    let pane = corpus::panes()
        .into_iter()
        .filter(|pane| pane.backend == "claude")
        .max_by_key(|pane| pane.text.len())
        .expect("there are recorded panes");
    let preset = detect_preset::by_name("claude").expect("a preset");
    let detector = Detector::new("claude", &preset.detect, Some(&preset.layout), preset.live_lines)
        .expect("it ships");
    criterion.bench_function("screen: parse a recorded pane", |bencher| {
        bencher.iter(|| Screen::parse(black_box(pane.text)));
    });
    let screen = Screen::parse(pane.text);
    criterion.bench_function("screen: read a parsed pane", |bencher| {
        bencher.iter(|| detector.read(black_box(&screen), &PaneHints::default()));
    });
}

fn parsed(text: &str) -> config::Config {
    let file = Path::new("/fleet/agents.toml");
    let (config, problems) = config::parse(text, file, &|_| true, &|_| Some(String::new()));
    config.unwrap_or_else(|| panic!("{problems:?}"))
}

/// A fleet of which every unit runs, and the look that says so again.
fn fleet(count: usize) -> (Fleet, Event) {
    let mut text = String::from(
        "[defaults]\nsession_prefix = \"b-\"\nlog_dir = \"log\"\nbackend = \"demo\"\n",
    );
    for index in 0..count {
        text += &["[[agent]]\nname = \"a", &index.to_string(), "\"\nprompt = \"hello\"\n"].concat();
    }
    let config = parsed(&text);
    let specs = units::specs(&config);
    let wanted: BTreeSet<_> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut fleet = Fleet::default();
    let settings = units::settings(&config);
    decide(&mut fleet, &Event::Configured { units: specs, wanted, settings }, now());
    let mut panes = Vec::new();
    for (index, (name, unit)) in fleet.units.iter_mut().enumerate() {
        let pane = PaneId::new(format!("%{index}"));
        let pid = u32::try_from(index).expect("few") + 10;
        let since = now();
        unit.life =
            Life::Running { pane: pane.clone(), pid, since: since.mono, since_wall: since.wall };
        panes.push(Sighting {
            unit: name.clone(),
            seen: Seen::Alive { pane, pid, programs: None, cpu_ms: None, silent_ms: None },
        });
    }
    (fleet, Event::Looked { server: SERVER, panes })
}

fn decisions(criterion: &mut Criterion) {
    for count in [100, 1_000] {
        let (fleet, look) = fleet(count);
        criterion.bench_function(&format!("decide: a look at {count} units"), |bencher| {
            bencher.iter_batched_ref(
                || fleet.clone(),
                |fleet| decide(fleet, black_box(&look), now()),
                BatchSize::LargeInput,
            );
        });
    }
}

fn banners(criterion: &mut Criterion) {
    let text = "You've hit your session limit · resets 3:45pm (Europe/Berlin)";
    let at = now().wall;
    criterion.bench_function("limits: read a banner", |bencher| {
        let berlin = berlin();
        bencher.iter(|| limits::read(black_box(text), at, berlin));
    });
}

fn configs(criterion: &mut Criterion) {
    criterion.bench_function("config: parse the example", |bencher| {
        bencher.iter(|| parsed(black_box(EXAMPLE)));
    });
}

/// Recorded sessions; their long texts were cut, so there is more structure a byte than in real ones.
const SESSIONS: [(&str, &str); 2] = [
    (
        "claude",
        include_str!(
            "../tests/corpus/transcripts/claude-code/11111111-2222-4333-8444-555555555555.jsonl"
        ),
    ),
    ("codex", include_str!("../tests/corpus/transcripts/codex/rollout-exec-tool-call.jsonl")),
];
fn transcripts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transcript");
    for (name, text) in SESSIONS {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let format = Format::detect(text).expect("it is a session");
        group.bench_function(format!("render {name}"), |bencher| {
            let mut out = String::new();
            bencher.iter(|| {
                out.clear();
                let mut renderer = Renderer::new("agent", berlin(), false);
                Reader::new(format).whole(black_box(text), &mut |event| {
                    if let transcript::Event::Entry(entry) = event {
                        renderer.line(&entry, &mut out);
                    }
                });
                out.len()
            });
        });
        group.bench_function(format!("sum {name}"), |bencher| {
            bencher.iter(|| {
                let mut ledger = Ledger::default();
                Reader::new(format).whole(black_box(text), &mut |event| {
                    ledger.take("session", &event, now().wall, berlin());
                });
                ledger
            });
        });
    }
    group.finish();
}

/// 1,000 rules with a condition each, of which 10 are about the act.
fn policies(criterion: &mut Criterion) {
    let rules = (0..1_000).map(|index| {
        let action =
            if index % 100 == 0 { "deploy.run".to_owned() } else { format!("x{index}.do") };
        format!(
            "  - {{ name: r{index}, scope: {{ actions: [{action}], agents: ['dep*'] }}, effect: permit, when: {{ condition: context.test_coverage > 80 && context.cost_delta < 5.0 }} }}\n"
        )
    });
    let text = format!("policies:\n{}", rules.collect::<String>());
    let files = [("p.yaml", text.as_str())];
    let set = Set::load(&files, &Known::default()).expect("it is good").set;
    let ask = Ask {
        org: "local".into(),
        agent: "deployer".into(),
        action_type: "deploy.run".into(),
        resource: "staging".into(),
        context: serde_json::Map::new(),
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    let fact = |value| Attribute { value, source: Source::Verified };
    let usage = Usage::default();
    for (name, coverage) in [("all 10 hold", 85), ("none of 10 holds", 75)] {
        let attributes = Attributes::from([
            ("context.test_coverage".to_owned(), fact(Value::Int(coverage))),
            ("context.cost_delta".to_owned(), fact(Value::Float(4.5))),
        ]);
        let situation = Situation {
            class: Class::Across,
            trust: Level::L2,
            project: "p",
            attributes: &attributes,
            used: &usage,
            now: now().wall,
            zone: Tz::UTC,
        };
        criterion.bench_function(&format!("policy: 1,000 rules, 10 match, {name}"), |bencher| {
            bencher.iter(|| set.evaluate(black_box(&ask), &situation));
        });
    }
    let bytes = set.encode();
    criterion.bench_function("policy: decode 1,000 stored rules", |bencher| {
        bencher.iter(|| Set::decode(black_box(&bytes)));
    });
    criterion.bench_function("policy: digest of 1,000 rules' text", |bencher| {
        bencher.iter(|| ao::govern::policy::digest(black_box(&files)));
    });
}

criterion_group!(benches, screens, decisions, banners, configs, transcripts, policies);
criterion_main!(benches);
