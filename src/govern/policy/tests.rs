//! Whole sets: what they say, what they refuse, and what no set can do.

use std::path::Path;

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};
use expect_test::{Expect, expect};

mod properties;

use super::explain::explain;
use super::*;
use crate::config::diagnostic;
use crate::govern::action::{Ask, Micros};
use crate::govern::attribute::{Attribute, Attributes, Source, Value};
use crate::govern::class::Class;
use crate::govern::trust::Level;
use crate::govern::verdict;

const SEED: &str = r#"
policies:
  - name: staging-deploys
    description: Deploys to staging in business hours, tested and cheap.
    scope: { actions: [deploy.run], resources: [staging] }
    when:
      schedule:
        zone: Europe/Berlin
        windows: [{ days: [mon-fri], from: "09:00", to: "17:00" }]
        holidays: [2026-12-25]
      condition: context.test_coverage > 80 && context.cost_delta < 5.0
    effect: permit
"#;

fn load(text: &str) -> Set {
    match Set::load(&[("p.yaml", text)], &Known::default()) {
        Ok(loaded) => loaded.set,
        Err(problems) => panic!("{}", rendered(text, &problems)),
    }
}

fn rendered(text: &str, problems: &[FileProblems]) -> String {
    problems
        .iter()
        .map(|file| diagnostic::render(&file.diagnostics, text, Path::new(&file.file), false))
        .collect()
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

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

const FRIDAY: &str = "2026-11-20T10:00:00Z";

fn situation<'a>(attributes: &'a Attributes, used: &'a Usage, now: &str) -> Situation<'a> {
    Situation {
        class: Class::Act,
        trust: Level::L2,
        project: "p",
        attributes,
        used,
        now: at(now),
        zone: Tz::UTC,
    }
}

fn facts(source: Source, facts: &[(&str, Value)]) -> Attributes {
    facts
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Attribute { value: value.clone(), source }))
        .collect()
}

fn said(set: &Set, ask: &Ask, attributes: &Attributes, now: &str) -> String {
    let used = Usage::default();
    let outcome = set.evaluate(ask, &situation(attributes, &used, now));
    let lines = outcome
        .said
        .iter()
        .map(|said| format!("{:?} {} {:?}: {}\n", said.step, said.rule, said.effect, said.why));
    lines.collect()
}

#[track_caller]
fn check_condition(condition: &str, attributes: &Attributes, expected: &Expect) {
    let text = format!(
        "attributes: {{ context.ratio: {{ type: number, from: agent }} }}\npolicies: [{{ name: r, effect: deny, when: {{ condition: {condition:?} }} }}]"
    );
    let got = match Set::load(&[("p.yaml", &text)], &Known::default()) {
        Ok(loaded) => said(&loaded.set, &ask("file.write", "a"), attributes, FRIDAY),
        Err(problems) => problems[0].diagnostics[0].message.clone(),
    };
    expected.assert_eq(got.trim_end());
}

