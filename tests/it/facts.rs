//! A deploy that is permitted by what verified sources say: tested, cheap, in hours; and by nothing else.

use serde_json::Value;

use crate::support::fleet::Fleet;

const PROJECT: &str = r#"
[governance]
hook_wait = "0s"
classes = "classes.toml"

[governance.source.tests]
command = "cat tests.json"
every = "1s"
valid = "3s"

[governance.source.cost]
command = "cat cost.json"
every = "1s"
valid = "1h"

[[agent]]
name = "one"
kind = "persistent"
prompt = "count to three"
governed = true
trust = "L2"

[[service]]
name = "beside"
command = "sleep 600"
"#;
/// Deploys of this project reach no other one.
const CLASSES: &str = "[[type]]\nnames = [\"deploy.run\"]\nclass = \"act\"\nrisk = 65\n";

struct Place {
    fleet: Fleet,
}

impl Place {
    /// The shipped policy for deploys, with hours around the present one.
    fn new() -> Self {
        let fleet = Fleet::new(PROJECT);
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/policies/deploys.yaml");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let (policies, _) = shipped.split_once("\ntests:").unwrap();
        let always = policies
            .replace(
                "days: [mon-fri], from: \"09:00\", to: \"17:00\"",
                "from: \"00:00\", to: \"24:00\"",
            )
            .replace("holidays:", "# ");
        assert_ne!(always, policies);
        std::fs::create_dir(fleet.path("policies")).unwrap();
        fleet.write("policies/deploys.yaml", always);
        fleet.write("classes.toml", CLASSES);
        fleet.write("cost.json", "{\"context.cost_delta\": 3.5}");
        Self { fleet }
    }

    fn says(&self, coverage: &str) {
        self.fleet.write("tests.json", format!("{{\"context.test_coverage\": {coverage}}}"));
    }

    /// Of one source, as `ao policy facts` has it.
    fn fact(&self, source: &str) -> Value {
        let shown = self.fleet.ao(&["policy", "facts", "--json"]).out;
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        let sources = shown["sources"].as_array().cloned().unwrap_or_default();
        sources.into_iter().find(|row| row["source"] == source).unwrap_or_default()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        self.fleet.until(what, |_| holds(&self.fact("tests")).then_some(()));
    }

    fn deploy(&self) -> crate::support::fleet::Said {
        let act = ["run", "--agent", "one", "--action", "deploy.run", "--resource", "staging"];
        self.fleet.ao(&[&act[..], &["--", "true"]].concat())
    }
}

#[test]
fn a_tested_and_cheap_deploy_goes_through_and_an_untested_one_does_not() {
    let place = Place::new();
    place.says("84.5");
    place.fleet.ao(&["up"]);
    place.until("both sources spoke", |told| {
        told["fresh"] == true && place.fact("cost")["fresh"] == true
    });
    let explained =
        place.fleet.well(&["policy", "explain", "deploy.run", "--resource", "staging"]).out;
    for conjunct in ["schedule ✓", "test_coverage > 80: 84.5 ✓", "cost_delta < 5: $3.5 ✓"] {
        assert!(explained.contains(conjunct), "{conjunct}: {explained}");
    }
    let done = place.deploy();
    assert_eq!(done.code, 0, "{done:?}");

    place.says("79");
    place.until("the coverage fell", |told| told["facts"]["context.test_coverage"] == 79);
    let held = place.deploy();
    assert!(held.code == 4 && held.err.contains("ao approve"), "{held:?}");
}

