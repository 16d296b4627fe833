//! The table of what acts are: type → class and risk, tool → type, program and arguments → type.
//!
//! The table ships as `classes.toml`; a project's own file of the same form comes before it. How a
//! shell command is taken to its rules stands in [`super::assess`]. An unknown type is an act, never an
//! observation.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::glob;
use super::shell::Word;

const SHIPPED: &str = include_str!("classes.toml");
/// The same, read already: a hook that read the text would take longer over that than over all else.
const COMPILED: &[u8] = include_bytes!("classes.postcard");
/// Of a type that no table knows.
const UNKNOWN_RISK: u8 = 50;

/// Why a table of classes could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ClassesError {
    #[error("the table of action classes cannot be read")]
    Parse(#[source] toml::de::Error),
    #[error(
        "a {place} of the table of action classes names the type `{name}`, which no `[[type]]` has"
    )]
    UnknownType { place: &'static str, name: String },
    #[error("the type `{name}` has a risk of {risk}; the highest is 100")]
    Risk { name: String, risk: u8 },
}

/// A checked table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    exact: BTreeMap<String, (Class, u8)>,
    families: Vec<(String, Class, u8)>,
    modifiers: Vec<Modifier>,
    tools: Vec<Tool>,
    wrappers: Vec<Wrapper>,
    programs: Vec<Program>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default, rename = "type")]
    types: Vec<Type>,
    #[serde(default)]
    modifier: Vec<Modifier>,
    #[serde(default)]
    tool: Vec<Tool>,
    #[serde(default)]
    wrapper: Vec<Wrapper>,
    #[serde(default)]
    program: Vec<Program>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Type {
    names: Vec<String>,
    class: Class,
    risk: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Modifier {
    types: Vec<String>,
    resources: Vec<String>,
    add: u8,
    class: Option<Class>,
}

/// A tool of an agent CLI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    names: Vec<String>,
    /// The action type of its use.
    #[serde(rename = "type")]
    pub action_type: String,
    /// Fields of its input that may hold the resource, the first that is there.
    pub fields: Vec<String>,
    /// The resource is a patch that names its files.
    #[serde(default)]
    pub patch: bool,
}

/// A program that runs the command in its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wrapper {
    names: Vec<String>,
    #[serde(default)]
    pub(super) takes: Vec<String>,
    #[serde(default)]
    pub(super) skip: usize,
    #[serde(rename = "type")]
    pub(super) action_type: Option<String>,
    #[serde(default)]
    pub(super) opaque: Vec<String>,
    #[serde(default)]
    pub(super) more: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    names: Vec<String>,
    #[serde(default)]
    takes: Vec<String>,
    #[serde(rename = "type")]
    action_type: String,
    #[serde(default)]
    reads: bool,
    #[serde(default)]
    whole: bool,
    #[serde(default)]
    spared_by: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    when: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    programs: Vec<String>,
    #[serde(default)]
    before: bool,
    #[serde(default)]
    sql: bool,
    #[serde(rename = "type")]
    action_type: String,
    #[serde(default)]
    reads: bool,
    #[serde(default)]
    whole: bool,
}

/// What the rules say of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use<'t> {
    pub(super) action_type: &'t str,
    /// Its arguments are read, never written.
    pub(super) reads: bool,
    /// Folders among its arguments go with all that is in them.
    pub(super) whole: bool,
}

