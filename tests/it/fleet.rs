//! Whole fleets, run by the built program on private tmux servers, and everything that befalls them.
//!
//! Linux only in parts: whose a process is, is read from `/proc`.

use std::path::Path;

use expect_test::{Expect, expect};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::fleet::{Fleet, Status, kill};
use crate::support::tmux::eventually;

const TWO: &str = "[[agent]]\nname = \"one\"\nkind = \"persistent\"\nprompt = \"count to three\"\n\n\
                   [[agent]]\nname = \"two\"\nkind = \"persistent\"\nprompt = \"count to four\"\n\n";

/// An agent that is a shell script.
fn scripted(fleet: &Fleet, name: &str, kind: &str, script: &str) -> String {
    fleet.write(&format!("{name}.sh"), script);
    format!(
        "[backend.{name}]\nbin = \"sh DIR/{name}.sh {{kickoff}}\"\nprompt_delivery = \"exec\"\n\n\
         [[agent]]\nname = \"{name}\"\nkind = \"{kind}\"\nbackend = \"{name}\"\nprompt = \"go\"\n\n"
    )
}

#[test]
fn up_starts_all_of_the_example_once_and_down_leaves_nothing() {
    let fleet = Fleet::example();
    let first = fleet.well(&["up"]);
    expect![[r"
        adversary  started
        builder    started
        ticker     started
        watchdog   started
    "]]
    .assert_eq(&first.out);
    let pids = fleet.pids(["adversary", "builder", "ticker"]);
    let watchdog = fleet.status().watchdog();
    assert!(watchdog.is_some());
    let second = fleet.well(&["up"]);
    expect![[r"
        adversary  already running
        builder    already running
        ticker     already running
        watchdog   already running
    "]]
    .assert_eq(&second.out);
    assert_eq!(fleet.pids(["adversary", "builder", "ticker"]), pids);
    assert_eq!(fleet.status().watchdog(), watchdog);
    #[cfg(target_os = "linux")]
    assert!(fleet.started_processes().len() >= 3);
    fleet.well(&["down"]);
    assert_eq!(fleet.panes(), [""; 0]);
    assert_eq!(fleet.started_processes(), [0; 0]);
    assert_eq!(fleet.status().watchdog(), None);
}

#[test]
fn a_killed_agent_comes_back_and_the_log_names_the_signal() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let [one, two] = fleet.pids(["one", "two"]);
    kill(one);
    fleet.pid_after("one", one);
    assert_eq!(fleet.pids(["two"]), [two], "the other one is left alone");
    let whys = fleet.whys("one", "died");
    assert!(whys.len() == 1 && whys[0].contains("signal 9"), "{whys:?}");
    assert_eq!(fleet.status().unit("one")["restarts"], 1);
}

#[test]
fn sessions_of_others_are_never_touched_and_a_taken_name_is_a_failure() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up", "one"]);
    for session in ["fleet-two", "fleet-one-more", "fleet-"] {
        let made = fleet.tmux(&["new-session", "-d", "-s", session, "sleep 1000"]);
        assert_eq!(made.code, 0, "{made:?}");
    }
    let foreign: Vec<String> =
        fleet.panes().into_iter().filter(|pane| !pane.starts_with("fleet-one ")).collect();
    assert_eq!(foreign.len(), 3);
    let up = fleet.ao(&["up", "two"]);
    assert_eq!(up.code, 1, "{up:?}");
    expect![[r"
        two  failed: a session named `fleet-two` exists that ao did not start
    "]]
    .assert_eq(&up.out);
    let up = fleet.ao(&["up"]);
    assert_eq!(up.code, 1, "{up:?}");
    assert!(up.out.contains("one       already running"), "{up:?}");
    fleet.ao(&["down"]);
    assert_eq!(fleet.panes(), foreign);
}

#[test]
fn what_was_put_down_stays_down_until_it_is_put_up() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let [one, two] = fleet.pids(["one", "two"]);
    assert_eq!(fleet.well(&["down", "one"]).out, "one  stopped\n");
    // That the other one is healed proves that the watchdog went on working.
    kill(two);
    let two = fleet.pid_after("two", two);
    kill(two);
    fleet.pid_after("two", two);
    let status = fleet.status();
    assert_eq!((status.state("one"), status.pid("one")), ("not started", None));
    assert_eq!(fleet.sessions(), ["fleet-two", "fleet-watchdog"]);
    assert_eq!(fleet.well(&["up", "one"]).out, "one  started\n");
    fleet.pid_after("one", one);
}

#[test]
fn a_killed_tmux_server_comes_back_with_everything_once() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let [one, two] = fleet.pids(["one", "two"]);
    // It lives in that server: what ends while it still begins cannot bring anything back.
    fleet.until("the watchdog is at work", |_| fleet.whys("", "watchdog").pop());
    let server = fleet.server_pid().unwrap();
    kill(server);
    fleet.pid_after("one", one);
    fleet.pid_after("two", two);
    fleet.until("the watchdog has its session again", |status| {
        let sessions = fleet.sessions();
        (status.watchdog().is_some() && sessions.contains(&"fleet-watchdog".to_owned()))
            .then_some(())
    });
    assert_ne!(fleet.server_pid(), Some(server));
    fleet.pids(["one", "two"]);
    assert_eq!(fleet.sessions(), ["fleet-one", "fleet-two", "fleet-watchdog"]);
    #[cfg(target_os = "linux")]
    for agent in ["one", "two"] {
        assert_eq!(fleet.starts_of(agent).len(), 1, "{agent}");
    }
}

#[test]
fn a_killed_watchdog_comes_back_and_leaves_healthy_agents_alone() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let pids = fleet.pids(["one", "two"]);
    let watchdog = fleet.until("a watchdog runs", Status::watchdog);
    kill(watchdog);
    let next = fleet
        .until("another watchdog runs", |status| status.watchdog().filter(|&pid| pid != watchdog));
    fleet.until("it is at work", |_| {
        let begun = format!("watchdog started, process {next}");
        fleet.whys("", "watchdog").contains(&begun).then_some(())
    });
    assert_eq!(fleet.pids(["one", "two"]), pids);
    kill(pids[0]);
    fleet.pid_after("one", pids[0]);
    assert_eq!(fleet.pids(["two"]), [pids[1]]);
}

#[test]
fn status_takes_a_living_watchdogs_word_and_asks_tmux_else() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let watchdog = fleet.until("a watchdog runs", Status::watchdog);
    // Nobody can ask tmux who does not find it.
    let unknown = |arguments: &[&str]| {
        let said = fleet.finish(fleet.command(arguments).env("PATH", fleet.path("home")));
        let status: Value = serde_json::from_str(&said.out).expect(&said.out);
        status["unknown"].is_string()
    };
    let word = || (!unknown(&["status", "--json"])).then_some(());
    fleet.until("its word is taken", |_| word());
    assert!(unknown(&["status", "--json", "--look"]), "a look is a look");
    let pid = Pid::from_raw(i32::try_from(watchdog).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    fleet.until("one that hangs is not believed for long", |_| {
        unknown(&["status", "--json"]).then_some(())
    });
    kill_process(pid, Signal::CONT).unwrap();
    fleet.until("its word is taken again", |_| word());
}

#[test]
fn two_ups_at_once_start_nothing_twice() {
    let fleet = Fleet::new(TWO);
    let both = [fleet.spawn(&["up"]), fleet.spawn(&["up"])];
    for up in both {
        let output = up.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    }
    fleet.pids(["one", "two"]);
    assert_eq!(fleet.sessions(), ["fleet-one", "fleet-two", "fleet-watchdog"]);
    for agent in ["one", "two"] {
        assert_eq!(fleet.whys(agent, "started").len(), 1, "{agent}");
        #[cfg(target_os = "linux")]
        assert_eq!(fleet.starts_of(agent).len(), 1, "{agent}");
    }
}

#[test]
fn a_broken_config_harms_no_running_agent_and_is_named_until_it_is_mended() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let pids = fleet.pids(["one", "two"]);
    let panes = fleet.panes();
    fleet
        .write("agents.toml", fleet.config(TWO).replace("kind = \"persistent\"", "kind = \"odd\""));
    eventually("the watchdog has read it", || {
        fleet.whys("", "config_broken").first().map(|why| assert!(why.contains("agents.toml:18")))
    });
    let said = fleet.well(&["status"]);
    assert!(said.out.contains("agents.toml:18") && said.out.contains("odd"), "{said:?}");
    assert!(said.out.contains("one") && said.out.contains("two"), "{said:?}");
    assert_eq!(fleet.panes(), panes);
    fleet.configure(TWO);
    fleet.until("the problem is gone", |status| {
        status.0["watchdog"]["config_problem"].is_null().then_some(())
    });
    assert_eq!(fleet.pids(["one", "two"]), pids);
    assert_eq!(fleet.panes(), panes);
}

