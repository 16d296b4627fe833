//! The tmux commands behind each of our acts, and how their answers read.
//!
//! Shared by the plain-command and the control-mode implementation, so that both do exactly the same.
//! A [`List`] is a command list: tmux runs it in one go, which is what makes guards and creation
//! atomic, and drops what follows a failed command.
//!
//! Surprises: tmux expands formats in directories, names and log paths and would run `#(…)` in them; an
//! argument that ends in `;` would end the command; a session name cannot hold `:`, a title can;
//! `display-message` runs its text through strftime first, which makes ` %3` of `%3`.

use std::path::Path;

use super::{Capture, PaneFacts, ServerId, SessionSpec, TmuxError, Typed, World};
use crate::base::name::{PaneId, SessionName};
use crate::base::quote::shell_word;

/// Between the fields of a look: printable, because newer tmux escapes control bytes.
const FIELD: &str = ":|:";
/// Begins the line before each captured screen.
const SCREEN: &str = "ao-screen:";

/// Several tmux commands run in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List(Vec<Vec<String>>);

impl List {
    pub(crate) fn of(words: &[&str]) -> Self {
        Self::default().then(words)
    }

    #[must_use]
    pub(crate) fn then(mut self, words: &[&str]) -> Self {
        self.0.push(words.iter().map(|&word| word.to_owned()).collect());
        self
    }

    #[must_use]
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// As arguments of the `tmux` program.
    pub(crate) fn argv(&self) -> Vec<String> {
        let mut argv = Vec::new();
        for command in &self.0 {
            if !argv.is_empty() {
                argv.push(";".to_owned());
            }
            argv.extend(command.iter().map(|word| match word.strip_suffix(';') {
                Some(rest) => format!("{rest}\\;"),
                None => word.clone(),
            }));
        }
        argv
    }

    /// As one line of tmux's command language.
    pub(crate) fn line(&self) -> String {
        let command =
            |words: &Vec<String>| words.iter().map(|text| word(text)).collect::<Vec<_>>().join(" ");
        self.0.iter().map(command).collect::<Vec<_>>().join(" ; ")
    }
}

/// The text as one word of tmux's command language.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    if !text.chars().any(|c| c.is_control() || c == '\'') {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' | '$' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.extend(format!("\\{:03o}", u32::from(c)).chars()),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A value that tmux takes for a format, made to mean itself.
///
/// `#` is doubled, except where a run of them stands before `[`: tmux keeps such a run as it is.
fn literal(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('#') {
        out.push_str(&rest[..at]);
        let after = rest[at..].trim_start_matches('#');
        let run = &rest[at..rest.len() - after.len()];
        out.push_str(run);
        if !after.starts_with('[') {
            out.push_str(run);
        }
        rest = after;
    }
    out + rest
}

/// A session as the target of a pane or option command: exactly this name, its active pane.
fn exact(session: &SessionName) -> String {
    format!("={session}:")
}

fn text_of(path: &Path) -> Result<&str, TmuxError> {
    path.to_str().ok_or_else(|| TmuxError::Refused {
        command: "path".to_owned(),
        message: format!("`{}` is not UTF-8, which tmux needs", path.display()),
    })
}

// ── look ────────────────────────────────────────────────────────────────────────────────────────

/// Who answers, without a session needed.
const SERVER_FORMAT: &str = "#{pid}:|:#{start_time}";

/// Free texts last, the title very last: only they may hold the separator.
const PANE_FORMAT: &str = concat!(
    "#{pane_id}:|:#{pane_pid}:|:#{pane_dead}:|:#{pane_dead_status}:|:#{pane_dead_signal}:|:",
    "#{window_activity}:|:#{history_size}:|:#{alternate_on}:|:#{pane_in_mode}:|:#{pane_pipe}:|:",
    "#{session_attached}:|:#{session_activity}:|:#{pane_width}:|:#{pane_height}:|:#{session_name}:|:#{@ao_tag}:|:",
    "#{pane_current_command}:|:#{pane_title}"
);

pub(crate) fn look() -> List {
    List::of(&["display-message", "-p", SERVER_FORMAT]).then(&[
        "list-panes",
        "-a",
        "-F",
        PANE_FORMAT,
    ])
}

/// Reads the answer to [`look`]; a line that is none of ours to understand is left out.
pub(crate) fn read_look(answer: &str) -> Option<World> {
    let mut lines = answer.lines();
    let (pid, started) = lines.next()?.split_once(FIELD)?;
    let server = ServerId { pid: pid.parse().ok()?, started: started.parse().ok()? };
    Some(World::new(server, lines.filter_map(read_pane).collect()))
}

