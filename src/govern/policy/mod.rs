//! Policies: rules that operators write, in YAML, with conditions in a part of CEL.
//!
//! [`Set::load`] checks a whole set of files once; [`Set::evaluate`] asks it about one act. A set is
//! plain data: [`Set::encode`] and [`Set::decode`] let a process that lives for milliseconds skip
//! YAML and CEL. Files, reloading and the last good set are the loader's business, not here.
//!
//! A permit opens only what trust leaves to policies, and lifts no other voice. What an agent says
//! about its own act never opens anything: in a rule that permits, each value must come from a
//! verified source or from this program.

mod case;
mod check;
pub mod evaluate;
pub mod explain;
pub mod expression;
pub mod facts;
pub mod glob;
mod index;
mod raw;
pub mod replay;
mod resolve;
pub mod rule;
mod rules;
pub mod schedule;
pub mod schema;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use case::{CaseResult, Usage, Used};
pub use evaluate::{Downgrade, Need, NeedKind, Outcome, RateView, Situation};
pub(crate) use raw::dollars as parse_dollars;
pub use rules::Rules;

use crate::config::diagnostic::Diagnostic;
use index::Index;
use resolve::{Placed, Resolver};
use rule::Rule;
use schema::Schema;

/// Longest accepted file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most rules in a set.
pub const RULES_MAX: usize = 10_000;
/// Raised when the stored form or the meaning of rules changes, so that older caches are ignored.
const FORMAT: u32 = 2;

/// A checked set of rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// Of the files it was made from; hex.
    pub digest: String,
    /// By name.
    pub rules: Rules,
    index: Index,
    /// Why it denies everything but `observe`; of a set that could not be loaded.
    closed: Option<String>,
}

/// What stands before the rules in the stored form.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    digest: Cow<'a, str>,
    closed: Option<Cow<'a, str>>,
    index: Cow<'a, Index>,
    /// Where each rule ends, in bytes from the end of this.
    ends: Vec<u32>,
}

/// Names that rules may mean. An empty list is not checked against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub agents: Vec<String>,
    /// Action types.
    pub actions: Vec<String>,
    pub projects: Vec<String>,
}

/// What is to be said about one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblems {
    pub file: String,
    pub diagnostics: Vec<Diagnostic>,
}

/// A set with what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub set: Set,
    /// Of every file with warnings.
    pub warnings: Vec<FileProblems>,
    pub cases: Vec<CaseResult>,
}

/// Stored bytes that are not a set of this version.
#[derive(Debug, thiserror::Error)]
#[error("not a compiled policy set of this version")]
pub struct NotASet;

impl Set {
    /// Checks files, given as name and text in any order. Errors: the files with their problems,
    /// failed tests among them.
    pub fn load(files: &[(&str, &str)], known: &Known) -> Result<Loaded, Vec<FileProblems>> {
        let mut files = files.to_vec();
        files.sort_unstable();
        let mut problems: Vec<Vec<Diagnostic>> = vec![Vec::new(); files.len()];
        let (rules, cases) = resolved(&files, &mut problems);
        if problems.iter().flatten().any(Diagnostic::is_error) {
            return Err(by_file(&files, problems));
        }
        for (file, warning) in check::check(&rules, known) {
            problems[file].push(warning);
        }
        let rules: Vec<Rule> = rules.into_iter().map(|(_, placed)| placed.value).collect();
        let index = Index::new(&rules);
        let set = Self { digest: digest(&files), index, rules: rules.into(), closed: None };
        let mut results = Vec::new();
        for (file, placed) in cases {
            let case = &placed.value;
            let failure = case.failure(&set);
            if let Some(failure) = &failure {
                let message = format!("the test `{}` fails", case.name);
                problems[file].push(Diagnostic::error(message).at(&placed.span, failure));
            }
            let file = files[file].0.to_owned();
            results.push(CaseResult { file, name: case.name.clone(), failure });
        }
        if problems.iter().flatten().any(Diagnostic::is_error) {
            return Err(by_file(&files, problems));
        }
        Ok(Loaded { set, warnings: by_file(&files, problems), cases: results })
    }

    /// A set without rules: trust alone decides.
    pub fn empty() -> Self {
        Self { digest: digest(&[]), rules: Rules::default(), index: Index::default(), closed: None }
    }

    /// What is in force when no set ever loaded: everything but `observe` is denied, because of `cause`.
    pub fn closed(cause: impl Into<String>) -> Self {
        Self { digest: "closed".to_owned(), closed: Some(cause.into()), ..Self::empty() }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.by_name(name)
    }

