//! What bounds agents counts when a person accepted it, and not when it is written.

use crate::support::fleet::Fleet;

const GOVERNED: &str = "[governance]\nhook_wait = \"0s\"\n\n[[agent]]\nname = \"one\"\nkind = \"persistent\"\n\
                        prompt = \"count to three\"\ngoverned = true\ntrust = \"L1\"\n";
const DENY: &str = "policies: [{ name: no-runs, effect: deny, scope: { actions: [file.write] } }]";

/// A project that a person started once; its governed agent has a CLI that cannot be asked and stays down.
fn started(more: &str) -> Fleet {
    let fleet = Fleet::new(&format!("{GOVERNED}{more}"));
    std::fs::create_dir(fleet.path("policies")).unwrap();
    fleet
}

#[track_caller]
fn touch(fleet: &Fleet, says: &str) {
    let made = fleet.path("made");
    let said = fleet.ao(&["run", "--agent", "one", "--", "touch", made.to_str().unwrap()]);
    assert!(said.code == 4 && said.err.contains(says), "expected `{says}`: {said:?}");
}

#[test]
fn a_wider_bound_counts_from_the_moment_a_person_accepts_it() {
    let fleet = started("capabilities = [\"file.read\"]\n");
    fleet.ao(&["up"]);
    touch(&fleet, "capabilities");
    fleet.configure(GOVERNED);
    touch(&fleet, "capabilities");
    let shown = fleet.well(&["config", "show"]).out;
    assert!(shown.contains("- agent.one.capabilities = [\"file.read\"]"), "{shown}");
    assert!(fleet.ao(&["check"]).err.contains("nobody accepted"));
    let doctor = fleet.ao(&["doctor"]).out;
    assert!(doctor.contains("1 change of bounds or policies, not accepted"), "{doctor}");
    let other = fleet.ao(&["config", "accept", "0123"]);
    assert_eq!(other.code, 4, "{other:?}");
    fleet.well(&["config", "accept"]);
    touch(&fleet, "ao approve 1");
    let log = fleet.well(&["audit", "tail", "--json"]).out;
    assert_eq!(log.matches("config.accepted").count(), 2, "{log}");
    fleet.well(&["audit", "verify"]);
}

#[test]
fn a_policy_that_is_edited_or_removed_stays_in_force_until_then() {
    let fleet = started("");
    fleet.write("policies/p.yaml", DENY);
    fleet.ao(&["up"]);
    touch(&fleet, "no-runs");
    fleet.write("policies/p.yaml", "policies: []");
    touch(&fleet, "no-runs");
    std::fs::remove_dir_all(fleet.path("policies")).unwrap();
    touch(&fleet, "no-runs");
    // Nor does it help to take away what was made of them.
    std::fs::remove_dir_all(fleet.path(".ao-state/state/policies")).unwrap();
    touch(&fleet, "no-runs");
    let shown = fleet.well(&["config", "show", "--json"]).out;
    assert!(shown.contains("- policy file p.yaml"), "{shown}");
    fleet.well(&["config", "accept"]);
    touch(&fleet, "ao approve 1");
}

#[test]
fn agents_and_services_that_nobody_accepted_do_not_start() {
    let fleet = started("");
    fleet.ao(&["up"]);
    let free = "\n[[agent]]\nname = \"free\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\
                \n[[service]]\nname = \"out\"\ncommand = \"sleep 600\"\n";
    fleet.configure(&format!("{GOVERNED}{free}"));
    fleet.until("its change is told of", |status| {
        let problem = status.watchdog_problem()?;
        (problem.contains("+ service.out.command") && problem.contains("+ agent.free.governed"))
            .then_some(())
    });
    let unknown = fleet.ao(&["up", "free"]);
    assert!(unknown.code == 2 && unknown.err.contains("+ agent.free.governed"), "{unknown:?}");
    fleet.well(&["config", "accept"]);
    fleet.until("it is taken over", |status| status.watchdog_problem().is_none().then_some(()));
    fleet.well(&["up", "free", "out"]);
    fleet.pids(["free", "out"]);
}

#[test]
fn what_nobody_signed_was_not_accepted_and_denies() {
    let fleet = started("");
    fleet.write("policies/p.yaml", DENY);
    fleet.ao(&["up"]);
    let folder = fleet.path("home/.config/ao/operator/accepted");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let head = entries.into_iter().find(|path| path.extension().unwrap() == "head").unwrap();
    let whole = std::fs::read_to_string(&head).unwrap();
    std::fs::write(&head, whole.replace("operator:", "operator:x")).unwrap();
    let said = fleet.ao(&["run", "--agent", "one", "--", "true"]);
    assert!(said.code != 0 && said.err.contains("did not sign"), "{said:?}");
    fleet.well(&["config", "accept"]);
    touch(&fleet, "no-runs");
}

#[test]
fn an_ungoverned_project_has_nothing_to_accept() {
    let fleet = Fleet::new(
        "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n",
    );
    fleet.well(&["up"]);
    assert!(!fleet.path("home/.config/ao").exists());
    assert!(!fleet.path(".ao-state/state/accepted.json").exists());
}

#[test]
fn a_changed_set_is_held_against_what_was_done_before_anybody_accepts_it() {
    let fleet = started("");
    fleet.ao(&["up"]);
    touch(&fleet, "ao approve 1");
    fleet.well(&["run", "--agent", "one", "--", "ls"]);
    let same = fleet.well(&["policy", "replay", "--since", "1d"]).out;
    assert!(same.contains("0 of 2 answers change"), "{same}");
    fleet.write("policies/p.yaml", DENY);
    let changed = fleet.well(&["policy", "replay", "--since", "1d"]).out;
    assert!(changed.contains("`touch ") && changed.contains("nothing → deny"), "{changed}");
    assert!(changed.contains("no-runs") && changed.contains("1 of 2 answers change"), "{changed}");
    fleet.well(&["config", "accept"]);
    let same = fleet.well(&["policy", "replay", "--since", "1d"]).out;
    assert!(same.contains("0 of 2 answers change"), "{same}");
    let cost = fleet.well(&["cost", "--by", "agent", "--json"]).out;
    let cost: serde_json::Value = serde_json::from_str(&cost).unwrap();
    assert_eq!((&cost["rows"][0]["key"], &cost["rows"][0]["acts"]), (&"one".into(), &2.into()));
    assert!(fleet.well(&["cost", "--by", "day", "--since", "7d"]).out.contains("total"));
}
