//! Looks at a branch and its inboxes, and who is told of what.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::commit::{Commit, Tip, plain};
use super::inbox::{Content, Place, reader};
use super::judge::{Inbox, Observation, Ping, Rule, Seen, Watch, judge};
use crate::base::name::UnitName;

fn name(text: &str) -> UnitName {
    UnitName::new(text).expect("plain")
}

fn watch() -> Watch {
    let rule = |pings: &str, pattern: &str| Rule {
        pings: name(pings),
        pattern: pattern.to_owned(),
        text: format!("To {pings}."),
    };
    let inbox = |file: &str, reader: &str| Inbox {
        file: file.to_owned(),
        reader: name(reader),
        reader_names: vec![reader.to_owned()],
        text: "Read it.".to_owned(),
    };
    Watch {
        source: "repo origin/main".to_owned(),
        claims: Some(rule("adversary", "^claim")),
        reviews: Some(rule("builder", "^review")),
        inboxes: vec![
            inbox("ADVERSARY-INBOX.md", "adversary"),
            inbox("BUILDER-INBOX.md", "builder"),
        ],
    }
}

fn commit(id: &str, subject: &str) -> Commit {
    let id = format!("{id:0<40}");
    Commit { id, subject: subject.to_owned(), author: "Ann".to_owned(), authored_at: 7 }
}

fn look(commits: &[Commit]) -> Observation {
    let tip = commits.last().map(|commit| Tip { id: commit.id.clone(), at: 7 });
    Observation {
        source: "repo origin/main".to_owned(),
        tip: tip.or(Some(Tip { id: "0".repeat(40), at: 1 })),
        commits: commits.to_vec(),
        ..Observation::default()
    }
}

fn inbox(place: Place, text: &str, writer: Option<&str>) -> Observation {
    let writer = writer.map(str::to_owned);
    let contents = vec![Content::new("BUILDER-INBOX.md", place, text, writer)];
    Observation { contents, ..look(&[]) }
}

/// Looks one after another; nothing of it is typed in between, or all is.
fn tell(looks: &[Observation], typed: bool) -> Vec<Ping> {
    let (mut seen, mut all) = (Seen::default(), Vec::new());
    let mut waiting = BTreeSet::new();
    for look in looks {
        let (next, pings) = judge(seen, &watch(), look, &waiting);
        let text = serde_json::to_string(&next).expect("plain data");
        seen = serde_json::from_str(&text).expect("own text");
        assert_eq!(seen, next);
        if !typed {
            waiting.extend(pings.iter().map(|ping| ping.key.clone()));
        }
        all.extend(pings);
    }
    all
}

#[track_caller]
fn check(looks: &[Observation], expected: &[&str]) {
    let said = tell(looks, true);
    let said: Vec<String> = said.iter().map(|ping| format!("{}: {}", ping.to, ping.text)).collect();
    assert_eq!(said, expected);
}

#[test]
fn the_first_look_only_records_and_later_commits_ping_their_side() {
    let (first, claim) = (commit("a", "claim: old"), commit("b", "claim: parser"));
    let review = commit("c", "review: parser");
    let other = commit("d", "docs: claim nothing");
    check(
        &[look(&[first]), look(&[claim, review, other])],
        &[
            "adversary: To adversary.\n- b000000 by Ann: \"claim: parser\"",
            "builder: To builder.\n- c000000 by Ann: \"review: parser\"",
        ],
    );
}

#[test]
fn several_at_once_make_one_message_and_a_held_one_is_taken_in() {
    let look_at = |ids: &[&str]| {
        look(&ids.iter().map(|id| commit(id, &format!("claim {id}"))).collect::<Vec<_>>())
    };
    let looks = [look_at(&[]), look_at(&["a", "b"]), look_at(&["c"])];
    let held = tell(&looks, false);
    assert_eq!(held.len(), 2);
    assert_eq!(held[0].key, held[1].key);
    for line in ["claim a", "claim b", "claim c"] {
        assert!(held[1].text.contains(line), "{}", held[1].text);
    }
    let typed = tell(&looks, true);
    assert!(!typed[1].text.contains("claim a"), "it was typed already");
}

