//! Our tmux layer on the real tmux: every hazard we know of, met on purpose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use ao::base::name::{PaneId, SessionName};
use ao::sys::death::{Death, DeathWatch};
use ao::sys::tmux::{
    Commands, ControlClient, Look, PaneFacts, ServerId, Tmux, TmuxError, Typed, World, connect,
};
use proptest::prelude::*;

use crate::support::tmux::{TestTmux, eventually, file_when};

/// Copies what is typed to `got`, after saying that it is ready; ends at a line `END`.
const READER: &str = "stty -icanon -echo min 1; : > ready; exec cat > got";

#[track_caller]
fn check_paste(typed: &str) {
    let mut test = TestTmux::start();
    let pane = test.open(&test.spec("ao-reader", READER));
    file_when(&test.path("ready"), |_| true);
    assert_eq!(test.tmux.paste(&pane, typed).unwrap(), Typed::Done);
    let got = file_when(&test.path("got"), |got| got.len() >= typed.len());
    assert_eq!(got, typed);
    assert_eq!(test.raw(&["list-buffers"]), "", "no buffer may be left behind");
}

#[test]
fn pasted_text_arrives_with_its_trailing_semicolon() {
    check_paste("echo one; echo two;");
}

#[test]
fn pasted_text_arrives_with_lines_unicode_and_everything_tmux_might_expand() {
    check_paste("one\n\ttwo ünï → 漢字 🦀\n#{pane_id} #(touch no) %1 $HOME ~ 'q' \"d\" \\n\n");
}

#[test]
fn ten_kilobytes_arrive_whole() {
    check_paste(&"0123456789 abcdefghijklmnopqrstuvwxyz ABC\n".repeat(250));
}

#[test]
fn keys_arrive_and_a_semicolon_is_a_key() {
    let mut test = TestTmux::start();
    let pane = test.open(&test.spec("ao-reader", READER));
    file_when(&test.path("ready"), |_| true);
    let keys = ["a", ";", "-", "Enter"].map(String::from);
    assert_eq!(test.tmux.keys(&pane, &keys).unwrap(), Typed::Done);
    assert_eq!(file_when(&test.path("got"), |got| got.len() >= 4), "a;-\n");
}

#[test]
fn a_paste_into_a_dead_pane_is_refused_and_the_server_lives() {
    let mut test = TestTmux::start();
    let pane = test.open(&test.spec("ao-dead", "exit 3"));
    eventually("the pane is dead", || test.pane(&pane).dead.then_some(()));
    assert_eq!(test.tmux.paste(&pane, "hello").unwrap(), Typed::PaneDead);
    assert_eq!(test.tmux.keys(&pane, &["Enter".to_owned()]).unwrap(), Typed::PaneDead);
    assert!(test.pane(&pane).dead);
    assert_eq!(test.raw(&["list-buffers"]), "", "the buffer of a refused paste is removed");
}

#[test]
fn nothing_is_typed_while_a_person_scrolls_or_when_the_pane_is_gone() {
    let mut test = TestTmux::start();
    let pane = test.open(&test.spec("ao-a", READER));
    let other = test.open(&test.spec("ao-b", READER));
    test.raw(&["copy-mode", "-t", pane.as_str()]);
    assert_eq!(test.tmux.paste(&pane, "hello").unwrap(), Typed::InMode);
    assert_eq!(test.tmux.keys(&pane, &["q".to_owned()]).unwrap(), Typed::InMode);
    assert!(test.pane(&pane).in_mode);
    test.tmux.close(&SessionName::new("ao-a").unwrap()).unwrap();
    assert_eq!(test.tmux.paste(&pane, "hello").unwrap(), Typed::Gone);
    assert_eq!(test.tmux.capture(&[pane, other.clone()]).unwrap().len(), 1);
    assert!(!test.path("got").exists() || file_when(&test.path("got"), |_| true).is_empty());
}