fn read_pane(line: &str) -> Option<PaneFacts> {
    let fields: Vec<&str> = line.splitn(18, FIELD).collect();
    let field = |index: usize| fields.get(index).copied();
    let yes = |index: usize| field(index).is_some_and(|text| !matches!(text, "" | "0"));
    let (title, command) = (field(17)?, field(16)?);
    Some(PaneFacts {
        pane: PaneId::new(field(0)?),
        pid: field(1)?.parse().ok()?,
        dead: yes(2),
        exit_status: field(3)?.parse().ok(),
        exit_signal: signal(field(4)?),
        activity: field(5)?.parse().unwrap_or(0),
        history_size: field(6)?.parse().unwrap_or(0),
        alternate_screen: yes(7),
        in_mode: yes(8),
        piped: yes(9),
        attached: field(10)?.parse().unwrap_or(0),
        person_at: field(11)?.parse().unwrap_or(0),
        width: field(12)?.parse().ok()?,
        height: field(13)?.parse().ok()?,
        session: field(14)?.to_owned(),
        tag: field(15)?.to_owned(),
        command: command.to_owned(),
        title: title.to_owned(),
    })
}

/// tmux gives the number, or the name where the system knows names (`15`, `TERM`).
fn signal(text: &str) -> Option<i32> {
    const NAMES: [(&str, i32); 10] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("ABRT", 6),
        ("FPE", 8),
        ("KILL", 9),
        ("SEGV", 11),
        ("PIPE", 13),
        ("TERM", 15),
    ];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    text.parse().ok().or_else(|| {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, number)| number)
    })
}

// ── open, close, pipe ───────────────────────────────────────────────────────────────────────────

/// The script a pane begins with: the folder, then exactly the given environment and program.
///
/// It comes from a file because tmux takes at most 16 kB of arguments and keeps them for all to see.
pub(crate) fn launch_script(spec: &SessionSpec) -> Result<String, TmuxError> {
    let dir = text_of(&spec.dir)?;
    let mut words = vec!["exec".to_owned(), "/usr/bin/env".to_owned(), "-i".to_owned()];
    words.extend(spec.env.iter().map(|(name, value)| shell_word(&format!("{name}={value}"))));
    words
        .extend(["TMUX=\"$TMUX\"", "TMUX_PANE=\"$TMUX_PANE\"", "TERM=\"$TERM\""].map(String::from));
    if spec.argv.first().is_some_and(|program| program.contains('=') || program.starts_with('-')) {
        // `env` would take such a program for an assignment or an option.
        words.extend(["/bin/sh", "-c", "'exec \"$@\"'", "sh"].map(String::from));
    }
    words.extend(spec.argv.iter().map(|argument| shell_word(argument)));
    Ok(format!("cd -- {} || exit 78\n{}\n", shell_word(dir), words.join(" ")))
}

/// Opens a session whose pane runs the script; in one list, or an instant exit would be lost.
pub(crate) fn open(spec: &SessionSpec, script: &Path) -> Result<List, TmuxError> {
    let name = spec.session.as_str();
    let target = exact(&spec.session);
    let dir = literal(text_of(&spec.dir)?);
    let script = text_of(script)?;
    let (width, height) = (spec.width.to_string(), spec.height.to_string());
    // Each option that is set has the server go through all its sessions: most are as they should be.
    let unset = |flag: &str, scope: &[&str]| {
        let words = [&["set-option"], scope, &["-t", &target, flag, "off"]].concat();
        let on = format!("#{{{flag}}}");
        List::of(&["if-shell", "-F", "-t", &target, &on, &List::of(&words).line()])
    };
    let list = List::of(&[
        "new-session",
        "-d",
        "-P",
        "-F",
        "#{pane_id}",
        "-s",
        name,
        "-n",
        name,
        "-x",
        &width,
        "-y",
        &height,
        "-c",
        &dir,
        "--",
        "/bin/sh",
        script,
    ])
    .then(&["set-option", "-p", "-t", &target, "remain-on-exit", "on"])
    .and(unset("destroy-unattached", &[]))
    .and(unset("automatic-rename", &["-w"]))
    .and(unset("allow-rename", &["-w"]))
    .then(&["set-option", "-t", &target, "@ao_tag", &spec.tag]);
    Ok(match &spec.log {
        Some(log) => list.and(pipe(&target, log)?),
        None => list,
    })
}

pub(crate) fn close(session: &SessionName) -> List {
    List::of(&["kill-session", "-t", &format!("={session}")])
}

pub(crate) fn pipe(target: &str, log: &Path) -> Result<List, TmuxError> {
    // The command is expanded as a format and through strftime before a shell reads it.
    let file = literal(&shell_word(text_of(log)?)).replace('%', "%%");
    Ok(List::of(&["pipe-pane", "-t", target, &format!("umask 077; exec cat >> {file}")]))
}

