//! What an [`Ask`] amounts to: one act, or for a shell command one for each part of it.
//!
//! A compound is as dangerous as its most dangerous part. What cannot be taken apart (a program held in
//! a variable, code from the network, an unreadable script) counts as reaching across projects, and as
//! class `system` when it names a bounding file. What a program does inside cannot be seen here: that
//! bounding files changed by a script have no effect until accepted is somebody else's care.

use std::path::{Path, PathBuf};

use super::action::Ask;
use super::bounds::Bounds;
use super::class::Class;
use super::classes::{Table, Use};
use super::shell::{self, Command, HOLE, Input, Word};

/// Action types whose resource is a shell script.
const SCRIPT_TYPES: [&str; 4] = ["shell.run", "shell.exec", "command.run", "process.start"];
/// Scripts inside scripts (`bash -c`, here-documents) that are followed.
const NESTING_MAX: usize = 5;
/// Bytes of scripts that are read for one ask, those inside others included.
const READ_BYTES_MAX: usize = 2 * shell::SCRIPT_BYTES_MAX;
/// Most parts that are told apart; the rest is one unknown part.
const ACTS_MAX: usize = 64;

const SHELLS: [&str; 9] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "rbash", "mksh"];
/// Variables that put other code in a program's place.
const LOADERS: [&str; 22] = [
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "DYLD_INSERT_LIBRARIES",
    "BASH_ENV",
    "ENV",
    "PROMPT_COMMAND",
    "PS4",
    "IFS",
    "SHELLOPTS",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "NODE_OPTIONS",
    "PERL5OPT",
    "RUBYOPT",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_PAGER",
    "PAGER",
    "RUSTC_WRAPPER",
];
/// Where programs of the system lie; one elsewhere may be anything of that name.
const PROGRAM_FOLDERS: [&str; 8] = [
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/opt/homebrew/bin/",
    "/run/current-system/sw/bin/",
    "/nix/store/",
];

/// One part of what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub action_type: String,
    /// A file's absolute path where it could be found out; else what was written.
    pub resource: String,
    pub class: Class,
    /// 0 to 100.
    pub risk: u8,
}

/// All parts, the most dangerous first; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    acts: Vec<Act>,
}

impl Assessment {
    /// The most dangerous part.
    pub fn worst(&self) -> &Act {
        self.acts.first().expect("made with at least one act")
    }

    /// Most dangerous first.
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }

    pub fn class(&self) -> Class {
        self.worst().class
    }

    pub fn risk(&self) -> u8 {
        self.acts.iter().map(|act| act.risk).max().unwrap_or(100)
    }
}

/// Takes an ask apart.
pub fn assess(table: &Table, bounds: &Bounds, ask: &Ask) -> Assessment {
    let folder = ask.context.get("cwd").and_then(|cwd| cwd.as_str()).map(PathBuf::from);
    let mut assessor = Assessor { table, bounds, folder, acts: Vec::new(), read_bytes: 0 };
    if SCRIPT_TYPES.contains(&ask.action_type.as_str()) {
        assessor.script(&ask.resource, 0);
        if assessor.acts.is_empty() {
            assessor.act("tool.read", ask.resource.clone());
        }
    } else {
        let listed = ask.context.get("paths").and_then(|paths| paths.as_array());
        let mut resources = vec![ask.resource.as_str()];
        if ask.action_type.starts_with("file.") {
            resources.extend(listed.into_iter().flatten().filter_map(|path| path.as_str()));
        }
        for resource in resources.into_iter().take(ACTS_MAX) {
            assessor.single(&ask.action_type, resource);
        }
    }
    let mut acts = assessor.acts;
    acts.sort_by(|one, other| {
        (other.class, other.risk).cmp(&(one.class, one.risk)).then_with(|| {
            (&one.action_type, &one.resource).cmp(&(&other.action_type, &other.resource))
        })
    });
    acts.dedup();
    Assessment { acts }
}

struct Assessor<'a> {
    table: &'a Table,
    bounds: &'a Bounds,
    /// `None` once the script may have gone elsewhere.
    folder: Option<PathBuf>,
    acts: Vec<Act>,
    read_bytes: usize,
}