#[test]
fn up_mends_a_half_dead_fleet_without_a_watchdog() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up"]);
    let [one, two] = fleet.pids(["one", "two"]);
    let watchdog = fleet.status().watchdog().unwrap();
    fleet.tmux(&["kill-session", "-t", "=fleet-watchdog"]);
    kill(watchdog);
    fleet.until("no watchdog runs", |status| status.watchdog().is_none().then_some(()));
    kill(one);
    fleet.until("one is dead", |status| (status.state("one") == "dead").then_some(()));
    let said = fleet.well(&["up"]);
    expect![[r"
        one       already running
        two       already running
        watchdog  started
    "]]
    .assert_eq(&said.out);
    fleet.pid_after("one", one);
    assert_eq!(fleet.pids(["two"]), [two]);
    assert_eq!(fleet.sessions(), ["fleet-one", "fleet-two", "fleet-watchdog"]);
}

#[track_caller]
fn check_refused(prepare: impl FnOnce(&Fleet), arguments: &[&str], expected: Expect) {
    let fleet = Fleet::new(TWO);
    prepare(&fleet);
    let said = fleet.ao(arguments);
    assert_eq!(said.code, 2, "{said:?}");
    assert_eq!(said.out, "");
    assert_eq!(fleet.server_pid(), None, "nothing was started");
    expected.assert_eq(&said.err);
}

#[test]
fn bad_input_is_refused_before_anything_starts() {
    check_refused(
        |_| {},
        &["upp"],
        expect![[r"
        error: unrecognized subcommand 'upp'

          tip: a similar subcommand exists: 'up'

        Usage: ao [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "]],
    );
    check_refused(
        |_| {},
        &["up", "tow"],
        expect![[r"
        error: no agent or service is named `tow`
        hint: did you mean `two`?
    "]],
    );
    check_refused(
        |fleet| fleet.write(".ao-state", ""),
        &["up"],
        expect![[r"
        error: cannot prepare the state folder `DIR/.ao-state`
          caused by: File exists (os error 17)
        hint: make `log_dir` a folder this user can write to
    "]],
    );
    let missing = TWO.replace("prompt = \"count to four\"", "prompt_file = \"gone.md\"");
    check_refused(
        |fleet| fleet.configure(&missing),
        &["up"],
        expect![[r#"
        error: the prompt file does not exist
          --> agents.toml:24:15
           |
        24 | prompt_file = "gone.md"
           |               ^^^^^^^^^ no such file
           = hint: looked for `DIR/gone.md`

        1 error
    "#]],
    );
    check_refused(
        |fleet| fleet.write("agents.toml", b"# \xff\n"),
        &["up"],
        expect![[r"
        error: `agents.toml` is not UTF-8: byte 2 (line 1) is the first that is not
    "]],
    );
}

#[test]
fn without_tmux_nothing_starts_and_the_message_says_so() {
    let fleet = Fleet::new(TWO);
    let said = fleet.finish(fleet.command(&["up"]).env("PATH", fleet.path("home")));
    assert_eq!(said.code, 2, "{said:?}");
    expect![[r"
        error: tmux is not installed or not on PATH
          caused by: No such file or directory (os error 2)
    "]]
    .assert_eq(&said.err);
}

/// What the agent really received.
fn submitted(truth: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(truth).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line))
        .filter(|line| line["event"] == "submit")
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn a_message_arrives_once_and_a_dead_agent_gets_none() {
    let fleet = Fleet::new("");
    fleet.configure(
        "[backend.honest]\npreset = \"demo\"\n\
         bin = \"{ao} demo-agent --name {name} --kickoff {kickoff} --truth DIR/truth\"\n\n\
         [[agent]]\nname = \"one\"\nkind = \"persistent\"\nbackend = \"honest\"\n\
         prompt = \"count to three\"\n",
    );
    fleet.well(&["up", "one"]);
    let [one] = fleet.pids(["one"]);
    assert_eq!(fleet.well(&["send", "one", "it's", "$HOME; done"]).out, "one  delivered\n");
    let truth = fleet.path("truth");
    let texts = submitted(&truth);
    assert_eq!(
        texts.iter().filter(|text| text.trim_end() == "it's $HOME; done").count(),
        1,
        "{texts:?}"
    );
    kill(one);
    fleet.until("one is dead", |status| (status.state("one") == "dead").then_some(()));
    let said = fleet.ao(&["send", "one", "hello"]);
    assert_eq!(said.code, 1, "{said:?}");
    expect![[r"
        error: `one` did not get the message: its process has ended
        hint: nothing was submitted; it is safe to send it again
    "]]
    .assert_eq(&said.err);
    assert_eq!(submitted(&truth), texts);
}

/// An agent that plays a scenario and writes down what it got.
fn playing(fleet: &Fleet, settings: &str, scenario: &str) {
    fleet.write("scenario", scenario);
    let blocks = "[backend.honest]\npreset = \"demo\"\nstall_idle = 2\nlog_grace = 0\n\
         bin = \"{ao} demo-agent --name {name} --kickoff {kickoff} --truth DIR/truth \
         --scenario DIR/scenario\"\n\n\
         [[agent]]\nname = \"one\"\nkind = \"persistent\"\nbackend = \"honest\"\n\
         watch = \"heal+stall\"\nprompt = \"count to three\"\n";
    let config = fleet.config(blocks);
    fleet.write(
        "agents.toml",
        config.replace("stop_grace = 1", &format!("stop_grace = 1\n{settings}")),
    );
}

#[test]
fn a_limit_is_waited_out_over_a_killed_watchdog_and_ends_with_one_probe() {
    let fleet = Fleet::new("");
    let ends = chrono::DateTime::from_timestamp(now_s() + 20, 0).expect("in range");
    let ends = ends.format("%Y-%m-%dT%H:%M:%SZ");
    let scenario = format!("ready\nlimit \"{ends}\"\nwait_submit\nwork 40s\n");
    playing(&fleet, "limit_reset_slack = 1", &scenario);
    fleet.well(&["up"]);
    let [pid] = fleet.pids(["one"]);
    let file = fleet.path(".ao-state/state/limited-fleet-one.json");
    fleet.until("the limit is seen", |status| {
        (status.state("one") == "limited" && file.exists()).then_some(())
    });
    let told = fleet.well(&["explain", "one"]).out;
    assert!(told.contains("5-hour limit") && told.contains("one probe at"), "{told}");
    let watchdog = fleet.until("a watchdog runs", Status::watchdog);
    kill(watchdog);
    // What is left is the window's own file.
    let _gone = std::fs::remove_file(fleet.path(".ao-state/state/supervisor.json"));
    fleet.until("the probe is typed", |_| {
        fleet.whys("one", "sent").iter().any(|why| why.contains("probe")).then_some(())
    });
    fleet.until("the window is over", |_| (!file.exists()).then_some(()));
    let texts = submitted(&fleet.path("truth"));
    let probes = texts.iter().filter(|text| text.starts_with("Continue where you left off"));
    assert_eq!(probes.count(), 1, "{texts:?}");
    assert_eq!(fleet.pids(["one"]), [pid], "nothing was restarted");
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_secs()).expect("small")
}

#[test]
fn an_agent_that_hangs_is_nudged_restarted_and_restarted_anew() {
    let fleet = Fleet::new("");
    playing(&fleet, "", "ready\nidle 1s\nhang\nnext\nready\nidle 1s\nhang\nnext\nready\n");
    fleet.well(&["up"]);
    for restarts in 1..=2 {
        fleet.until("the next step is taken", |status| {
            (status.unit("one")["restarts"] == restarts).then_some(())
        });
    }
    let steps: Vec<String> = fleet
        .whys("one", "stall")
        .iter()
        .filter_map(|why| why.split_once(": ").map(|(_, step)| step.to_owned()))
        .take(3)
        .collect();
    assert_eq!(
        steps,
        ["it is nudged", "restarted with its conversation", "restarted with a new conversation"]
    );
    assert_eq!(fleet.whys("one", "died"), [""; 0]);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let fleet = Fleet::new(TWO);
    fleet.well(&["up", "one", "two"]);
    let [one, two] = fleet.pids(["one", "two"]);
    kill(one);
    let child = fleet.spawn(&["watchdog", "--dry-run"]);
    fleet.until("it says so", |_| {
        fleet
            .whys("one", "starting")
            .iter()
            .any(|why| why.contains("dry run: would be"))
            .then_some(())
    });
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("one: starting: would be started"), "{said}");
    assert_eq!(fleet.starts_of("one").len(), 0);
    assert_eq!(fleet.status().pid("two"), Some(two));
}

#[test]
fn an_agent_that_ends_again_and_again_is_failed_until_a_person_restarts_it() {
    let fleet = Fleet::new("");
    let script = "[ -e well ] && exec sleep 1000\nexit 3\n";
    fleet.configure(&scripted(&fleet, "flaky", "persistent", script));
    fleet.well(&["up"]);
    fleet.until("it is failed", |status| (status.state("flaky") == "failed").then_some(()));
    assert_eq!(fleet.whys("flaky", "started").len(), 3, "one start and two restarts");
    let whys = fleet.whys("flaky", "failed");
    assert_eq!(whys.len(), 1);
    expect!["restarted 2 times within an hour, last: exited with status 3; `ao restart flaky` tries again"].assert_eq(&whys[0]);
    fleet.write("well", "");
    assert_eq!(fleet.well(&["restart", "flaky"]).out, "flaky  started\n");
    fleet.pids(["flaky"]);
}

#[test]
fn a_finished_task_is_done_and_a_start_that_cannot_work_is_not_tried_again() {
    let fleet = Fleet::new("");
    let task = scripted(&fleet, "task", "task", "exit 0\n");
    let refused = scripted(&fleet, "refused", "persistent", "exit 78\n");
    let homeless = "[[agent]]\nname = \"homeless\"\nkind = \"persistent\"\ndir = \"yard\"\n";
    std::fs::create_dir(fleet.path("yard")).unwrap();
    fleet.configure(&format!("{TWO}{task}{refused}{homeless}prompt = \"go\"\n"));
    fleet.well(&["up"]);
    let [two, homeless] = fleet.pids(["two", "homeless"]);
    std::fs::remove_dir(fleet.path("yard")).unwrap();
    kill(homeless);
    fleet.until("all have settled", |status| {
        let states = ["task", "refused", "homeless"].map(|name| status.state(name));
        (states == ["done", "failed", "failed"]).then_some(())
    });
    // That the other one is healed proves that the watchdog went on working.
    kill(two);
    fleet.pid_after("two", two);
    assert_eq!(fleet.whys("task", "started").len(), 1);
    assert_eq!(fleet.whys("refused", "started").len(), 1);
    expect!["it could not enter its folder or read its prompt (exit status 78); see `ao logs`"]
        .assert_eq(&fleet.whys("refused", "failed").join("\n"));
    let why = fleet.whys("homeless", "failed").join("\n");
    expect!["its folder `DIR/yard` does not exist"]
        .assert_eq(&why.replace(&*fleet.path("").to_string_lossy(), "DIR/"));
}
