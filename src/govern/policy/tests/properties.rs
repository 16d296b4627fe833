//! What no set can do, whatever its rules.

use proptest::prelude::*;

use super::*;

fn rule_text() -> impl Strategy<Value = String> {
    let pick = |words: &'static [&'static str]| prop::sample::select(words);
    (
        pick(&["permit", "notify", "require_approval", "deny"]),
        pick(&["['file.*']", "[file.write]", "['**']", "[deploy.run]", "['*.write', file.read]"]),
        pick(&["[]", "[writer]", "['w*']", "[other]"]),
        pick(&["true", "context.branch == 'main'", "context.lines_changed > 5", "has(context.branch)"]),
        pick(&["enforce", "enforce", "shadow"]),
        pick(&["", ", constraints: { rate: { count: 1, per: 1h } }"]),
    )
        .prop_map(|(effect, actions, agents, condition, mode, bound)| {
            let bound = if effect == "deny" { "" } else { bound };
            format!(
                "effect: {effect}, scope: {{ actions: {actions}, agents: {agents} }}, mode: {mode}, when: {{ condition: \"{condition}\" }}{bound}"
            )
        })
}

fn world() -> impl Strategy<Value = (Ask, Attributes, Usage)> {
    let facts = (
        prop::option::of(prop::sample::select(vec!["main", "x"])),
        prop::option::of(0..10_i64),
        prop::sample::select(vec![Source::Agent, Source::Verified, Source::Server]),
    );
    (prop::sample::select(vec!["file.write", "file.read", "deploy.run"]), facts, 0..2_i64).prop_map(
        |(action, (branch, lines, source), rate)| {
            let mut attributes = Attributes::new();
            if let Some(branch) = branch {
                let value = Value::Text(branch.into());
                attributes.insert("context.branch".into(), Attribute { value, source });
            }
            if let Some(lines) = lines {
                let value = Value::Int(lines);
                attributes.insert("context.lines_changed".into(), Attribute { value, source });
            }
            let used =
                (0..6).map(|n| (format!("r{n}"), Used { rate, ..Used::default() })).collect();
            (ask(action, "a"), attributes, used)
        },
    )
}

fn files(rules: &[String]) -> Vec<(String, String)> {
    let file = |(n, rule)| (format!("{n}.yaml"), format!("policies: [{{ name: r{n}, {rule} }}]"));
    rules.iter().enumerate().map(file).collect()
}

fn set_of(files: &[(String, String)]) -> Set {
    let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    Set::load(&files, &Known::default()).unwrap_or_else(|found| panic!("{found:?}")).set
}

/// How much is allowed: an enforced denial, a hold, a notice, nothing said, and whether a permit opens more.
fn openness(outcome: &Outcome<'_>) -> (std::cmp::Reverse<verdict::Effect>, bool) {
    let effect = outcome.effect().unwrap_or(verdict::Effect::Allow);
    (std::cmp::Reverse(effect), !outcome.permits.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_order_of_files_never_matters(
        rules in prop::collection::vec(rule_text(), 1..5), (ask, attributes, used) in world(), turn in 0..5_usize
    ) {
        let mut files = files(&rules);
        let one = set_of(&files);
        files.rotate_left(turn % rules.len());
        files.reverse();
        let two = set_of(&files);
        prop_assert_eq!(&one, &two);
        let situation = situation(&attributes, &used, FRIDAY);
        prop_assert_eq!(one.evaluate(&ask, &situation), two.evaluate(&ask, &situation));
    }

    #[test]
    fn a_further_restriction_never_allows_more(
        rules in prop::collection::vec(rule_text(), 0..4), more in rule_text(), (ask, attributes, used) in world()
    ) {
        let fewer = set_of(&files(&rules));
        let mut with = rules.clone();
        with.push(more.replacen("effect: permit", "effect: deny", 1).replace(", constraints: { rate: { count: 1, per: 1h } }", ""));
        let all = set_of(&files(&with));
        let situation = situation(&attributes, &used, FRIDAY);
        let (before, after) = (fewer.evaluate(&ask, &situation), all.evaluate(&ask, &situation));
        prop_assert!(openness(&after) <= openness(&before), "{:?}\n{:?}", before, after);
        for said in &before.said {
            prop_assert!(after.said.contains(said));
        }
    }

    #[test]
    fn the_index_loses_no_rule(
        rules in prop::collection::vec(rule_text(), 1..6), (ask, attributes, used) in world()
    ) {
        let set = set_of(&files(&rules));
        let situation = situation(&attributes, &used, FRIDAY);
        let asked = set.index.candidates(&ask);
        for (number, explained) in explain(&set, &ask, &situation).iter().enumerate() {
            prop_assert!(!explained.scope || asked.contains(&u32::try_from(number).unwrap()));
        }
    }

    #[test]
    fn a_claim_never_opens_what_was_closed_without_it(
        rules in prop::collection::vec(rule_text(), 1..5), (ask, attributes, used) in world()
    ) {
        let set = set_of(&files(&rules));
        let claimed: Attributes = attributes
            .into_iter()
            .map(|(name, fact)| (name, Attribute { source: Source::Agent, ..fact }))
            .collect();
        let none = Attributes::new();
        let without = set.evaluate(&ask, &situation(&none, &used, FRIDAY));
        let with = set.evaluate(&ask, &situation(&claimed, &used, FRIDAY));
        for permit in &with.permits {
            prop_assert!(without.permits.contains(permit));
        }
    }

    #[test]
    fn no_text_makes_the_loader_panic(condition in "[a-c0-9 .()!<>=&|'?:+-]{0,60}") {
        let schema = schema::Schema::default();
        drop(expression::compile::compile(&condition, &schema, false));
    }
}