#[test]
fn what_a_source_said_too_long_ago_is_not_known_and_denies() {
    let place = Place::new();
    place.says("84.5");
    place.fleet.ao(&["up"]);
    place.until("it spoke", |told| told["fresh"] == true);
    place.fleet.write("tests.json", "no figures today");
    place.until("it is too old", |told| told["fresh"] == false);
    let problem = place.fact("tests")["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("no JSON object"), "{problem}");
    let denied = place.deploy();
    assert!(denied.code == 4 && denied.err.contains("could not be judged"), "{denied:?}");
    let log = place.fleet.well(&["audit", "tail", "--json"]).out;
    assert!(log.contains("context.test_coverage"), "{log}");
    // It speaks again, and what it says counts again.
    place.says("90");
    place.until("it speaks again", |told| told["facts"]["context.test_coverage"] == 90);
    assert_eq!(place.deploy().code, 0);
}

#[test]
fn what_was_known_at_the_time_is_what_replay_judges_by() {
    let place = Place::new();
    place.says("84.5");
    place.fleet.ao(&["up"]);
    place.until("both sources spoke", |told| {
        told["fresh"] == true && place.fact("cost")["fresh"] == true
    });
    assert_eq!(place.deploy().code, 0);
    place.says("99");
    place.until("the coverage rose", |told| told["facts"]["context.test_coverage"] == 99);
    let stricter = |name: &str, condition: &str| {
        let rule = format!(
            "policies: [{{ name: strict, scope: {{ actions: [deploy.run] }}, effect: permit, \
             when: {{ condition: '{condition}' }} }}]"
        );
        std::fs::create_dir(place.fleet.path(name)).unwrap();
        place.fleet.write(&format!("{name}/p.yaml"), rule);
        place.fleet.well(&["policy", "replay", "--since", "1h", "--against", name]).out
    };
    // By today's 99 nothing would change. The other act is the command itself.
    let changed = stricter("more", "context.test_coverage > 90");
    assert!(changed.contains("deploy.run `staging`: permit → nothing"), "{changed}");
    assert!(changed.contains("1 of 2 answers change"), "{changed}");
    // Nobody asked for it then, so nobody wrote it down.
    let untold = stricter("other", "system.ci_green");
    assert!(untold.contains("0 of 1 answers change"), "{untold}");
    assert!(
        untold.contains("1 not judged again") && untold.contains("system.ci_green (1)"),
        "{untold}"
    );
}

#[test]
fn a_rule_about_the_fleet_holds_while_the_watchdog_sees_it_and_denies_without() {
    let place = Place::new();
    let rule = "policies: [{ name: quiet, scope: { actions: [deploy.run] }, effect: permit, \
                when: { condition: 'system.agents_working == 0 && !system.limited' } }]";
    place.fleet.write("policies/deploys.yaml", rule);
    let denied = place.deploy();
    assert!(denied.code == 4 && denied.err.contains("could not be judged"), "{denied:?}");
    place.fleet.ao(&["up"]);
    place.fleet.until("the watchdog saw the fleet", |_| {
        let shown = place.fleet.ao(&["policy", "facts", "--json"]).out;
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        (shown["fleet"]["system.agents_working"] == 0).then_some(())
    });
    let done = place.deploy();
    assert_eq!(done.code, 0, "{done:?}");
    place.fleet.ao(&["down"]);
    place.fleet.until("what it saw is too old", |_| {
        let shown = place.fleet.ao(&["policy", "facts", "--json"]).out;
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        (shown["fleet"] == serde_json::json!({})).then_some(())
    });
    let denied = place.deploy();
    assert!(denied.code == 4 && denied.err.contains("could not be judged"), "{denied:?}");
    let log = place.fleet.well(&["audit", "tail", "--json"]).out;
    assert!(log.contains("system.agents_working"), "{log}");
}

#[test]
fn an_agent_does_not_write_what_its_source_reads() {
    let place = Place::new();
    place.says("84.5");
    place.fleet.ao(&["up"]);
    let path = place.fleet.path("tests.json").canonicalize().unwrap();
    let said = place.fleet.ao(&["run", "--agent", "one", "--", "touch", path.to_str().unwrap()]);
    assert!(said.code == 4 && said.err.contains("trust L2 × system"), "{said:?}");
}