    /// As bytes to store. They carry version and checksum.
    pub fn encode(&self) -> Vec<u8> {
        let (ends, rules) = self.rules.encode();
        let head = Head {
            digest: Cow::Borrowed(&self.digest),
            closed: self.closed.as_deref().map(Cow::Borrowed),
            index: Cow::Borrowed(&self.index),
            ends,
        };
        let mut body = postcard::to_stdvec(&head).expect("plain data of ours serialises");
        body.extend(rules);
        let mut bytes = header(&body);
        bytes.extend(body);
        bytes
    }

    /// Back from [`Self::encode`]; torn bytes and those of another version are refused. Rules stay
    /// bytes until they are asked for, as an act concerns few of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotASet> {
        let length = header(&[]).len();
        let (found, body) = bytes.split_at_checked(length).ok_or(NotASet)?;
        if found != header(body) {
            return Err(NotASet);
        }
        let (head, rest) = postcard::take_from_bytes::<Head<'_>>(body).map_err(|_| NotASet)?;
        Ok(Self {
            digest: head.digest.into_owned(),
            rules: Rules::decode(&head.ends, rest).ok_or(NotASet)?,
            index: head.index.into_owned(),
            closed: head.closed.map(Cow::into_owned),
        })
    }
}

fn header(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"ao-policy".to_vec();
    bytes.extend(FORMAT.to_le_bytes());
    // Two builds may lay out a rule differently without anybody thinking of the number above.
    bytes.extend(blake3::hash(crate::VERSION.as_bytes()).as_bytes());
    bytes.extend(blake3::hash(body).as_bytes());
    bytes
}

/// Names a set of files, whatever their order; hex.
pub fn digest(files: &[(&str, &str)]) -> String {
    let mut files = files.to_vec();
    files.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes());
    for (name, text) in files {
        for part in [name, text] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn by_file(files: &[(&str, &str)], problems: Vec<Vec<Diagnostic>>) -> Vec<FileProblems> {
    let pairs = files.iter().zip(problems).filter(|(_, found)| !found.is_empty());
    pairs
        .map(|((file, _), diagnostics)| FileProblems { file: (*file).to_owned(), diagnostics })
        .collect()
}

type OfFile<T> = Vec<(usize, Placed<T>)>;

/// Rules by name and tests in the order of the files, each with the place of its file.
fn resolved(
    files: &[(&str, &str)],
    problems: &mut [Vec<Diagnostic>],
) -> (OfFile<Rule>, OfFile<case::Case>) {
    let mut schema = Schema::default();
    let mut read = Vec::new();
    for (number, (_, text)) in files.iter().enumerate() {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
            problems[number].push(Diagnostic::error(message));
            continue;
        }
        match raw::read(text) {
            Ok(file) => {
                problems[number].extend(resolve::declare(&file, text, &mut schema));
                read.push((number, file));
            }
            Err(problem) => problems[number].push(problem),
        }
    }
    let mut rules: OfFile<Rule> = Vec::new();
    for (number, file) in &read {
        let source = files[*number].1;
        let mut resolver = Resolver { source, schema: &schema, problems: Vec::new() };
        for raw in &file.policies {
            rules.push((*number, resolver.rule(&raw.value)));
        }
        problems[*number].extend(resolver.problems);
    }
    rules.sort_by(|(_, left), (_, right)| left.value.name.cmp(&right.value.name));
    for pair in rules.windows(2) {
        let [(first_file, first), (second_file, second)] = pair else { continue };
        if first.value.name != second.value.name {
            continue;
        }
        let name = &first.value.name;
        let problem = Diagnostic::error(format!("there are two policies `{name}`"));
        problems[*second_file].push(if first_file == second_file {
            problem.at(&second.span, "again").at(&first.span, "first here")
        } else {
            let other = files[*first_file].0;
            problem.at(&second.span, "again").hint(format!("the other stands in `{other}`"))
        });
    }
    if rules.len() > RULES_MAX
        && let Some(first) = problems.first_mut()
    {
        first.push(Diagnostic::error(format!("the set has more than {RULES_MAX} rules")));
    }
    let names: Vec<&str> = rules.iter().map(|(_, rule)| rule.value.name.as_str()).collect();
    let mut cases = Vec::new();
    for (number, file) in &read {
        let source = files[*number].1;
        let mut resolver = Resolver { source, schema: &schema, problems: Vec::new() };
        for raw in &file.tests {
            cases.push((*number, resolver.case(&raw.value, &names)));
        }
        problems[*number].extend(resolver.problems);
    }
    (rules, cases)
}