#[test]
fn deploys_in_business_hours_if_tested_and_cheap() {
    let set = load(SEED);
    let good = facts(
        Source::Verified,
        &[("context.test_coverage", Value::Int(85)), ("context.cost_delta", Value::Float(4.5))],
    );
    let deploy = ask("deploy.run", "staging");
    let used = Usage::default();
    let outcome = set.evaluate(&deploy, &situation(&good, &used, FRIDAY));
    assert_eq!(outcome.permits, ["staging-deploys"]);
    let lines = |attributes, now| {
        let situation = situation(attributes, &used, now);
        explain(&set, &deploy, &situation)[0].lines().join("\n")
    };
    expect![[r"
        staging-deploys [permit]
          scope ✓
          schedule ✓
          context.test_coverage > 80: 85 ✓
          context.cost_delta < 5: $4.5 ✓
          → permit: context.test_coverage > 80: 85 ✓; context.cost_delta < 5: $4.5 ✓"]]
    .assert_eq(&lines(&good, FRIDAY));
    let dear = facts(
        Source::Verified,
        &[("context.test_coverage", Value::Int(85)), ("context.cost_delta", Value::Float(5.0))],
    );
    expect![[r"
        staging-deploys [permit]
          scope ✓
          schedule ✓
          context.test_coverage > 80: 85 ✓
          context.cost_delta < 5: $5 ✗"]]
    .assert_eq(&lines(&dear, FRIDAY));
    for (now, permitted) in [
        ("2026-11-20T07:59:59Z", false),
        ("2026-11-20T16:00:00Z", false),
        ("2026-11-21T10:00:00Z", false),
        ("2026-12-25T10:00:00Z", false),
        ("2026-12-24T10:00:00Z", true),
    ] {
        let outcome = set.evaluate(&deploy, &situation(&good, &used, now));
        assert_eq!(!outcome.permits.is_empty(), permitted, "{now}");
        assert_eq!(outcome.said.len(), usize::from(permitted), "{now}");
    }
}

#[test]
fn what_only_the_agent_says_permits_nothing_and_is_named() {
    let claimed = facts(
        Source::Agent,
        &[("context.test_coverage", Value::Int(99)), ("context.cost_delta", Value::Int(0))],
    );
    expect![[r"
        Fault staging-deploys Deny: `context.test_coverage` is known only from the agent itself; this rule takes it from a verified source
    "]]
    .assert_eq(&said(&load(SEED), &ask("deploy.run", "staging"), &claimed, FRIDAY));
}

#[test]
fn what_cannot_be_answered_denies_and_names_the_attribute() {
    let of = |value| facts(Source::Server, &[("context.ratio", value)]);
    let none = Attributes::new();
    check_condition(
        "context.ratio > 1",
        &none,
        &expect!["Fault r Deny: `context.ratio` is missing"],
    );
    check_condition(
        "context.ratio > 1",
        &of(Value::Text("2".into())),
        &expect!["Fault r Deny: `context.ratio` is not a number"],
    );
    check_condition(
        "context.ratio > 1",
        &of(Value::Float(f64::NAN)),
        &expect!["Fault r Deny: `context.ratio` is not a finite number"],
    );
    check_condition(
        "context.ratio * 2 > 1",
        &of(Value::Int(i64::MAX)),
        &expect!["Fault r Deny: `the calculation` is too large to reckon with"],
    );
    check_condition(
        "1 / context.ratio > 1",
        &of(Value::Int(0)),
        &expect!["Fault r Deny: the calculation divides by zero"],
    );
    check_condition("has(context.ratio) && context.ratio > 1", &none, &expect![""]);
    check_condition("context.ratio > 1", &of(Value::Int(1)), &expect![""]);
    check_condition(
        "context.ratio > 1 || context.ratio <= -1.5",
        &of(Value::Float(-1.5)),
        &expect![
            "Policy r Deny: context.ratio > 1 || context.ratio <= -1.5: context.ratio = -1.5, context.ratio = -1.5 ✓"
        ],
    );
}

#[test]
fn a_condition_is_checked_before_it_is_ever_asked() {
    let none = Attributes::new();
    check_condition("context.ratoi > 1", &none, &expect!["there is no attribute `context.ratoi`"]);
    check_condition(
        "context.ratio",
        &none,
        &expect!["the condition is a number, not true or false"],
    );
    check_condition(
        "context.test_coverage > context.cost_delta",
        &none,
        &expect!["a percentage beside a number of dollars"],
    );
    check_condition("context.branch == 1", &none, &expect!["a text beside a number"]);
    check_condition(
        "context.labels.exists(x, x == 'a')",
        &none,
        &expect!["there are no loops over lists here"],
    );
    check_condition(
        "matches(context.branch, 'a')",
        &none,
        &expect!["there is no function `matches`"],
    );
    check_condition("context.ratio >", &none, &expect!["unexpected end of the condition"]);
}

#[test]
fn deep_and_long_conditions_are_refused_before_they_are_parsed() {
    let none = Attributes::new();
    let deep = format!("{}true{}", "(".repeat(33), ")".repeat(33));
    check_condition(&deep, &none, &expect!["nested deeper than 32 levels"]);
    check_condition(&"!".repeat(40), &none, &expect!["nested deeper than 32 levels"]);
    check_condition(
        &format!("a{}", ".b".repeat(2_000)),
        &none,
        &expect!["more than 32 parts in a row"],
    );
    check_condition(&"1+".repeat(600), &none, &expect!["more than 32 parts in a row"]);
    let long = format!("action.resource == '{}'", "x".repeat(4_096));
    check_condition(
        &long,
        &none,
        &expect!["the condition has 4117 bytes; at most 4096 are allowed"],
    );
    let fine = format!("{}true{}", "(".repeat(30), ")".repeat(30));
    check_condition(&fine, &none, &expect!["Policy r Deny: true ✓"]);
}

#[track_caller]
fn check_errors(text: &str, expected: &Expect) {
    let known = Known {
        agents: vec!["writer".into(), "deployer".into()],
        actions: vec!["deploy.run".into(), "file.write".into()],
        projects: Vec::new(),
    };
    let problems = match Set::load(&[("p.yaml", text)], &known) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    expected.assert_eq(&rendered(text, &problems));
}

#[test]
fn errors_show_the_place() {
    check_errors(
        "policies:\n  - name: a\n    efect: deny\n",
        &expect![[r"
        error: unknown field `efect`, expected one of name, description, mode, scope, when, effect, constraints, escalation
         --> p.yaml:3:5
          |
        3 |     efect: deny
          |     ^^^^^

        1 error
    "]],
    );
    check_errors(
        "policies:\n  - name: a\n    effect: yes\n",
        &expect![[r"
        error: unknown variant `yes`, expected one of permit, notify, require_approval, deny
         --> p.yaml:3:13
          |
        3 |     effect: yes
          |             ^^^

        1 error
    "]],
    );
    check_errors(
        "policies:\n  - name: a\n    effect: deny\n    scope: { resources: ['*.{a,b}'] }\n    when:\n      condition: context.tset_coverage > 1\n  - name: a\n    effect: deny\n    when: { schedule: { zone: Mars/Base, windows: [{ days: [someday], from: \"25:00\" }] } }\n",
        &expect![[r#"
            error: `*.{a,b}` is no pattern
             --> p.yaml:4:26
              |
            4 |     scope: { resources: ['*.{a,b}'] }
              |                          ^^^^^^^^^ `{` has no meaning in a pattern: write the alternatives as separate patterns, or `\{` for the character

            error: there is no attribute `context.tset_coverage`
             --> p.yaml:6:18
              |
            6 |       condition: context.tset_coverage > 1
              |                  ^^^^^^^^^^^^^^^^^^^^^
              = hint: did you mean `context.test_coverage`?

            error: there are two policies `a`
             --> p.yaml:7:11
              |
            2 |   - name: a
              |           - first here
            ...
            7 |   - name: a
              |           ^ again

            error: there is no time zone `Mars/Base`
             --> p.yaml:9:31
              |
            9 |     when: { schedule: { zone: Mars/Base, windows: [{ days: [someday], from: "25:00" }] } }
              |                               ^^^^^^^^^ an IANA name such as Europe/Berlin

            error: `someday` is no weekday
             --> p.yaml:9:61
              |
            9 |     when: { schedule: { zone: Mars/Base, windows: [{ days: [someday], from: "25:00" }] } }
              |                                                             ^^^^^^^ such as `mon` or `mon-fri`

            error: `25:00` is no time of day
             --> p.yaml:9:77
              |
            9 |     when: { schedule: { zone: Mars/Base, windows: [{ days: [someday], from: "25:00" }] } }
              |                                                                             ^^^^^^^ such as "09:30"

            6 errors
        "#]],
    );
}

#[test]
fn a_condition_over_several_lines_is_placed_as_a_whole() {
    check_errors(
        "policies:\n  - name: a\n    effect: deny\n    when:\n      condition: >-\n        context.branch == 'main'\n        && context.brnach == 'x'\n",
        &expect![[r"
            error: there is no attribute `context.brnach`
             --> p.yaml:6:9
              |
            6 |         context.branch == 'main'
              |         ^^^^^^^^^^^^^^^^^^^^^^^^
              = hint: did you mean `context.branch`?

            1 error
        "]],
    );
}

#[test]
fn a_set_whose_own_test_fails_is_refused() {
    check_errors(
        &format!(
            "{SEED}tests:\n  - name: never on Sundays\n    agent: deployer\n    action: deploy.run\n    resource: staging\n    at: 2026-11-22T10:00:00Z\n    expect: permit\n"
        ),
        &expect![[r"
            error: the test `never on Sundays` fails
              --> p.yaml:14:11
               |
            14 |   - name: never on Sundays
               |           ^^^^^^^^^^^^^^^^ expected `permit`, got `nothing`

            1 error
        "]],
    );
}

#[test]
fn rules_that_cannot_be_meant_are_warned_about() {
    check_errors(
        r"
policies:
  - { name: all-writes, scope: { actions: ['file.*'] }, effect: deny }
  - { name: idle, scope: { actions: [file.write], agents: [writer] }, effect: notify }
  - { name: opposite, scope: { actions: ['file.*'] }, effect: permit }
  - { name: nobody, scope: { agents: [deployr], actions: ['depoly.*'] }, effect: notify }
  - { name: never, effect: notify, when: { condition: 'context.ratio > 5 && context.ratio <= 5' } }
  - { name: claimed, effect: permit, when: { condition: context.ratio > 5 } }
attributes: { context.ratio: { type: number, from: agent } }
",
        &expect![[r"
            warning: `idle` is shadowed by `all-writes`
             --> p.yaml:4:13
              |
            3 |   - { name: all-writes, scope: { actions: ['file.*'] }, effect: deny }
              |             ---------- this one
            4 |   - { name: idle, scope: { actions: [file.write], agents: [writer] }, effect: notify }
              |             ^^^^ what it says is never the strictest

            warning: `opposite` contradicts `all-writes`: the same acts
             --> p.yaml:5:13
              |
            3 |   - { name: all-writes, scope: { actions: ['file.*'] }, effect: deny }
              |             ---------- this one
            ...
            5 |   - { name: opposite, scope: { actions: ['file.*'] }, effect: permit }
              |             ^^^^^^^^ denied all the same

            warning: `nobody` names an unknown agent: `deployr`
             --> p.yaml:6:13
              |
            6 |   - { name: nobody, scope: { agents: [deployr], actions: ['depoly.*'] }, effect: notify }
              |             ^^^^^^ did you mean `deployer`?

            warning: `nobody` names an unknown action: `depoly.*`
             --> p.yaml:6:13
              |
            6 |   - { name: nobody, scope: { agents: [deployr], actions: ['depoly.*'] }, effect: notify }
              |             ^^^^^^ no known action matches it

            warning: `never` never matches
             --> p.yaml:7:13
              |
            7 |   - { name: never, effect: notify, when: { condition: 'context.ratio > 5 && context.ratio <= 5' } }
              |             ^^^^^ `context.ratio` cannot be both above and below

            warning: `claimed` permits by `context.ratio`, which agents say themselves
             --> p.yaml:8:13
              |
            8 |   - { name: claimed, effect: permit, when: { condition: context.ratio > 5 } }
              |             ^^^^^^^ only a verified value opens a permit; write `verified(…)` to show it

            6 warnings
        "]],
    );
}

#[test]
fn a_restriction_sees_through_dots_and_a_permit_does_not_open_by_them() {
    let set = load(
        "policies:\n  - { name: no, scope: { resources: ['**/.env'] }, effect: deny }\n  - { name: yes, scope: { resources: ['src/**'] }, effect: permit }\n",
    );
    let none = Attributes::new();
    let of = |resource| said(&set, &ask("file.write", resource), &none, FRIDAY);
    expect!["Policy no Deny: applies\n"].assert_eq(&of("docs/../.env"));
    expect![""].assert_eq(&of("src/../etc/passwd"));
    expect!["Policy yes Allow: applies\n"].assert_eq(&of("src/a/../b.rs"));
}

const BOUNDED: &str = r"
policies:
  - name: bounded
    effect: permit
    constraints:
      rate: { count: 3, per: 1h, by: agent }
      cost: { day: $1 }
      resources: ['src/**']
    escalation: { over: require_approval, approvers: [ops], timeout: 30m, downgrade_to: L1 }
  - name: trial
    mode: shadow
    effect: deny
";

#[test]
fn past_its_bounds_a_permit_is_withheld_and_escalates() {
    let set = load(BOUNDED);
    let none = Attributes::new();
    let judge = |resource: &str, cost, used: Used| {
        let used = Usage::from_iter([("bounded".to_owned(), used)]);
        let ask = Ask { cost: Micros(cost), ..ask("file.write", resource) };
        let outcome = set.evaluate(&ask, &situation(&none, &used, FRIDAY));
        let downgrade = outcome.downgrade.map(|fall| (fall.to, fall.until));
        let why: Vec<_> =
            outcome.said.iter().filter(|said| !said.shadow).map(|said| said.why.clone()).collect();
        (outcome.effect(), outcome.permits.len(), outcome.needs.len(), downgrade, why.join("; "))
    };
    let (effect, permits, needs, ..) = judge("src/a", 1, Used { rate: 2, ..Used::default() });
    assert_eq!((effect, permits, needs), (Some(verdict::Effect::Allow), 1, 2));
    let (effect, permits, _, downgrade, why) =
        judge("src/a", 0, Used { rate: 3, ..Used::default() });
    assert_eq!((effect, permits), (Some(verdict::Effect::RequireApproval), 0));
    assert_eq!(downgrade, Some((Level::L1, None)));
    assert_eq!(why, "3 of 3 within 1 h are used");
    let (effect, _, _, downgrade, why) =
        judge("src/a", 200_000, Used { cost: 900_000, ..Used::default() });
    assert_eq!(effect, Some(verdict::Effect::RequireApproval));
    assert_eq!(downgrade, Some((Level::L1, Some(at("2026-11-21T00:00:00Z")))));
    assert_eq!(why, "$0.9 of $1 are spent until 2026-11-21 00:00 UTC; this costs $0.2");
    let (.., why) = judge("docs/a", 0, Used { cost: 2_000_000, ..Used::default() });
    assert_eq!(why, "`docs/a` lies outside the bounds of this rule");
    let (effect, .., why) = judge("src/a", -1, Used::default());
    assert_eq!(effect, Some(verdict::Effect::Deny));
    assert_eq!(why, "the cost of the act is below 0");
}

#[test]
fn a_store_that_does_not_know_denies() {
    struct Silent;
    impl RateView for Silent {
        fn used(&self, _need: &Need<'_>) -> Option<i64> {
            None
        }
    }
    let (none, set, ask) = (Attributes::new(), load(BOUNDED), ask("file.write", "src/a"));
    let usage = Usage::default();
    let situation = Situation { used: &Silent, ..situation(&none, &usage, FRIDAY) };
    assert_eq!(set.evaluate(&ask, &situation).effect(), Some(verdict::Effect::Deny));
}

#[test]
fn a_closed_set_denies_all_but_looking() {
    let set = Set::closed("policies/p.yaml: 1 error");
    let (none, used, ask) = (Attributes::new(), Usage::default(), ask("file.read", "a"));
    let effect = |class| {
        set.evaluate(&ask, &Situation { class, ..situation(&none, &used, FRIDAY) }).effect()
    };
    assert_eq!(effect(Class::Observe), None);
    for class in [Class::Propose, Class::Act, Class::Across, Class::System] {
        assert_eq!(effect(class), Some(verdict::Effect::Deny));
    }
}

#[test]
fn a_stored_set_comes_back_and_a_torn_one_does_not() {
    let set = load(&format!("{SEED}{}", BOUNDED.replace("\npolicies:\n", "")));
    let bytes = set.encode();
    assert_eq!(Set::decode(&bytes).unwrap(), set);
    for length in [0, 5, 60, bytes.len() - 1] {
        Set::decode(&bytes[..length]).unwrap_err();
    }
    for place in (0..bytes.len()).step_by(7) {
        let mut torn = bytes.clone();
        torn[place] ^= 1;
        Set::decode(&torn).unwrap_err();
    }
}

/// The examples that ship; their own tests run as they load.
#[test]
fn the_shipped_policies_load_without_a_warning_and_pass_their_tests() {
    let files = [
        ("protect.yaml", include_str!("../../../policies/protect.yaml")),
        ("deploys.yaml", include_str!("../../../policies/deploys.yaml")),
        ("spending.yaml", include_str!("../../../policies/spending.yaml")),
    ];
    for (name, text) in files {
        load(text);
        assert!(text.contains("\ntests:\n"), "{name}");
    }
    match Set::load(&files, &Known::default()) {
        Ok(loaded) => {
            assert_eq!(loaded.warnings, []);
            assert!(loaded.cases.len() > 20);
        }
        Err(problems) => panic!("{problems:#?}"),
    }
}

#[test]
fn the_page_about_policies_lists_every_attribute() {
    let page = include_str!("../../../docs/policies.md");
    for (name, _, from, _, meaning) in schema::BUILT_IN {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/policies.md lacks `{name}`"));
        let from = format!("{from:?}").to_lowercase();
        assert!(row.contains(&format!("| {from} | {meaning} |")), "{row}");
    }
}