#[test]
fn a_session_is_never_taken_for_one_whose_name_begins_alike() {
    let mut test = TestTmux::start();
    test.open(&test.spec("ao-xy", "sleep 100"));
    test.tmux.close(&SessionName::new("ao-x").unwrap()).unwrap();
    assert_eq!(sessions(&mut test), ["ao-xy"]);
    test.open(&test.spec("ao-x", "sleep 100"));
    assert_eq!(sessions(&mut test), ["ao-x", "ao-xy"]);
    let tags: Vec<String> = test.world().panes.into_iter().map(|pane| pane.tag).collect();
    assert_eq!(tags, ["tag-ao-x", "tag-ao-xy"]);
    test.tmux.close(&SessionName::new("ao-x").unwrap()).unwrap();
    assert_eq!(sessions(&mut test), ["ao-xy"]);
}

fn sessions(test: &mut TestTmux) -> Vec<String> {
    test.world().panes.into_iter().map(|pane| pane.session).collect()
}

#[test]
fn a_second_session_of_the_same_name_is_refused_and_the_first_untouched() {
    let mut test = TestTmux::start();
    let spec = test.spec("ao-x", "sleep 100");
    let pane = test.open(&spec);
    let before = test.pane(&pane).pid;
    let error = test.tmux.open(&spec).unwrap_err();
    assert!(
        matches!(&error, TmuxError::Refused { message, .. } if message.contains("duplicate")),
        "{error}"
    );
    assert_eq!(test.pane(&pane).pid, before);
}

#[test]
fn a_killed_process_is_told_within_a_second_and_its_status_is_readable_after_a_nudge() {
    let mut test = TestTmux::start();
    let pane = test.open(&test.spec("ao-x", "exec sleep 100"));
    let pid = test.pane(&pane).pid;
    let (watch, deaths) = DeathWatch::channel().unwrap();
    watch.watch(pid);
    ao::sys::process::kill_tree(&[pid], None);
    assert_eq!(deaths.recv_timeout(Duration::from_secs(1)), Ok(Death { pid }));
    let facts = eventually("the signal is known", || {
        test.tmux.nudge().unwrap();
        Some(test.pane(&pane)).filter(|facts| facts.exit_signal.is_some())
    });
    assert_eq!((facts.dead, facts.exit_signal, facts.exit_status), (true, Some(9), None));
}

#[test]
fn a_process_that_ends_at_once_keeps_its_last_words_and_its_status() {
    let mut test = TestTmux::start();
    let mut spec = test.spec("ao-x", "echo last words; exit 7");
    spec.log = Some(test.path("log"));
    let pane = test.open(&spec);
    let facts = eventually("the status is known", || {
        test.tmux.nudge().unwrap();
        Some(test.pane(&pane)).filter(|facts| facts.exit_status.is_some())
    });
    assert_eq!((facts.dead, facts.exit_status), (true, Some(7)));
    assert!(test.screen(&pane).contains("last words"));
}

#[test]
fn a_log_gets_what_the_pane_shows_and_can_be_opened_again() {
    let mut test = TestTmux::start();
    let mut spec = test.spec("ao-x", "while read line; do echo \"got $line\"; done");
    spec.log = Some(test.path("log"));
    let pane = test.open(&spec);
    assert!(test.pane(&pane).piped);
    test.tmux.paste(&pane, "one\n").unwrap();
    file_when(&test.path("log"), |log| log.contains("got one"));
    test.raw(&["pipe-pane", "-t", pane.as_str()]);
    assert!(!test.pane(&pane).piped);
    test.tmux.pipe(&pane, &test.path("log")).unwrap();
    test.tmux.paste(&pane, "two\n").unwrap();
    file_when(&test.path("log"), |log| log.contains("got one") && log.contains("got two"));
}

#[test]
fn a_dead_server_is_proven_and_a_silent_one_is_not_taken_for_dead() {
    let mut test = TestTmux::start();
    assert!(matches!(test.tmux.look(), Ok(Look::NoServer { .. })), "none was ever started");
    test.open(&test.spec("ao-x", "sleep 100"));
    let server = test.world().server;
    let mut wrong =
        Commands::new(test.path("nowhere"), test.state_dir(), Some(ServerId { ..server }));
    let answer = wrong.look();
    assert!(matches!(answer, Err(TmuxError::Unreachable { .. })), "it lives: {answer:?}");
    test.kill_server();
    match test.tmux.look().unwrap() {
        Look::NoServer { evidence } => assert!(evidence.contains(&server.pid.to_string())),
        Look::Seen(world) => panic!("{world:?}"),
    }
    test.tmux.close(&SessionName::new("ao-x").unwrap()).unwrap();
}