#[test]
fn no_rewritten_or_returning_commit_pings_twice() {
    let old = commit("a", "claim: x");
    let rebased = Commit { id: "f".repeat(40), ..old.clone() };
    let claims = |looks: &[Observation]| tell(looks, true).len();
    let (none, old) = (look(&[]), look(&[old]));
    assert_eq!(claims(&[none.clone(), old.clone(), look(&[rebased])]), 1);
    assert_eq!(claims(&[none.clone(), old.clone(), none, old]), 1);
}

#[test]
fn another_source_begins_anew() {
    let mut other = watch();
    other.source = "elsewhere".to_owned();
    let (seen, _) = judge(Seen::default(), &watch(), &look(&[]), &BTreeSet::new());
    let observation = Observation { source: other.source.clone(), ..look(&[commit("a", "claim")]) };
    let (_, pings) = judge(seen, &other, &observation, &BTreeSet::new());
    assert_eq!(pings, []);
}

#[test]
fn an_inbox_pings_its_reader_once_a_content_and_only_for_more_lines() {
    use Place::{Branch, WorkTree};
    let ping = "builder: Read it.\n- BUILDER-INBOX.md";
    let begin = [inbox(WorkTree, "", None), inbox(Branch, "", None)];
    let tale = |more: &[Observation]| [&begin[..], more].concat();
    check(&tale(&[]), &[]);
    check(&tale(&[inbox(WorkTree, "hello\n", None), inbox(Branch, "hello", None)]), &[ping]);
    check(&tale(&[inbox(WorkTree, "a\nb\n", None), inbox(WorkTree, "a\n", None)]), &[ping]);
    check(&tale(&[inbox(WorkTree, "a\n", None), inbox(WorkTree, "a\na\n", None)]), &[ping, ping]);
    check(&tale(&[inbox(Branch, "note to self", Some("Builder <b@x>"))]), &[]);
    check(&tale(&[inbox(Branch, "for you", Some("adversary"))]), &[ping]);
    check(&[inbox(WorkTree, "was there before\n", None)], &[]);
}

#[test]
fn an_inbox_is_read_by_the_role_it_begins_with_else_by_position() {
    let members =
        [(name("b1"), Some("Builder".to_owned())), (name("a1"), Some("adversary".to_owned()))];
    let members = members.into();
    let [claims, reviews] = ["a1", "b1"].map(name);
    let find = |file, position| reader(file, position, &members, [Some(&claims), Some(&reviews)]);
    assert_eq!(find("builder-INBOX.md", 0), Some(name("b1")));
    assert_eq!(find("in/ADVERSARY.md", 1), Some(name("a1")));
    assert_eq!(find("first.md", 0), Some(name("a1")));
    assert_eq!(find("second.md", 1), Some(name("b1")));
    assert_eq!(find("third.md", 2), None);
}

proptest! {
    #[test]
    fn what_a_commit_says_is_one_short_plain_line(subject in "(?s).{0,400}", author in "(?s).{0,90}") {
        let line = Commit { author, ..commit("abcdef0", &subject) }.line();
        prop_assert!(line.lines().count() == 1 && line.chars().count() <= 260, "{line:?}");
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        prop_assert_eq!(line.matches('"').count(), 2);
        prop_assert!(plain(&subject, 10).chars().count() <= 10);
    }

    #[test]
    fn no_commit_is_ever_told_twice(
        looks in prop::collection::vec(prop::collection::vec(0_u8..20, 0..5), 1..20),
    ) {
        let commits = |ids: &Vec<u8>| -> Vec<Commit> {
            ids.iter().map(|id| commit(&format!("{id:02}"), &format!("claim {id:02}"))).collect()
        };
        let looks: Vec<Observation> = looks.iter().map(|ids| look(&commits(ids))).collect();
        let mut told = BTreeSet::new();
        for ping in tell(&looks, true) {
            for line in ping.text.lines().skip(1) {
                prop_assert!(told.insert(line.to_owned()), "twice: {line}");
            }
        }
    }
}