impl Table {
    /// The table that ships in the binary.
    pub fn shipped() -> &'static Self {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Table::decompiled(COMPILED).unwrap_or_else(|| {
                Table::read(SHIPPED).expect("tested: the shipped table is sound")
            })
        });
        &TABLE
    }

    /// `classes.postcard`: the shipped table behind the digest of its text.
    pub fn compiled() -> Vec<u8> {
        let table = Self::read(SHIPPED).expect("tested: the shipped table is sound");
        let table = postcard::to_stdvec(&table).expect("a table is texts and numbers");
        [&blake3::hash(SHIPPED.as_bytes()).as_bytes()[..], &table].concat()
    }

    /// `None` when it was made of another text.
    fn decompiled(bytes: &[u8]) -> Option<Self> {
        let (digest, table) = bytes.split_at_checked(blake3::OUT_LEN)?;
        (digest == blake3::hash(SHIPPED.as_bytes()).as_bytes())
            .then(|| postcard::from_bytes(table).ok())?
    }

    /// The shipped table with a project's own entries before it.
    pub fn extended(own: &str) -> Result<Self, ClassesError> {
        let mut table = Self::parsed(own)?;
        let Self { exact, families, modifiers, tools, wrappers, programs } =
            Self::shipped().clone();
        for (name, found) in exact {
            table.exact.entry(name).or_insert(found);
        }
        table.families.extend(families);
        table.modifiers.extend(modifiers);
        table.tools.extend(tools);
        table.wrappers.extend(wrappers);
        table.programs.extend(programs);
        table.check()?;
        Ok(table)
    }

    fn read(text: &str) -> Result<Self, ClassesError> {
        let table = Self::parsed(text)?;
        table.check()?;
        Ok(table)
    }

    fn parsed(text: &str) -> Result<Self, ClassesError> {
        let mut table = Self::default();
        let raw: Raw = toml::from_str(text).map_err(ClassesError::Parse)?;
        for kind in raw.types {
            for name in kind.names {
                if kind.risk > 100 {
                    return Err(ClassesError::Risk { name, risk: kind.risk });
                }
                if name.contains('*') {
                    table.families.push((name, kind.class, kind.risk));
                } else {
                    table.exact.entry(name).or_insert((kind.class, kind.risk));
                }
            }
        }
        table.modifiers = raw.modifier;
        table.tools = raw.tool;
        table.wrappers = raw.wrapper;
        table.programs = raw.program;
        Ok(table)
    }

    fn check(&self) -> Result<(), ClassesError> {
        let rules = self.programs.iter().flat_map(|program| &program.rules);
        let named = self
            .tools
            .iter()
            .map(|tool| ("tool", &tool.action_type))
            .chain(self.programs.iter().map(|program| ("program", &program.action_type)))
            .chain(rules.map(|rule| ("rule", &rule.action_type)))
            .chain(self.wrappers.iter().filter_map(|wrapper| {
                wrapper.action_type.as_ref().map(|action_type| ("wrapper", action_type))
            }));
        for (place, name) in named {
            if !self.exact.contains_key(name) {
                return Err(ClassesError::UnknownType { place, name: name.clone() });
            }
        }
        Ok(())
    }

    /// Class and risk of a type by itself, before its resource is looked at.
    pub fn class_of(&self, action_type: &str) -> (Class, u8) {
        if let Some(found) = self.exact.get(action_type) {
            return *found;
        }
        let family = self.families.iter().find(|(name, ..)| glob::matches(name, action_type));
        family.map_or((Class::Act, UNKNOWN_RISK), |(_, class, risk)| (*class, *risk))
    }

    /// Class and risk of doing the act to the resource.
    pub fn weigh(&self, action_type: &str, resource: &str) -> (Class, u8) {
        let (mut class, mut risk) = self.class_of(action_type);
        for modifier in &self.modifiers {
            if glob::any(&modifier.types, action_type) && on_resource(&modifier.resources, resource)
            {
                risk = risk.saturating_add(modifier.add).min(100);
                class = modifier.class.map_or(class, |lifted| lifted.max(class));
            }
        }
        (class, risk)
    }

    /// What a CLI's tool is; `None` when it is not in the table.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| glob::any(&tool.names, name))
    }

    pub(super) fn wrapper(&self, program: &str, next: Option<&str>) -> Option<(&Wrapper, usize)> {
        self.wrappers.iter().find_map(|wrapper| {
            let words = wrapper.names.iter().find_map(|name| match name.split_once(' ') {
                Some((first, second)) => {
                    (first == program && Some(second) == next).then_some(2_usize)
                }
                None => (name == program).then_some(1),
            })?;
            Some((wrapper, words))
        })
    }

    /// What running the program with these arguments is; `None` when it is not in the table.
    pub(super) fn usage(&self, name: &str, arguments: &[Word]) -> Option<Use<'_>> {
        let program = self.programs.iter().find(|program| glob::any(&program.names, name))?;
        let words = program.positional(arguments);
        let mut base =
            Use { action_type: &program.action_type, reads: program.reads, whole: program.whole };
        let mut length = 0;
        let mut raised: Option<Use<'_>> = None;
        let here =
            |rule: &&Rule| rule.programs.is_empty() || rule.programs.iter().any(|own| own == name);
        for rule in program.rules.iter().filter(here) {
            let this = Use { action_type: &rule.action_type, reads: rule.reads, whole: rule.whole };
            let fits = rule.when.iter().filter_map(|when| fit(when, &words)).max();
            if !rule.when.is_empty() && fits.is_none() {
                continue;
            }
            if !rule.any.is_empty() {
                let counted =
                    if rule.before { &arguments[..program.head(arguments)] } else { arguments };
                if rule.any.iter().any(|wanted| counted.iter().any(|word| given(wanted, word))) {
                    raised = Some(raised.map_or(this, |before| self.worse(before, this)));
                }
            } else if rule.sql {
                if only_reads(arguments) {
                    base = this;
                }
            } else if fits.is_some_and(|fits| fits > length) {
                (base, length) = (this, fits.unwrap_or_default());
            }
        }
        // `git $X` may be any of them.
        let unknown_verb = words.first().is_some_and(|word| !word.known())
            && program.rules.iter().any(|rule| !rule.when.is_empty() && rule.when != ["*"]);
        if unknown_verb {
            for rule in program.rules.iter().filter(here) {
                let this = Use { action_type: &rule.action_type, reads: false, whole: false };
                base = self.worse(base, this);
            }
        }
        let mut found = raised.map_or(base, |raised| self.worse(base, raised));
        let spared = arguments.iter().any(|word| program.spared_by.contains(&word.text));
        found.whole &= !spared;
        Some(found)
    }

    fn worse<'t>(&self, one: Use<'t>, other: Use<'t>) -> Use<'t> {
        let worst = if self.class_of(one.action_type) >= self.class_of(other.action_type) {
            one
        } else {
            other
        };
        Use { reads: one.reads && other.reads, whole: one.whole || other.whole, ..worst }
    }
}