impl Assessor<'_> {
    fn act(&mut self, action_type: &str, resource: String) {
        let (class, risk) = self.table.weigh(action_type, &resource);
        self.push(Act { action_type: action_type.to_owned(), resource, class, risk });
    }

    fn push(&mut self, act: Act) {
        if self.acts.len() < ACTS_MAX {
            self.acts.push(act);
        } else if let Some(last) =
            self.acts.last_mut().filter(|last| (last.class, last.risk) < (act.class, act.risk))
        {
            // Never drop the worse one.
            *last = act;
        }
    }

    /// One act of a tool or a caller of the API.
    fn single(&mut self, action_type: &str, resource: &str) {
        if !action_type.starts_with("file.") {
            self.act(action_type, resource.to_owned());
            return;
        }
        let word = Word {
            text: resource.to_owned(),
            glob: resource.contains(['*', '?']),
            ..Word::default()
        };
        let reads = self.table.class_of(action_type).0 == Class::Observe;
        self.file(action_type, &word, reads, false);
    }

    fn file(&mut self, action_type: &str, word: &Word, reads: bool, whole: bool) {
        let folder = self.folder.clone();
        let folder = folder.as_deref();
        let path = self.bounds.resolved(folder, &word.text).filter(|_| word.known());
        let resource = path.map_or_else(|| word.shown(), |path| path.display().to_string());
        if !reads && self.bounds.touches(folder, word, whole) {
            self.act("bounds.change", resource.clone());
        }
        if reads && self.bounds.reveals(folder, word) {
            self.act("bounds.change", resource.clone());
        }
        let (mut class, mut risk) = self.table.weigh(action_type, &resource);
        if !reads && self.bounds.outside(folder, word) {
            class = class.max(Class::Across);
            risk = risk.saturating_add(20).min(100);
        }
        self.push(Act { action_type: action_type.to_owned(), resource, class, risk });
    }

    /// What nobody can look into, unless its text names a bounding file.
    fn opaque(&mut self, action_type: &str, text: &str) {
        if self.bounds.mentioned(text) {
            self.act("bounds.change", shown(text));
        }
        self.act(action_type, shown(text));
    }

    fn script(&mut self, source: &str, depth: usize) {
        self.read_bytes += source.len();
        // The same here-document may be handed to hundreds of shells.
        if depth > NESTING_MAX || self.read_bytes > READ_BYTES_MAX {
            self.opaque("shell.opaque", source);
            return;
        }
        let script = shell::read(source);
        if script.broken {
            self.opaque("shell.opaque", source);
        }
        let moves = |command: &Command| {
            let name = command.words.first().map(|word| word.text.as_str());
            matches!(name, Some("cd" | "pushd" | "popd" | "chdir"))
        };
        if script.commands.iter().any(moves) {
            self.folder = None;
        }
        let before = self.acts.len();
        for command in &script.commands {
            self.command(command, depth);
        }
        for redirect in &script.redirects {
            let text = redirect.target.text.as_str();
            if ["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/stdin"].contains(&text)
            {
                continue;
            }
            if text.starts_with("/dev/tcp/") || text.starts_with("/dev/udp/") {
                self.act("http.write", text.to_owned());
                continue;
            }
            let action_type = if redirect.writes { "file.write" } else { "file.read" };
            self.file(action_type, &redirect.target, !redirect.writes, false);
        }
        // A function that takes a known program's name makes every later use of it unknown.
        let shadows = |name: &String| {
            SHELLS.contains(&name.as_str())
                || self.table.usage(name, &[]).is_some()
                || self.table.wrapper(name, None).is_some()
        };
        if script.functions.iter().any(shadows) {
            self.opaque("shell.opaque", source);
        }
        let saves = script.redirects.iter().any(|redirect| redirect.writes);
        self.remote_code(&script.commands, saves, source);
        // A script that writes somewhere unknown and names a bounding file is not believed.
        let unknown_write = self.acts[before.min(self.acts.len())..]
            .iter()
            .any(|act| act.class >= Class::Act && act.resource.contains('…'));
        if unknown_write && self.bounds.mentioned(source) {
            self.act("bounds.change", shown(source));
        }
    }

    /// `curl … | sh` and its kin: something is fetched, and an interpreter reads what nobody has seen.
    fn remote_code(&mut self, commands: &[Command], saves: bool, source: &str) {
        let saves = saves || self.acts.iter().any(|act| act.action_type == "http.save");
        let fetches = self.acts.iter().any(|act| act.action_type.starts_with("http."));
        let interprets = commands.iter().any(|command| {
            let Some((name, arguments)) = command.words.split_first() else { return false };
            let (path, name) = (name.text.as_str(), base_name(&name.text));
            let runs = path.contains('/')
                || SHELLS.contains(&name)
                || ["eval", "source", ".", "sudo", "xargs", "env"].contains(&name)
                || self.table.usage(name, &[]).is_some_and(|used| used.action_type == "shell.run");
            let unseen = matches!(command.input, Input::Pipe(_))
                || arguments.iter().any(|word| !word.known());
            // What was kept first is run as a file.
            let kept = saves && (path.contains('/') || !arguments.is_empty());
            runs && (unseen || kept)
        });
        if fetches && interprets {
            self.act("shell.remote_code", shown(source));
        }
    }

    fn command(&mut self, command: &Command, depth: usize) {
        if command.environment.iter().any(|name| LOADERS.contains(&name.as_str())) {
            self.opaque("shell.opaque", &joined(&command.words));
        }
        self.words(&command.words, &command.input, depth);
    }

    fn words(&mut self, words: &[Word], input: &Input, depth: usize) {
        let Some((program, arguments)) = words.split_first() else {
            return;
        };
        if depth > NESTING_MAX || !program.known() || program.glob || program.text.is_empty() {
            self.opaque("shell.opaque", &joined(words));
            return;
        }
        let path = program.text.as_str();
        let name = base_name(path);
        if path.contains('/') && !PROGRAM_FOLDERS.iter().any(|folder| path.starts_with(folder)) {
            // A script of the project, whatever it is called.
            self.opaque("shell.run", &joined(words));
            self.bounds_among(arguments, false);
            return;
        }
        if SHELLS.contains(&name) {
            self.shell(words, arguments, input, depth);
            return;
        }
        match name {
            "eval" => {
                if arguments.iter().all(Word::known) {
                    let text: Vec<&str> = arguments.iter().map(|word| word.text.as_str()).collect();
                    self.script(&text.join(" "), depth + 1);
                } else {
                    self.opaque("shell.opaque", &joined(words));
                }
                return;
            }
            "trap" => {
                match arguments.iter().find(|word| !word.text.starts_with('-')) {
                    Some(action) if action.known() => self.script(&action.text, depth + 1),
                    Some(_) => self.opaque("shell.opaque", &joined(words)),
                    None => {}
                }
                return;
            }
            "watch" | "entr" => {
                let at = arguments.iter().position(|word| !word.text.starts_with('-'));
                let rest = &arguments[at.unwrap_or(arguments.len())..];
                let text: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
                if rest.iter().all(Word::known) {
                    self.script(&text.join(" "), depth + 1);
                } else {
                    self.opaque("shell.opaque", &joined(words));
                }
                return;
            }
            "find" => self.find(arguments, depth),
            _ => {}
        }
        let next = arguments.first().map(|word| word.text.as_str());
        if let Some((wrapper, taken)) = self.table.wrapper(name, next) {
            let own = wrapper.action_type.clone();
            let more = wrapper.more;
            let hidden = arguments.iter().any(|word| wrapper.opaque.contains(&word.text));
            let rest = Self::unwrapped(words, taken, &wrapper.takes.clone(), wrapper.skip);
            if let Some(own) = own {
                self.act(&own, joined(words));
            }
            match rest {
                _ if hidden => self.opaque("shell.opaque", &joined(words)),
                Rest::Command(mut rest) => {
                    if more {
                        rest.push(Word { text: HOLE.to_string(), glob: false, tame: true });
                    }
                    self.words(&rest, input, depth + 1);
                }
                Rest::Sets => self.opaque("shell.opaque", &joined(words)),
                Rest::Nothing => self.act("tool.read", joined(words)),
            }
            return;
        }
        self.program(name, words, arguments, input);
    }

    /// The command inside a wrapper's arguments.
    fn unwrapped(words: &[Word], first: usize, takes: &[String], skip: usize) -> Rest {
        let mut at = first;
        let mut skip = skip;
        while let Some(word) = words.get(at) {
            if word.text == "--" {
                at += 1;
                break;
            }
            if word.text.starts_with('-') && word.text.len() > 1 {
                at += if takes.contains(&word.text) { 2 } else { 1 };
            } else if let Some((name, _)) =
                word.text.split_once('=').filter(|(name, _)| is_name(name))
            {
                if LOADERS.contains(&name) {
                    return Rest::Sets;
                }
                at += 1;
            } else if skip > 0 {
                skip -= 1;
                at += 1;
            } else {
                break;
            }
        }
        match words.get(at..) {
            Some(rest) if !rest.is_empty() => Rest::Command(rest.to_vec()),
            Some(_) | None => Rest::Nothing,
        }
    }

    fn shell(&mut self, words: &[Word], arguments: &[Word], input: &Input, depth: usize) {
        let code = arguments.iter().position(|word| {
            word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains('c')
        });
        let unsure = arguments.iter().any(|word| word.may_be_option() && !word.known());
        if let Some(at) = code.filter(|_| !unsure) {
            // Options may stand between `-c` and its text.
            match arguments[at + 1..].iter().find(|word| !word.text.starts_with('-')) {
                Some(text) if text.known() => self.script(&text.text, depth + 1),
                Some(_) | None => self.opaque("shell.opaque", &joined(words)),
            }
            return;
        }
        let file = arguments.iter().find(|word| !word.text.starts_with(['-', '+']));
        match (file, input) {
            _ if unsure => self.opaque("shell.opaque", &joined(words)),
            (Some(_), _) => {
                self.opaque("shell.run", &joined(words));
                self.bounds_among(arguments, false);
            }
            (None, Input::Text(text)) => self.script(text, depth + 1),
            (None, Input::Pipe(from)) if from == "cat" => self.act("shell.run", joined(words)),
            (None, Input::None) if arguments.iter().any(|word| word.text == "--version") => {
                self.act("tool.read", joined(words));
            }
            // A shell without a script takes what is typed into it later, which nobody judges.
            (None, Input::Pipe(_) | Input::None) => self.opaque("shell.opaque", &joined(words)),
        }
    }

    fn find(&mut self, arguments: &[Word], depth: usize) {
        let runs = ["-exec", "-execdir", "-ok", "-okdir"];
        let mut at = 0;
        while let Some(start) =
            arguments[at..].iter().position(|word| runs.contains(&word.text.as_str()))
        {
            let from = at + start + 1;
            let length =
                arguments[from..].iter().position(|word| word.text == ";" || word.text == "+");
            let end = from + length.unwrap_or(arguments.len() - from);
            let inner: Vec<Word> = arguments[from..end]
                .iter()
                .map(|word| {
                    if word.text.contains("{}") {
                        Word {
                            text: word.text.replace("{}", &HOLE.to_string()),
                            glob: false,
                            tame: true,
                        }
                    } else {
                        word.clone()
                    }
                })
                .collect();
            self.words(&inner, &Input::None, depth + 1);
            at = end;
        }
    }

    fn program(&mut self, name: &str, words: &[Word], arguments: &[Word], input: &Input) {
        let Some(used) = self.table.usage(name, arguments) else {
            // A program nobody has heard of may do anything to the files it is given.
            self.opaque("shell.run", &joined(words));
            self.bounds_among(arguments, false);
            return;
        };
        let action_type = used.action_type.to_owned();
        if action_type.starts_with("file.") && action_type != "file.search" {
            self.files(name, &action_type, used, words, arguments);
            return;
        }
        let interprets = ["shell.inline_code", "shell.opaque"].contains(&action_type.as_str());
        let text = match input {
            Input::Text(text) if used.action_type == "shell.run" || interprets => {
                format!("{} {text}", joined(words))
            }
            Input::Text(_) | Input::Pipe(_) | Input::None => joined(words),
        };
        if interprets || (used.action_type == "shell.run" && text.len() > joined(words).len()) {
            let unknown = text.contains('…') || action_type == "shell.opaque";
            self.opaque(if unknown { "shell.opaque" } else { "shell.inline_code" }, &text);
        } else {
            let resource = if action_type.starts_with("http.") {
                let url = arguments.iter().find(|word| word.text.contains("://"));
                url.map_or_else(|| joined(words), Word::shown)
            } else {
                joined(words)
            };
            self.act(&action_type, resource);
        }
        let (reads, whole) = (used.reads, used.whole);
        if reads {
            for word in arguments {
                if self.bounds.reveals(self.folder.as_deref(), word) {
                    self.act("bounds.change", word.shown());
                }
            }
        } else {
            self.bounds_among(arguments, whole);
        }
    }

    /// One act for each file; copying also looks at where the copies land.
    fn files(
        &mut self,
        name: &str,
        action_type: &str,
        used: Use<'_>,
        words: &[Word],
        arguments: &[Word],
    ) {
        let (reads, whole) = (used.reads && action_type == "file.read", used.whole);
        let named: Vec<&Word> =
            arguments.iter().filter(|word| !word.text.starts_with('-')).collect();
        if named.is_empty() {
            self.act(action_type, joined(words));
        }
        let copies = ["cp", "mv", "ln", "install", "rsync"].contains(&name);
        let target = named.last().copied().filter(|_| copies && named.len() > 1);
        for (at, word) in named.iter().enumerate() {
            let is_target = target.is_some() && at + 1 == named.len();
            if copies && target.is_some() && !is_target && name != "mv" {
                // A link to a bounding file is a way around it.
                let links = name == "ln" && self.bounds.touches(self.folder.as_deref(), word, true);
                self.file(if links { "bounds.change" } else { "file.read" }, word, true, false);
                continue;
            }
            self.file(action_type, word, reads, whole && (!is_target || name == "rsync"));
            if let Some(target) = target.filter(|_| !is_target) {
                self.lands(target, word);
            }
        }
        if let Some(target) = target.filter(|_| name != "mv") {
            for word in &named[..named.len() - 1] {
                self.lands(target, word);
            }
        }
        if !reads {
            let options: Vec<Word> =
                arguments.iter().filter(|word| word.text.starts_with('-')).cloned().collect();
            self.bounds_among(&options, false);
        }
    }

    /// `cp x/agents.toml .` writes `./agents.toml`.
    fn lands(&mut self, target: &Word, source: &Word) {
        let landing = format!("{}/{}", target.text, base_name(source.text.trim_end_matches('/')));
        let word = Word { text: landing, glob: source.glob, tame: false };
        if self.bounds.touches(self.folder.as_deref(), &word, false) {
            self.act("bounds.change", word.shown());
        }
    }

    /// Bounding files among the arguments of something that may write them, values of options included.
    fn bounds_among(&mut self, arguments: &[Word], whole: bool) {
        for word in arguments {
            let mut texts = vec![word.text.as_str()];
            if let Some(rest) = word.text.strip_prefix('-') {
                texts.extend(word.text.split_once('=').map(|(_, value)| value));
                texts.extend(rest.char_indices().nth(1).map(|(at, _)| &rest[at..]));
            } else {
                // `dd of=agents.toml`, `HEAD:agents.toml`.
                texts.extend(word.text.split_once(['=', ':']).map(|(_, value)| value));
            }
            let touched = texts.into_iter().any(|text| {
                let part = Word { text: text.to_owned(), ..word.clone() };
                self.bounds.touches(self.folder.as_deref(), &part, whole)
            });
            if touched {
                self.act("bounds.change", word.shown());
            }
        }
    }
}

enum Rest {
    Command(Vec<Word>),
    /// It sets a variable that changes what programs are.
    Sets,
    Nothing,
}

fn base_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn joined(words: &[Word]) -> String {
    words.iter().map(Word::shown).collect::<Vec<_>>().join(" ")
}

fn shown(text: &str) -> String {
    text.replace(HOLE, "…")
}

#[cfg(test)]
mod tests;