#[test]
fn a_server_whose_socket_was_removed_is_found_again() {
    let mut test = TestTmux::start();
    test.open(&test.spec("ao-x", "sleep 100"));
    let server = test.world().server;
    std::fs::remove_file(&test.socket).unwrap();
    assert_eq!(test.world().server, server);
}

#[test]
fn a_pane_has_exactly_the_given_environment_and_what_tmux_adds() {
    let mut test = TestTmux::start();
    let mut spec = test.spec("ao-x", "");
    spec.argv = ["/bin/sh", "-c", "cat /proc/self/environ > got.part; mv got.part got; sleep 100"]
        .map(String::from)
        .to_vec();
    spec.env.insert("QUOTED".to_owned(), "it's $HOME `x` \"y\" #(touch no) ; \n end;".to_owned());
    test.open(&spec);
    let got = file_when(&test.path("got"), |_| true);
    let mut names: Vec<&str> =
        got.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    names.sort_unstable();
    // PWD is the shell's own.
    names.retain(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"));
    assert_eq!(names, ["PATH", "QUOTED", "TERM", "TMUX", "TMUX_PANE"]);
    assert!(got.contains("QUOTED=it's $HOME `x` \"y\" #(touch no) ; \n end;\0"), "{got}");
}

#[test]
fn a_missing_folder_ends_the_pane_with_78_instead_of_starting_elsewhere() {
    let mut test = TestTmux::start();
    let mut spec = test.spec("ao-x", "sleep 100");
    spec.dir = test.path("missing");
    let pane = test.open(&spec);
    let facts = eventually("the status is known", || {
        test.tmux.nudge().unwrap();
        Some(test.pane(&pane)).filter(|facts| facts.exit_status.is_some())
    });
    assert_eq!(facts.exit_status, Some(78));
}

#[test]
fn a_socket_path_that_is_too_long_is_refused_with_advice() {
    let test = TestTmux::start();
    let long = test.path(&"x".repeat(120));
    let mut tmux = connect(long, test.state_dir(), None, None);
    let message = tmux.look().unwrap_err().to_string();
    assert!(message.contains("107") && message.contains("TMUX_TMPDIR"), "{message}");
}

/// The test's server with a `ao-watchdog` session, and a client that is attached to it.
fn with_client() -> (TestTmux, ControlClient) {
    let mut test = TestTmux::start();
    test.open(&test.spec("ao-watchdog", "sleep 100"));
    let commands = Commands::new(test.socket.clone(), test.path("client-state"), None);
    let session = SessionName::new("ao-watchdog").unwrap();
    (test, ControlClient::new(commands, session))
}

/// Both looks, without the one thing in which they may differ: who is attached, and when.
fn looks(test: &mut TestTmux, client: &mut ControlClient) -> [World; 2] {
    let Look::Seen(seen) = client.look().unwrap() else { panic!("the server runs") };
    [test.world(), seen].map(|mut world| {
        let of_clients =
            |pane: &mut PaneFacts| (pane.attached, pane.activity, pane.person_at) = (0, 0, 0);
        world.panes.iter_mut().for_each(of_clients);
        world
    })
}

#[test]
fn control_mode_and_plain_commands_see_the_same() {
    let (mut test, mut client) = with_client();
    let script = r"printf '\033]2;a: \\ tïtle %%end\007\\path \033[31mred\033[0m ünï\n%%end 1 2 1\n'; : > ready; sleep 100";
    let pane = client.open(&test.spec("ao-x", script)).unwrap();
    test.open(&test.spec("ao-y", "exit 5"));
    file_when(&test.path("ready"), |_| true);
    eventually("both look the same", || {
        let [plain, control] = looks(&mut test, &mut client);
        (plain == control && plain.panes.iter().any(|pane| pane.title.contains("tïtle")))
            .then_some(())
    });
    assert!(client.is_connected());
    let panes: Vec<PaneId> = test.world().panes.into_iter().map(|pane| pane.pane).collect();
    let control = client.capture(&panes).unwrap();
    assert_eq!(control, test.tmux.capture(&panes).unwrap());
    assert!(
        control.iter().any(|capture| capture.pane == pane && capture.text.contains("%end 1 2"))
    );
}

#[test]
fn text_pasted_over_the_control_connection_arrives_whole() {
    let (test, mut client) = with_client();
    let pane = client.open(&test.spec("ao-reader", READER)).unwrap();
    file_when(&test.path("ready"), |_| true);
    let typed = "one;\n\n  two 'q' \"d\" #{pid} 漢字\n".repeat(200);
    assert_eq!(client.paste(&pane, &typed).unwrap(), Typed::Done);
    assert_eq!(client.keys(&pane, &[";".into(), "Enter".into()]).unwrap(), Typed::Done);
    let got = file_when(&test.path("got"), |got| got.len() >= typed.len() + 2);
    assert_eq!(got, typed + ";\n");
    assert!(client.is_connected());
    assert_eq!(test.raw(&["list-buffers"]), "");
}

#[test]
fn keys_go_only_while_the_text_they_are_for_stands_on_the_screen() {
    let (mut test, mut client) = with_client();
    let script = "echo the question; : > ready; read answer; clear; : > cleared; cat > rest";
    let pane = client.open(&test.spec("ao-x", script)).unwrap();
    file_when(&test.path("ready"), |_| true);
    let enter = ["Enter".to_owned()];
    eventually("the text is drawn", || test.screen(&pane).contains("the question").then_some(()));
    let other = "another question";
    assert_eq!(test.tmux.keys_if_shown(&pane, &enter, other).unwrap(), Typed::Hidden);
    assert_eq!(client.keys_if_shown(&pane, &enter, other).unwrap(), Typed::Hidden);
    assert!(!test.path("cleared").exists(), "no key was sent");
    assert_eq!(client.keys_if_shown(&pane, &enter, "the question").unwrap(), Typed::Done);
    file_when(&test.path("cleared"), |_| true);
    eventually("the text is gone", || (!test.screen(&pane).contains("the question")).then_some(()));
    assert_eq!(client.keys_if_shown(&pane, &enter, "the question").unwrap(), Typed::Hidden);
    assert!(client.is_connected());
}

#[test]
fn refusals_over_the_control_connection_do_not_break_it() {
    let (mut test, mut client) = with_client();
    let spec = test.spec("ao-x", "exit 0");
    let pane = client.open(&spec).unwrap();
    assert!(matches!(client.open(&spec), Err(TmuxError::Refused { .. })));
    client.close(&SessionName::new("ao-nobody").unwrap()).unwrap();
    eventually("the pane is dead", || test.pane(&pane).dead.then_some(()));
    assert_eq!(client.paste(&pane, "x").unwrap(), Typed::PaneDead);
    client.close(&spec.session).unwrap();
    assert_eq!(client.keys(&pane, &["x".into()]).unwrap(), Typed::Gone);
    client.nudge().unwrap();
    assert!(client.is_connected());
}

/// More than go over a connection at once; a name that is taken keeps none of the others back.
fn check_many(test: &mut TestTmux, tmux: &mut dyn Tmux) {
    let mut taken = test.spec("ao-20", "sleep 100");
    taken.tag.push_str("-of-another-start");
    tmux.open(&taken).unwrap();
    let mut specs: Vec<_> =
        (0..40).map(|number| test.spec(&format!("ao-{number}"), "sleep 100")).collect();
    // Its folder is only seen to be missing by its own shell.
    specs[30].dir = "/no such folder; #{pid} 'or' \"other\" $HOME".into();
    let opened = tmux.open_all(&specs);
    assert_eq!(opened.len(), specs.len());
    let world = test.world();
    for (spec, result) in specs.iter().zip(opened) {
        if spec.session == taken.session {
            assert!(matches!(result, Err(TmuxError::Refused { .. })), "{result:?}");
        } else {
            let facts = world.pane(&result.unwrap()).expect("it was opened");
            assert_eq!((facts.session.as_str(), &facts.tag), (spec.session.as_str(), &spec.tag));
        }
    }
    let absent = SessionName::new("ao-nobody").unwrap();
    let sessions: Vec<SessionName> =
        specs.into_iter().map(|spec| spec.session).chain([absent]).collect();
    assert!(tmux.close_all(&sessions).iter().all(Result::is_ok));
    let left: Vec<String> = test.world().panes.into_iter().map(|pane| pane.session).collect();
    assert_eq!(left, ["ao-watchdog"]);
}

#[test]
fn a_session_whose_answer_was_lost_is_found_by_its_tag_and_another_one_is_not_taken_for_it() {
    let mut test = TestTmux::start();
    let spec = test.spec("ao-x", "sleep 100");
    let pane = test.open(&spec);
    assert_eq!(test.tmux.open_again(&spec).unwrap(), pane);
    let mut other = spec;
    other.tag.push('2');
    assert!(matches!(test.tmux.open_again(&other), Err(TmuxError::Refused { .. })));
}

#[test]
fn many_sessions_are_opened_and_closed_over_one_connection_and_each_has_its_own_answer() {
    let (mut test, mut client) = with_client();
    check_many(&mut test, &mut client);
    assert!(client.is_connected());
}

#[test]
fn many_sessions_are_opened_and_closed_by_one_process_and_each_has_its_own_answer() {
    let mut test = TestTmux::start();
    test.open(&test.spec("ao-watchdog", "sleep 100"));
    let mut commands = Commands::new(test.socket.clone(), test.path("other-state"), None);
    check_many(&mut test, &mut commands);
}

#[test]
fn without_its_session_the_client_falls_back_and_without_a_server_it_says_so() {
    let (mut test, mut client) = with_client();
    test.open(&test.spec("ao-x", "sleep 100"));
    client.look().unwrap();
    assert!(client.is_connected());
    test.tmux.close(&SessionName::new("ao-watchdog").unwrap()).unwrap();
    let [plain, control] = looks(&mut test, &mut client);
    assert_eq!(plain, control);
    assert!(!client.is_connected());
    test.open(&test.spec("ao-watchdog", "sleep 100"));
    eventually("it is attached again", || {
        client.look().unwrap();
        client.is_connected().then_some(())
    });
    test.kill_server();
    assert!(matches!(client.look(), Ok(Look::NoServer { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a folder or log is called, tmux neither runs nor rewrites it.
    #[test]
    fn a_path_is_never_taken_for_a_format(
        name in proptest::sample::select(vec!["d", "a b", "it's", "%H%%", "#{pid}", "$HOME", "`x`", "\"", ";", "#[x]", "##"]),
        tail in "[a-z#%'\"$ ;{}()]{0,12}",
    ) {
        let mut test = TestTmux::start();
        let dir = test.path(&format!("{name}#(touch ran){tail}"));
        std::fs::create_dir(&dir).unwrap();
        let mut spec = test.spec("ao-x", "echo begun; pwd > here.part; mv here.part here; sleep 100");
        spec.dir = dir.clone();
        let log = dir.join(format!("l{name}#(touch {}){tail}", test.path("ran").display()).replace('/', "_"));
        spec.log = Some(log.clone());
        test.open(&spec);
        let here = file_when(&dir.join("here"), |_| true);
        prop_assert_eq!(here.trim_end_matches('\n'), dir.to_str().unwrap());
        file_when(&log, |_| true);
        let path = test.raw(&["display-message", "-p", "-t", "=ao-x:", "#{session_path}"]);
        prop_assert_eq!(path.trim_end_matches('\n'), dir.to_str().unwrap());
        prop_assert!(!test.path("ran").exists() && !dir.join("ran").exists());
    }
}