impl Program {
    /// Words that are neither options nor their values.
    fn positional<'a>(&self, arguments: &'a [Word]) -> Vec<&'a Word> {
        let mut words = Vec::new();
        let mut skip = false;
        for word in arguments {
            if std::mem::take(&mut skip) {
                continue;
            }
            if word.text.starts_with('-') && word.text.len() > 1 {
                skip = self.takes.contains(&word.text);
            } else {
                words.push(word);
            }
        }
        words
    }

    /// How many arguments stand before the first word.
    fn head(&self, arguments: &[Word]) -> usize {
        let mut at = 0;
        while let Some(word) = arguments.get(at).filter(|word| word.may_be_option()) {
            at += if self.takes.contains(&word.text) { 2 } else { 1 };
        }
        at.min(arguments.len())
    }
}

/// How many words of `when` the command begins with, when it begins with all.
fn fit(when: &str, words: &[&Word]) -> Option<usize> {
    let wanted: Vec<&str> = when.split(' ').collect();
    let all = wanted.len() <= words.len()
        && wanted.iter().zip(words).all(|(wanted, word)| {
            *wanted == "*" || (word.known() && glob::matches(wanted, &word.text))
        });
    all.then_some(wanted.len())
}

/// Whether an argument is, or may be, the wanted one.
fn given(wanted: &str, word: &Word) -> bool {
    let option = wanted.starts_with('-');
    if option && !word.known() && word.may_be_option() && word.text.starts_with(super::shell::HOLE)
    {
        return true;
    }
    let text = word.text.as_str();
    if !option {
        return glob::matches(wanted, text);
    }
    if wanted.starts_with("--") {
        // Programs take unambiguous beginnings of long options.
        let name = text.split('=').next().unwrap_or_default();
        return name.len() > 3 && name.starts_with("--") && wanted.starts_with(name);
    }
    let mut letters = wanted.chars().skip(1);
    match (letters.next(), letters.next()) {
        (Some(letter), None) => {
            text.starts_with('-') && !text.starts_with("--") && text.contains(letter)
        }
        _ => {
            text == wanted || text.split('=').next() == Some(wanted) || glob::matches(wanted, text)
        }
    }
}

