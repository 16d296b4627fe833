//! The files that bound an agent, and the folder that is its own.
//!
//! Left out: symbolic links. Paths are compared as text after `.` and `..` are resolved; whoever fills
//! [`Bounds`] gives real paths. Surprise: a shell may have changed folder before it writes, so a
//! relative path is also held against the ends of the bounding paths.

use std::path::{Component, Path, PathBuf};

use super::glob;
use super::shell::{HOLE, Word};

/// Settings of the agent CLIs that switch hooks and permissions, wherever they stand.
const HOOK_SETTINGS: [&str; 11] = [
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".codex/hooks.json",
    ".codex/config.toml",
    ".gemini/settings.json",
    ".opencode/plugin",
    ".opencode/plugins",
    ".config/opencode",
    "opencode.json",
    "opencode.jsonc",
    "claude-code/managed-settings.json",
];

/// What an act may not touch without being of class `system`, and where the agent is at home.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The agent's own project; writes elsewhere reach across. `None`: not known, nothing is elsewhere.
    pub project: Option<PathBuf>,
    /// For `~/`.
    pub home: Option<PathBuf>,
    /// Folders anybody may write, such as `/tmp`.
    pub scratch: Vec<PathBuf>,
    /// agents.toml, the policies folder, the state folder; with all beneath.
    pub protected: Vec<PathBuf>,
    /// Operator credentials: reading them is as bad as writing.
    pub secrets: Vec<PathBuf>,
}

impl Bounds {
    /// Whether writing the file could change a bound. `whole`: what lies beneath goes too, as with `rm -r`.
    pub fn touches(&self, folder: Option<&Path>, word: &Word, whole: bool) -> bool {
        let parts = self.parts(folder, &word.text);
        let settings = HOOK_SETTINGS.iter().any(|settings| {
            let settings: Vec<&str> = settings.split('/').collect();
            (0..parts.list.len()).any(|at| {
                let window = &parts.list[at..];
                let all = window.len() >= settings.len();
                // A bare star or hole names nothing.
                let named = |part: &String, name: &&str| {
                    part != "*" && part != &HOLE.to_string() && covers(part, name)
                };
                (all || (whole && at > 0))
                    && window.iter().zip(&settings).all(|(part, name)| named(part, name))
            })
        });
        settings || self.protected.iter().chain(&self.secrets).any(|path| parts.reach(path, whole))
    }

    /// Whether reading the file would give away what only the operator may hold.
    pub fn reveals(&self, folder: Option<&Path>, word: &Word) -> bool {
        let parts = self.parts(folder, &word.text);
        self.secrets.iter().any(|path| parts.reach(path, word.glob))
    }

    /// Whether a text that cannot be taken apart names a bound.
    pub fn mentioned(&self, text: &str) -> bool {
        let names = self.protected.iter().chain(&self.secrets).map(|path| {
            let names: Vec<String> = path
                .components()
                .rev()
                .take(if path.extension().is_some() { 1 } else { 2 })
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect();
            names.into_iter().rev().collect::<Vec<_>>().join("/")
        });
        names.into_iter().any(|name| !name.is_empty() && text.contains(&name))
            || HOOK_SETTINGS.iter().any(|name| text.contains(name))
    }

    /// Whether a known path lies neither in the project nor in scratch space.
    pub fn outside(&self, folder: Option<&Path>, word: &Word) -> bool {
        let Some(project) = self.project.as_deref().filter(|_| word.known()) else {
            return false;
        };
        if word.text.starts_with("/dev/") {
            return false;
        }
        self.resolved(folder, &word.text).is_some_and(|path| {
            !path.starts_with(project)
                && !self.scratch.iter().any(|scratch| path.starts_with(scratch))
        })
    }

    /// The absolute path, when it can be known; `None` for a relative one without a folder.
    pub fn resolved(&self, folder: Option<&Path>, text: &str) -> Option<PathBuf> {
        let given = match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            (None, Some(home)) if text == "~" => home.clone(),
            (Some(_) | None, _) => PathBuf::from(text),
        };
        let whole = if given.is_absolute() { given } else { folder?.join(given) };
        Some(plain(&whole))
    }

    fn parts(&self, folder: Option<&Path>, text: &str) -> Parts {
        let absolute = self.resolved(folder, text);
        let path = absolute.clone().unwrap_or_else(|| plain(Path::new(text)));
        let mut list: Vec<String> = path
            .components()
            .filter(|part| !matches!(part, Component::RootDir | Component::ParentDir))
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let mut floating = absolute.is_none();
        // What stands before a part that nobody knows says nothing about where it leads.
        if let Some(at) = list.iter().rposition(|part| part == &HOLE.to_string()) {
            let named = list[..at].iter().any(|part| !part.contains(HOLE));
            if at + 1 < list.len() || !named {
                list.drain(..=at);
                floating = true;
            } else {
                list.truncate(at + 1);
            }
        }
        Parts { list, floating }
    }
}

