//! Every combination of the small spaces, and the laws that hold over all of them.

use proptest::prelude::*;

use super::*;
use crate::base::zone::Tz;
use crate::govern::budget::Window;
use crate::govern::kill::{Kill, Target};

/// Policies that say the same of everything.
#[derive(Debug, Clone, Default)]
struct Fixed(Voices);

impl Policies for Fixed {
    fn voices(&self, _: &Ask, _: Class, _: Level) -> Voices {
        self.0.clone()
    }

    fn digest(&self) -> &'static str {
        "d1"
    }
}

struct World {
    bounds: Bounds,
    kills: Kills,
    parent: Parent,
    declared: Declared,
    policies: Fixed,
    budgets: Vec<(Budget, Account)>,
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn world(policies: Voices) -> World {
    World {
        bounds: crate::govern::bounds::sample(),
        kills: Kills::default(),
        parent: Parent::None,
        declared: Declared::default(),
        policies: Fixed(policies),
        budgets: Vec::new(),
    }
}

fn judged(world: &World, level: Level, ask: &Ask) -> Verdict {
    let snapshot = Snapshot {
        table: Table::shipped(),
        bounds: &world.bounds,
        kills: &world.kills,
        parent: &world.parent,
        depth_rule: DepthRule::Declared,
        level,
        declared: &world.declared,
        policies: &world.policies,
        budgets: &world.budgets,
    };
    judge(&snapshot, ask, now())
}

fn ask(action_type: &str) -> Ask {
    Ask {
        org: "local".into(),
        agent: "writer".into(),
        action_type: action_type.into(),
        resource: "thing".into(),
        context: serde_json::Map::new(),
        cost: Micros(0),
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    }
}

/// A type of each class, in their order.
const TYPES: [(&str, Class); 5] = [
    ("git.read", Class::Observe),
    ("plan.write", Class::Propose),
    ("test.run", Class::Act),
    ("deploy.run", Class::Across),
    ("trust.change", Class::System),
];

fn rule(effect: Effect) -> Voices {
    let permits = matches!(effect, Effect::Allow | Effect::AllowNotify);
    Voices {
        said: vec![said(Step::Policy, "rule", effect, String::new())],
        permits,
        downgrade: None,
    }
}

#[test]
fn every_level_class_and_policy_gives_the_stricter_of_trust_and_policy() {
    for level in Level::ALL {
        for (action_type, class) in TYPES {
            for (voices, policy) in [
                (Voices::default(), Effect::Allow),
                (rule(Effect::Allow), Effect::Allow),
                (rule(Effect::AllowNotify), Effect::AllowNotify),
                (rule(Effect::RequireApproval), Effect::RequireApproval),
                (rule(Effect::Deny), Effect::Deny),
            ] {
                let expected = trust::gate(level, class, voices.permits).max(policy);
                let verdict = judged(&world(voices), level, &ask(action_type));
                assert_eq!(verdict.effect, expected, "{level:?} {class:?} {policy:?}");
                assert_eq!(verdict.policy_digest, "d1");
                assert!(!verdict.reason.is_empty());
            }
        }
    }
}

#[test]
fn the_kill_switch_and_lineage_come_before_everything() {
    let mut killed = world(rule(Effect::Allow));
    let kill = Kill { why: "leak".into(), by: "ann".into(), at: now() };
    killed.kills = killed.kills.killed(&Target::All, &kill);
    let verdict = judged(&killed, Level::L4, &ask("git.read"));
    assert_eq!((verdict.effect, verdict.trace.len()), (Effect::Deny, 1));
    assert!(!verdict.reason.contains("leak"), "the operator's words stay with the operator");
    let mut orphan = ask("git.read");
    orphan.parent_action_id = Some(7);
    let mut absent = world(Voices::default());
    absent.parent = Parent::Absent;
    let verdict = judged(&absent, Level::L4, &orphan);
    assert_eq!(verdict.reason, "parent action not found in this organization");
}

#[test]
fn a_child_has_no_more_trust_than_those_above_it() {
    let mut child = ask("test.run");
    child.parent_action_id = Some(7);
    child.depth = 1;
    let mut below = world(Voices::default());
    below.parent = Parent::Found { session_id: None, depth: 0, trust: Level::L0 };
    assert_eq!(judged(&below, Level::L4, &child).effect, Effect::Deny);
    below.parent = Parent::Found { session_id: None, depth: 0, trust: Level::L4 };
    assert_eq!(judged(&below, Level::L4, &child).effect, Effect::Allow);
}

#[test]
fn claims_tighten_and_never_loosen() {
    let mut wary = ask("git.read");
    wary.context.insert("require_human_approval".into(), true.into());
    assert_eq!(judged(&world(Voices::default()), Level::L4, &wary).effect, Effect::RequireApproval);
    wary.context.insert("require_human_approval".into(), "yes".into());
    assert_eq!(judged(&world(Voices::default()), Level::L4, &wary).effect, Effect::RequireApproval);
    let mut bold = ask("deploy.run");
    bold.context.insert("require_human_approval".into(), false.into());
    bold.context.insert("trust".into(), "L4".into());
    bold.claimed_risk = Some(0.0);
    assert_eq!(judged(&world(Voices::default()), Level::L1, &bold).effect, Effect::RequireApproval);
    assert_eq!(judged(&world(Voices::default()), Level::L1, &bold).risk, 65);
}

#[test]
fn every_part_of_a_command_is_judged() {
    let mut declared = world(Voices::default());
    declared.declared.capabilities =
        Some(vec!["test.*".into(), "git.*".into(), "tool.read".into()]);
    let run = |command: &str| {
        let mut ask = ask("shell.run");
        ask.resource = command.into();
        judged(&declared, Level::L3, &ask)
    };
    assert_eq!(run("cargo test && git status").effect, Effect::Allow);
    let verdict = run("cargo test; rm -rf target");
    assert_eq!(verdict.effect, Effect::Deny);
    assert!(verdict.reason.contains("capabilities"), "{}", verdict.reason);
}

#[test]
fn a_budget_near_its_limit_lowers_trust_and_at_its_limit_denies_what_costs() {
    let budget = Budget {
        name: "day".into(),
        limit: Micros(100),
        window: Window::Day,
        zone: Tz::UTC,
        warn_at: 80,
        downgrade_at: 90,
        downgrade_to: None,
    };
    let verdict = |spent: i64, cost: i64| {
        let account = Account { spent: Micros(spent), ..Account::new(&budget, now()) };
        let mut world = world(Voices::default());
        world.budgets = vec![(budget.clone(), account)];
        judged(&world, Level::L3, &Ask { cost: Micros(cost), ..ask("test.run") })
    };
    assert_eq!(verdict(0, 10).effect, Effect::Allow);
    assert_eq!(verdict(80, 10).effect, Effect::AllowNotify);
    assert_eq!(verdict(90, 5).effect, Effect::RequireApproval);
    assert_eq!(verdict(100, 0).effect, Effect::RequireApproval);
    assert_eq!(verdict(100, 1).effect, Effect::Deny);
    assert_eq!(verdict(0, -1).effect, Effect::Deny);
}

#[test]
fn a_shadowed_rule_is_traced_and_not_obeyed() {
    let mut voices = rule(Effect::Deny);
    voices.said[0].shadow = true;
    let verdict = judged(&world(voices), Level::L3, &ask("test.run"));
    assert_eq!(verdict.effect, Effect::Allow);
    assert!(verdict.trace.iter().any(|said| said.shadow));
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        Just(Effect::Allow),
        Just(Effect::AllowNotify),
        Just(Effect::RequireApproval),
        Just(Effect::Deny)
    ]
}