/// Whether each statement among the arguments only reads, and there is one.
fn only_reads(arguments: &[Word]) -> bool {
    const READS: [&str; 9] =
        ["select", "show", "explain", "pragma", "describe", "\\d", ".schema", ".tables", "with"];
    const WRITES: [&str; 18] = [
        "insert",
        "update",
        "delete",
        "drop",
        "alter",
        "create",
        "truncate",
        "into",
        "copy",
        "grant",
        "revoke",
        "attach",
        "replace",
        "call",
        "exec",
        "vacuum",
        "set",
        "lo_export",
    ];
    let statements: Vec<String> = arguments
        .iter()
        .filter(|word| word.text.contains([' ', '\n']) || word.text.starts_with(['\\', '.']))
        .map(|word| word.text.to_lowercase())
        .collect();
    let known = arguments.iter().all(Word::known);
    let from_file = arguments.iter().any(|word| given("-f", word) || given("--file", word));
    known
        && !from_file
        && !statements.is_empty()
        && statements.iter().all(|statement| {
            let reads = READS.iter().any(|word| statement.trim_start().starts_with(word));
            let words = statement.split(|c: char| !c.is_alphanumeric() && c != '_');
            reads && !words.into_iter().any(|word| WRITES.contains(&word))
        })
}

/// A relative path is held against `**/…` too.
fn on_resource(patterns: &[String], resource: &str) -> bool {
    if glob::any(patterns, resource) {
        return true;
    }
    !resource.starts_with('/') && glob::any(patterns, &format!("/{resource}"))
}

/// Risk in words, for people and the wire.
pub fn risk_band(risk: u8) -> &'static str {
    match risk {
        0..40 => "low",
        40..70 => "medium",
        70..90 => "high",
        90.. => "critical",
    }
}

/// From here on an act counts as high-risk.
pub const HIGH_RISK: u8 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_sound_and_names_nothing_twice() {
        let table = Table::read(SHIPPED).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for name in table.programs.iter().flat_map(|program| &program.names) {
            assert!(seen.insert(name.clone()), "the program `{name}` stands twice");
        }
        let mut seen = std::collections::BTreeSet::new();
        for name in table.tools.iter().flat_map(|tool| &tool.names) {
            assert!(seen.insert(name.clone()), "the tool `{name}` stands twice");
        }
    }

    #[test]
    fn the_compiled_table_is_that_of_the_text() {
        let table = Table::decompiled(COMPILED);
        assert_eq!(table, Some(Table::read(SHIPPED).unwrap()), "AO_BLESS=1 makes it anew");
        assert_eq!(Table::decompiled(&COMPILED[1..]), None);
        assert_eq!(Table::decompiled(&COMPILED[..9]), None);
    }

    #[test]
    fn an_unknown_type_is_an_act() {
        let table = Table::shipped();
        for (name, class) in [
            ("file.read", Class::Observe),
            ("crm.read", Class::Observe),
            ("crm.frobnicate", Class::Act),
            ("read", Class::Act),
            ("", Class::Act),
            ("deploy.canary", Class::Across),
            ("trust.raise", Class::System),
        ] {
            assert_eq!(table.class_of(name).0, class, "{name}");
        }
    }

    #[test]
    fn a_project_may_name_types_and_tools_of_its_own() {
        let own = "
            [[type]]
            names = [\"crm.frobnicate\", \"file.read\"]
            class = \"across\"
            risk = 80
            [[tool]]
            names = [\"mcp__crm__*\"]
            type = \"crm.frobnicate\"
            fields = [\"customer\"]
        ";
        let table = Table::extended(own).unwrap();
        assert_eq!(table.class_of("crm.frobnicate"), (Class::Across, 80));
        assert_eq!(table.class_of("file.read"), (Class::Across, 80));
        assert_eq!(table.tool("mcp__crm__merge").unwrap().action_type, "crm.frobnicate");
        assert_eq!(table.tool("mcp__other").unwrap().action_type, "mcp.call");
    }

    #[test]
    fn a_broken_table_says_what_is_wrong() {
        let unknown = "[[tool]]\nnames = [\"X\"]\ntype = \"no.such\"\nfields = []";
        assert!(Table::extended(unknown).unwrap_err().to_string().contains("`no.such`"));
        let risk = "[[type]]\nnames = [\"x\"]\nclass = \"act\"\nrisk = 101";
        assert!(Table::extended(risk).unwrap_err().to_string().contains("101"));
        assert!(Table::extended("[[typo]]").is_err());
    }

    #[test]
    fn risk_has_four_bands() {
        let bands: Vec<&str> = [0, 39, 40, 69, 70, 89, 90, 100].map(risk_band).to_vec();
        assert_eq!(
            bands,
            ["low", "low", "medium", "medium", "high", "high", "critical", "critical"]
        );
    }
}