/// A path as names; a name may hold stars and holes.
struct Parts {
    list: Vec<String>,
    /// Where it starts is not known.
    floating: bool,
}

impl Parts {
    fn reach(&self, bound: &Path, whole: bool) -> bool {
        let bound: Vec<String> = bound
            .components()
            .filter(|part| *part != Component::RootDir)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        if self.list.is_empty() {
            return whole && !self.floating;
        }
        let begins = |bound: &[String]| {
            let same = self.list.iter().zip(bound).all(|(part, name)| {
                // A wholly unknown name counts only inside a bounding folder, else each `> "$out"` would.
                part != &HOLE.to_string() && covers(part, name)
            });
            same && (whole || self.list.len() >= bound.len())
        };
        if self.floating { (0..bound.len()).any(|at| begins(&bound[at..])) } else { begins(&bound) }
    }
}

fn covers(part: &str, name: &str) -> bool {
    if part.contains(['*', '?', '[', HOLE]) {
        // A bracket is one character of some; a hole is any text.
        let pattern = part.replace(HOLE, "*");
        match pattern.split_once('[') {
            Some((before, _)) => glob::matches(&format!("{before}*"), name),
            None => glob::matches(&pattern, name),
        }
    } else {
        // Some file systems do not tell case apart.
        part.eq_ignore_ascii_case(name)
    }
}

/// Without `.`, and with `..` taken back as far as it goes.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(part),
        }
    }
    out
}

#[cfg(test)]
pub(crate) fn sample() -> Bounds {
    Bounds {
        project: Some("/home/dev/project".into()),
        home: Some("/home/dev".into()),
        scratch: vec!["/tmp".into()],
        protected: vec![
            "/home/dev/project/agents.toml".into(),
            "/home/dev/project/policies".into(),
            "/home/dev/project/.ao/state".into(),
        ],
        secrets: vec!["/home/dev/.config/ao/operator.key".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounding_files_are_known_however_they_are_written() {
        let bounds = sample();
        let project = Path::new("/home/dev/project");
        for (folder, path, whole, expected) in [
            (Some(project), "agents.toml", false, true),
            (Some(project), "./src/../agents.toml", false, true),
            (Some(project), "AGENTS.toml", false, true),
            (Some(project), "agents.toml.md", false, false),
            (Some(project), "src/agents.toml", false, false),
            (Some(project), "policies/deploy.yaml", false, true),
            (Some(project), "policy/deploy.yaml", false, false),
            (Some(project), ".ao/state/x", false, true),
            (Some(project), "~/.claude/settings.json", false, true),
            (Some(project), "/etc/claude-code/managed-settings.json", false, true),
            (Some(project), ".claude/agents/x.md", false, false),
            (Some(project), ".claude", true, true),
            (Some(project), ".opencode/plugins/x.js", false, true),
            (Some(project), "opencode.json", false, true),
            (Some(project), ".", true, true),
            (Some(project), ".", false, false),
            (Some(project), "..", true, true),
            (Some(project), "/", true, true),
            (Some(project), "*", true, true),
            (Some(project), "*.toml", true, true),
            (Some(project), "target/*", true, false),
            (Some(project), "agents.\u{1}", false, true),
            (Some(project), "\u{1}/agents.toml", false, true),
            (Some(project), "\u{1}", false, false),
            (Some(project), "policies/\u{1}", false, true),
            (Some(project), "out/\u{1}", false, false),
            (None, "agents.toml", false, true),
            (None, "project/agents.toml", false, true),
            (None, "state/wanted.json", false, true),
            (None, "src/main.rs", false, false),
            (None, "../agents.toml", false, true),
        ] {
            let word = Word { text: path.to_owned(), glob: path.contains('*'), ..Word::default() };
            assert_eq!(bounds.touches(folder, &word, whole), expected, "{path} {whole}");
        }
    }

    #[test]
    fn a_write_beyond_the_project_is_seen() {
        let bounds = sample();
        let project = Path::new("/home/dev/project");
        for (path, expected) in [
            ("src/a", false),
            ("/tmp/a", false),
            ("/dev/null", false),
            ("../other/a", true),
            ("/etc/passwd", true),
            ("~/x", true),
        ] {
            let word = Word { text: path.to_owned(), ..Word::default() };
            assert_eq!(bounds.outside(Some(project), &word), expected, "{path}");
        }
    }
}