/// The command that runs a script from its standard input, and the script. A mark stands before each list,
/// and one is its last command: tmux drops what follows a failed command of a list, and goes on with the next list.
pub(crate) fn script(lists: &[List], key: &str) -> (List, String) {
    let say = |mark: &str| List::of(&["display-message", "-p", mark]);
    let lines = lists.iter().zip(0..).map(|(list, number)| {
        let [begin, end] = script_marks(key, number);
        format!("{}\n{}\n", say(&begin).line(), list.clone().and(say(&end)).line())
    });
    (List::of(&["source-file", "-"]), lines.collect())
}

fn script_marks(key: &str, number: usize) -> [String; 2] {
    ["begin", "end"].map(|word| format!("ao-{word}-{key}-{number}"))
}

/// What each list of [`script`] said; `None`: it was not run, or not to its end.
pub(crate) fn read_script(answer: &str, key: &str, count: usize) -> Vec<Option<String>> {
    let said = (0..count).map(|number| {
        let [begin, end] = script_marks(key, number).map(|mark| format!("{mark}\n"));
        let (_, behind) = answer.split_once(&begin)?;
        let (said, _) = behind.split_once(&end)?;
        Some(said.to_owned())
    });
    said.collect()
}

// ── capture ─────────────────────────────────────────────────────────────────────────────────────

pub(crate) fn capture(pane: &PaneId) -> List {
    let mark = format!("{SCREEN}#{{pane_id}}");
    // tmux scrolls a pane by a line to say that it is dead, and a short last word is off the screen.
    let screen = |first: &str, state: &str| {
        let act = List::of(&["display-message", "-p", "-t", pane.as_str(), &mark]).then(&[
            "capture-pane",
            "-e",
            "-p",
            "-S",
            first,
            "-t",
            pane.as_str(),
        ]);
        // With a pane that is gone, tmux expands the format for some other pane: so compare the id.
        let there = format!("#{{&&:{},{state}}}", is_pane(pane));
        List::of(&["if-shell", "-F", "-t", pane.as_str(), &there, &act.line()])
    };
    screen("-1", "#{pane_dead}").and(screen("0", "#{?pane_dead,0,1}"))
}

/// Reads the answers to [`capture`] for the panes asked about, in that order.
pub(crate) fn read_captures(panes: &[PaneId], answer: &str) -> Vec<Capture> {
    let mut captures: Vec<Capture> = Vec::new();
    let mut wanted = panes.iter().peekable();
    for line in answer.split_inclusive('\n') {
        let marked = line.trim_end().strip_prefix(SCREEN);
        // A screen may show such a line itself; only panes still to come count.
        if let Some(id) = marked
            && wanted.clone().any(|pane| pane.as_str() == id)
        {
            while wanted.next().is_some_and(|pane| pane.as_str() != id) {}
            captures.push(Capture { pane: PaneId::new(id), text: String::new() });
        } else if let Some(capture) = captures.last_mut() {
            capture.text.push_str(line);
        }
    }
    captures
}

// ── guarded acts ────────────────────────────────────────────────────────────────────────────────

/// True if the target is the pane itself: for one that is gone tmux expands formats of another.
///
/// Compared by number, because a `%` in a format may be taken for a date.
fn is_pane(pane: &PaneId) -> String {
    format!("#{{==:#{{s/^.//:pane_id}},{}}}", pane.as_str().trim_start_matches('%'))
}

/// Runs the act if the pane can take it, and says `ok`, or `dead`, `mode`, `gone` or `hidden`.
///
/// One condition decides on both the act and the answer: were they to disagree, a text that was
/// typed would be reported as not sent and typed again.
fn guarded(pane: &PaneId, shows: Option<&str>, act: &List, otherwise: &List) -> List {
    let there = is_pane(pane);
    let live = format!("#{{&&:{there},#{{?pane_dead,0,#{{?pane_in_mode,0,1}}}}}}");
    let ok = match shows {
        Some(text) => format!("#{{&&:{live},#{{!=:#{{C:{text}}},0}}}}"),
        None => live,
    };
    let why = format!("#{{?{there},#{{?pane_dead,dead,#{{?pane_in_mode,mode,hidden}}}},gone}}");
    let done = List::of(&["display-message", "-p", "ok"]).and(act.clone());
    let refused =
        List::of(&["display-message", "-p", "-t", pane.as_str(), &why]).and(otherwise.clone());
    List::of(&["if-shell", "-F", "-t", pane.as_str(), &ok, &done.line(), &refused.line()])
}

/// Pasting into a dead pane kills the whole server in tmux before 3.4: hence the guard.
pub(crate) fn paste(pane: &PaneId, buffer: &str) -> List {
    let act = List::of(&["paste-buffer", "-p", "-d", "-b", buffer, "-t", pane.as_str()]);
    guarded(pane, None, &act, &List::of(&["delete-buffer", "-b", buffer]))
}

