//! How long a judgement takes, by criterion: without policies, and taking a shell command apart.
//!
//! Not here: loading policies, stores and the hook's process.

use std::hint::black_box;

use ao::govern::action::{Ask, Micros};
use ao::govern::assess;
use ao::govern::bounds::Bounds;
use ao::govern::class::Class;
use ao::govern::classes::Table;
use ao::govern::declared::Declared;
use ao::govern::judge::{Policies, Snapshot, Voices, judge};
use ao::govern::kill::Kills;
use ao::govern::lineage::{DepthRule, Parent};
use ao::govern::trust::Level;
use chrono::{DateTime, Utc};
use criterion::{Criterion, criterion_group, criterion_main};

struct NoPolicies;

impl Policies for NoPolicies {
    fn voices(&self, _: &Ask, _: Class, _: Level) -> Voices {
        Voices::default()
    }

    fn digest(&self) -> &'static str {
        ""
    }
}

fn ask(action_type: &str, resource: &str) -> Ask {
    Ask {
        org: "local".into(),
        agent: "writer".into(),
        action_type: action_type.into(),
        resource: resource.into(),
        context: serde_json::Map::new(),
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    }
}

fn judgements(criterion: &mut Criterion) {
    let bounds = Bounds {
        project: Some("/home/dev/project".into()),
        protected: vec!["/home/dev/project/agents.toml".into()],
        ..Bounds::default()
    };
    let (kills, declared) = (Kills::default(), Declared::default());
    let snapshot = Snapshot {
        table: Table::shipped(),
        bounds: &bounds,
        kills: &kills,
        parent: &Parent::None,
        depth_rule: DepthRule::Declared,
        level: Level::L2,
        declared: &declared,
        policies: &NoPolicies,
        budgets: &[],
    };
    let now = DateTime::<Utc>::from_timestamp(1_790_000_000, 0).expect("a date");
    for (name, ask) in [
        ("judge: a database write", ask("database.write", "orders")),
        ("judge: a file write", ask("file.write", "/home/dev/project/src/main.rs")),
    ] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| judge(&snapshot, black_box(&ask), now));
        });
    }
    let command = ask("shell.run", "cd src && cargo test 2>&1 | tail -20 || echo \"failed: $?\"");
    criterion.bench_function("assess: a shell command", |bencher| {
        bencher.iter(|| assess::assess(snapshot.table, &bounds, black_box(&command)));
    });
}

criterion_group!(benches, judgements);
criterion_main!(benches);