fn voices() -> impl Strategy<Value = Voices> {
    let one = (effect(), any::<bool>(), 0_u8..9).prop_map(|(effect, shadow, name)| Said {
        step: Step::Policy,
        rule: name.to_string(),
        effect,
        why: String::new(),
        shadow,
    });
    let level = proptest::option::of((0_usize..5).prop_map(|at| Level::ALL[at]));
    (proptest::collection::vec(one, 0..6), any::<bool>(), level)
        .prop_map(|(said, permits, downgrade)| Voices { said, permits, downgrade })
}

proptest! {
    #[test]
    fn no_rules_lift_what_trust_forbids(voices in voices(), level in 0_usize..5, at in 0_usize..5) {
        let (action_type, class) = TYPES[at];
        let verdict = judged(&world(voices), Level::ALL[level], &ask(action_type));
        prop_assert!(verdict.effect >= trust::gate(Level::ALL[level], class, true));
    }

    #[test]
    fn one_more_voice_never_allows_more(voices in voices(), more in effect(), level in 0_usize..5, at in 0_usize..5) {
        let ask = ask(TYPES[at].0);
        let before = judged(&world(voices.clone()), Level::ALL[level], &ask);
        let mut added = voices;
        added.said.push(said(Step::Policy, "more", more, String::new()));
        let after = judged(&world(added), Level::ALL[level], &ask);
        prop_assert!(after.effect >= before.effect);
        if more == Effect::Deny {
            prop_assert_eq!(after.effect, Effect::Deny);
        }
    }

    #[test]
    fn the_order_of_voices_never_matters(voices in voices(), level in 0_usize..5, at in 0_usize..5) {
        let ask = ask(TYPES[at].0);
        let mut turned = voices.clone();
        turned.said.reverse();
        prop_assert_eq!(
            judged(&world(voices), Level::ALL[level], &ask),
            judged(&world(turned), Level::ALL[level], &ask)
        );
    }
}