pub(crate) fn load(buffer: &str, file: &Path) -> Result<List, TmuxError> {
    let size = format!("#{{?#{{==:#{{buffer_name}},{buffer}}},#{{buffer_size}},}}");
    Ok(List::of(&["load-buffer", "-b", buffer, text_of(file)?]).then(&[
        "list-buffers",
        "-F",
        &size,
    ]))
}

/// The size in bytes that tmux holds of the buffer, from the answer to [`load`].
pub(crate) fn read_size(answer: &str) -> Option<usize> {
    answer.lines().find_map(|line| line.trim().parse().ok())
}

pub(crate) fn keys(pane: &PaneId, keys: &[String]) -> List {
    guarded(pane, None, &send(pane, keys), &List::default())
}

/// Keys only while the screen shows the text, of which only letters, digits and spaces may be left.
pub(crate) fn keys_if_shown(pane: &PaneId, keys: &[String], text: &str) -> List {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == ' ');
    let shows = Some(text).filter(|text| plain && !text.trim().is_empty());
    guarded(pane, shows, &send(pane, keys), &List::default())
}

fn send(pane: &PaneId, keys: &[String]) -> List {
    let mut words = vec!["send-keys", "-t", pane.as_str(), "--"];
    words.extend(keys.iter().map(String::as_str));
    List::of(&words)
}

/// Reads the answer to a guarded act.
pub(crate) fn read_verdict(answer: &str) -> Option<Typed> {
    match answer.lines().map(str::trim).find(|line| !line.is_empty())? {
        "ok" => Some(Typed::Done),
        "dead" => Some(Typed::PaneDead),
        "mode" => Some(Typed::InMode),
        "gone" => Some(Typed::Gone),
        "hidden" => Some(Typed::Hidden),
        _ => None,
    }
}

/// Anything that wakes the server lets it read the exit statuses that lie ready.
pub(crate) fn nudge() -> List {
    List::of(&["run-shell", "true"])
}

/// Every client's terminal; those in control mode have none.
pub(crate) fn terminals() -> List {
    List::of(&["list-clients", "-F", "#{?client_control_mode,,#{client_tty}}"])
}

pub(crate) fn read_terminals(answer: &str) -> Vec<std::path::PathBuf> {
    answer.lines().filter(|line| line.starts_with('/')).map(Into::into).collect()
}

// ── refusals ────────────────────────────────────────────────────────────────────────────────────

/// Whether tmux says that what we named is not there.
pub(crate) fn says_absent(message: &str) -> bool {
    ["can't find session", "can't find pane", "can't find window", "no current target"]
        .iter()
        .any(|known| message.contains(known))
}

/// Whether the message comes from a client that found no server, not from a server.
pub(crate) fn says_unreachable(message: &str) -> bool {
    [
        "no server running",
        "error connecting to",
        "lost server",
        "server exited",
        "server version is too old",
        "no sessions",
    ]
    .iter()
    .any(|known| message.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tmux_prints_is_never_read_as_a_date() {
        let pane = PaneId::new("%10");
        let enter = ["Enter".to_owned()];
        for list in [capture(&pane), keys_if_shown(&pane, &enter, "the end"), paste(&pane, "b")] {
            let line = list.line();
            // Only as a target may the id stand there: what is printed goes through strftime.
            assert_eq!(
                line.matches('%').count(),
                line.matches("-t '%10'").count()
                    + line.matches("-t '\\''%10").count()
                    + line.matches("-t %10").count()
                    + line.matches("-t \\\"%10").count(),
                "{line}"
            );
        }
    }

    #[test]
    fn of_a_script_only_what_was_run_to_its_end_counts() {
        let [first, second] = [0, 1].map(|number| script_marks("key", number));
        let run = |answer: String| read_script(&answer, "key", 3);
        let whole = format!("{}\n%1\n{}\n{}\n%2\n", first[0], first[1], second[0]);
        assert_eq!(run(whole), [Some("%1\n".to_owned()), None, None], "the second one failed");
        let behind = format!("{}\n%1\n{}\n%2\n{}\n", first[0], second[0], second[1]);
        assert_eq!(run(behind), [None, Some("%2\n".to_owned()), None], "the first one failed");
    }

    #[test]
    fn a_text_that_tmux_could_misread_is_no_condition() {
        let (pane, enter) = (PaneId::new("%1"), ["Enter".to_owned()]);
        assert_eq!(keys_if_shown(&pane, &enter, "a}b,#"), keys(&pane, &enter));
        assert!(keys_if_shown(&pane, &enter, "the end").line().contains("#{C:the end}"));
    }
}
