//! `ao policy`: check policies, run their tests, explain one act, replay recorded acts.
//!
//! Works on the files themselves, past the cache, so that what is shown is what is written. What
//! trust and budgets add to a verdict is not here.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::audit::{Since, open, since};
use super::{Globals, load_config};
use crate::base::human;
use crate::govern::action::{Ask, Micros};
use crate::govern::attribute::{Attribute, Attributes, Source};
use crate::govern::class::Class;
use crate::govern::classes::Table;
use crate::govern::policy::evaluate::Situation;
use crate::govern::policy::explain::explain;
use crate::govern::policy::facts::Told;
use crate::govern::policy::replay::{self, Recorded};
use crate::govern::policy::{Known, Set, Usage, facts};
use crate::govern::trust::Level;
use crate::run::accepted;
use crate::run::governance::bounds::{self, project_name};
use crate::run::governance::{fleet, recorded, sources};
use crate::run::policies::{self, Checked, PoliciesError};
use crate::run::store::Store;
use crate::sys::{clock, db};
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print::{self, Tone};

/// Check policies, run their tests, explain one act, replay recorded acts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder of policy files (default: `policies/` of the project).
    #[arg(long, global = true, value_name = "DIR")]
    policies: Option<PathBuf>,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, clap::Subcommand)]
enum Step {
    /// Check every file: errors, and rules that cannot be meant.
    Check,
    /// Run the tests that stand in the files.
    Test,
    /// Show what each rule says about one act, and why.
    Explain(Box<Explain>),
    /// Judge recorded acts under another set and show the answers that change.
    Replay(Replay),
    /// Show what the sources of verified facts said last, and how old that is.
    Facts,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The act, such as file.write or deploy.run.
    #[arg(value_name = "ACTION")]
    action: String,
    /// What it is done to.
    #[arg(long, default_value = "")]
    resource: String,
    /// Who asks.
    #[arg(long, default_value = "agent")]
    agent: String,
    /// The trust in force.
    #[arg(long, default_value = "L2", value_parser = level)]
    trust: Level,
    #[arg(long, default_value = "")]
    project: String,
    /// The estimated cost, such as $0.25.
    #[arg(long, default_value = "0", value_parser = money)]
    cost: Micros,
    /// What the agent says itself: NAME=VALUE, for `context.NAME`.
    #[arg(long, value_name = "NAME=VALUE")]
    context: Vec<String>,
    /// A fact from a verified source: NAME=VALUE, the name in full.
    #[arg(long, value_name = "NAME=VALUE")]
    verified: Vec<String>,
    /// When (RFC 3339; default: now).
    #[arg(long, value_name = "ISO", value_parser = instant)]
    at: Option<DateTime<Utc>>,
    /// Show rules out of scope, too.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct Replay {
    /// The acts on record since then: `7d`, `12h`, `30m`, a date or a time.
    #[arg(long, value_name = "WHEN", value_parser = since, required_unless_present = "from", conflicts_with = "from")]
    since: Option<Since>,
    /// Recorded acts, one JSON object a line; `-` = standard input.
    #[arg(long, value_name = "FILE", requires = "against")]
    from: Option<PathBuf>,
    /// The folder with the changed policies (default: those that are written, beside those in force).
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    let (folder, known) = place(args.policies, globals)?;
    match args.step {
        Step::Check => check(&folder, &known, globals),
        Step::Test => test(&folder, &known, globals),
        Step::Explain(asked) => explain_act(&folder, &known, *asked, globals),
        Step::Replay(asked) => replay_acts(&folder, &known, &asked, globals),
        Step::Facts => show_facts(globals),
    }
}

/// With `--policies` no config is needed; then names of agents are not checked.
fn place(given: Option<PathBuf>, globals: &Globals) -> Result<(PathBuf, Known), Failure> {
    match (given, load_config(globals)) {
        (Some(folder), Err(_)) => Ok((folder, Known::default())),
        (None, Err(failure)) => {
            Err(failure.hint("or name the folder itself with `--policies DIR`"))
        }
        (given, Ok(config)) => {
            let agents = config.agents.iter().map(|agent| agent.name.as_str().to_owned());
            let known = Known { agents: agents.collect(), ..Known::default() };
            Ok((given.unwrap_or_else(|| config.governance.policies.clone()), known))
        }
    }
}

fn read(folder: &Path, known: &Known) -> Result<Checked, Failure> {
    policies::check(folder, known).map_err(|error| {
        let failure = Failure::from_error(exit::USAGE, &error);
        match error {
            PoliciesError::NoFolder { .. } => {
                failure.hint("name it with `--policies DIR`; see docs/policies.md for what goes in")
            }
            PoliciesError::Read { .. }
            | PoliciesError::NotText { .. }
            | PoliciesError::TooLarge { .. } => failure,
        }
    })
}

/// The set of a folder, or all that is wrong with it.
fn good(folder: &Path, known: &Known, globals: &Globals) -> Result<(Set, Checked), Failure> {
    let checked = read(folder, known)?;
    match checked.set.clone() {
        Some(set) => Ok((set, checked)),
        None => Err(refused(folder, &checked, globals)),
    }
}

fn refused(folder: &Path, checked: &Checked, globals: &Globals) -> Failure {
    let text = checked.render(folder, print::err_colored(globals));
    Failure::rendered(exit::USAGE, text.trim_end())
}

fn check(folder: &Path, known: &Known, globals: &Globals) -> Result<u8, Failure> {
    let (set, checked) = good(folder, known, globals)?;
    let warnings = checked.render(folder, print::err_colored(globals));
    if !warnings.is_empty() {
        print::err(warnings.trim_end());
    }
    let counts = (checked.files.len(), set.rules.len(), checked.cases.len());
    if globals.json {
        let document = json!({
            "version": 1, "digest": set.digest, "files": counts.0, "rules": counts.1,
            "tests": counts.2,
            "warnings": checked.problems.iter().map(|file| file.diagnostics.len()).sum::<usize>(),
        });
        print::out(&document.to_string());
    } else if !globals.quiet {
        print::out(&format!(
            "{}: files {}, rules {}, tests {} passed, digest {}",
            folder.display(),
            counts.0,
            counts.1,
            counts.2,
            set.digest.get(..12).unwrap_or(&set.digest)
        ));
    }
    Ok(exit::DONE)
}

fn test(folder: &Path, known: &Known, globals: &Globals) -> Result<u8, Failure> {
    // A failed test is an error of the set, shown at its place.
    let (set, checked) = good(folder, known, globals)?;
    if globals.json {
        let document = json!({ "version": 1, "digest": set.digest, "tests": checked.cases });
        print::out(&document.to_string());
    } else if !globals.quiet {
        let colored = print::colored(globals);
        for case in &checked.cases {
            let mark = print::paint("✓", Tone::Good, colored);
            print::out(&format!("{mark} {}: {}", case.file, case.name));
        }
        print::out(&format!("{} passed", checked.cases.len()));
    }
    Ok(exit::DONE)
}

fn explain_act(
    folder: &Path,
    known: &Known,
    asked: Explain,
    globals: &Globals,
) -> Result<u8, Failure> {
    let (set, _) = good(folder, known, globals)?;
    let context: Map<String, Value> = pairs(&asked.context)?.into_iter().collect();
    let mut attributes = facts::claims(&context);
    let now = clock::now().wall;
    if asked.at.is_none() {
        // Of another moment nothing is known.
        facts::verified(told(globals)?.iter().map(|(_, told)| told), now, &mut attributes);
        attributes.extend(fleet_facts(globals, &asked.agent));
    }
    for (name, json) in pairs(&asked.verified)? {
        if let Some(value) = facts::value(&json) {
            attributes.insert(name, Attribute { value, source: Source::Verified });
        }
    }
    let ask = Ask {
        org: "local".to_owned(),
        agent: asked.agent,
        action_type: asked.action,
        resource: asked.resource,
        context,
        cost: asked.cost,
        claimed_risk: None,
        session_id: None,
        parent_action_id: None,
        depth: 0,
        correlation_id: None,
    };
    let usage = Usage::default();
    let situation = Situation {
        class: Class::Act,
        trust: asked.trust,
        project: &asked.project,
        attributes: &attributes,
        used: &usage,
        now: asked.at.unwrap_or(now),
        zone: clock::zone(),
    };
    let rules = explain(&set, &ask, &situation);
    let outcome = set.evaluate(&ask, &situation);
    if globals.json {
        let document = json!({
            "version": 1, "digest": set.digest, "action": ask, "effect": outcome.effect(),
            "permits": outcome.permits, "rules": rules,
        });
        print::out(&document.to_string());
        return Ok(exit::DONE);
    }
    for rule in rules.iter().filter(|rule| asked.all || rule.concerns()) {
        print::out(&rule.lines().join("\n"));
    }
    let said = match outcome.effect() {
        None => "no policy speaks: trust alone decides".to_owned(),
        Some(effect) => format!("policies say: {}", word(effect)),
    };
    print::out(&said);
    Ok(exit::DONE)
}

/// What the watchdog knows of the fleet, if one is at work.
fn fleet_facts(globals: &Globals, agent: &str) -> Attributes {
    load_config(globals)
        .map_or_else(|_| Attributes::new(), |config| fleet::known(&config, agent, clock::now()))
}

/// What the sources of this project said last; nothing where it has none.
fn told(globals: &Globals) -> Result<Vec<(String, Told)>, Failure> {
    let Ok(config) = load_config(globals) else { return Ok(Vec::new()) };
    if config.governance.sources.is_empty() {
        return Ok(Vec::new());
    }
    let mut governance = open(globals)?;
    let org = governance.org.clone();
    let told = db::read(governance.store(), &org, sources::all);
    let mut told = told.map_err(|error| super::audit::failure(&error.into()))?;
    // One that is not in the config any more may still be known for a while.
    for source in config.governance.sources {
        if !told.iter().any(|(name, _)| *name == source.name) {
            told.push((source.name, Told::default()));
        }
    }
    Ok(told)
}

fn show_facts(globals: &Globals) -> Result<u8, Failure> {
    let (told, now) = (told(globals)?, clock::now().wall);
    if globals.json {
        let row = |(name, told): &(String, Told)| {
            json!({
                "source": name, "at": told.at.map(|at| at.to_rfc3339()),
                "until": told.until.map(|until| until.to_rfc3339()), "fresh": told.is_fresh(now),
                "facts": told.facts, "problem": told.problem,
            })
        };
        let rows: Vec<Value> = told.iter().map(row).collect();
        let fleet: Map<String, Value> = fleet_facts(globals, "")
            .iter()
            .map(|(name, fact)| (name.clone(), facts::json(&fact.value)))
            .collect();
        print::out(&json!({ "version": 1, "sources": rows, "fleet": fleet }).to_string());
        return Ok(exit::DONE);
    }
    for (name, fact) in fleet_facts(globals, "") {
        print::out(&format!("{name} = {}", facts::json(&fact.value)));
    }
    if told.is_empty() {
        print::err("no source is set: `[governance.source.<name>]` in agents.toml");
        return Ok(exit::DONE);
    }
    let colored = print::colored(globals);
    for (name, told) in &told {
        let age = told.at.and_then(|at| (now - at).to_std().ok()).map(human::duration);
        let age = age.map_or_else(|| "never said anything".to_owned(), |age| format!("{age} ago"));
        let (word, tone) =
            if told.is_fresh(now) { ("known", Tone::Good) } else { ("not known", Tone::Bad) };
        print::out(&format!("{name}  {}, {age}", print::paint(word, tone, colored)));
        for (fact, value) in &told.facts {
            print::out(&format!("  {fact} = {value}"));
        }
        if let Some(problem) = &told.problem {
            print::out(&format!("  {}", print::paint(problem, Tone::Warn, colored)));
        }
    }
    Ok(exit::DONE)
}

fn word(effect: crate::govern::verdict::Effect) -> &'static str {
    use crate::govern::verdict::Effect;
    match effect {
        Effect::Allow => "permit, where trust leaves it to a policy",
        Effect::AllowNotify => "notify",
        Effect::RequireApproval => "a person must approve",
        Effect::Deny => "deny",
    }
}

/// The set in force: what was accepted, else what is written.
fn in_force(folder: &Path, known: &Known, globals: &Globals) -> Result<Set, Failure> {
    let config = load_config(globals)?;
    let head = accepted::head_of(&config, &Store::new(&config).state());
    let set = head.map(|head| policies::accepted(&head, known)).transpose();
    let set = set.map_err(|error| Failure::from_error(exit::FAILED, &error))?;
    set.flatten().map_or_else(|| good(folder, known, globals).map(|(set, _)| set), Ok)
}

/// The acts of this project's record.
fn on_record(since: Since, globals: &Globals) -> Result<Vec<Recorded>, Failure> {
    let config = load_config(globals)?;
    let mut governance = open(globals)?;
    let usage = |error: &dyn std::error::Error| Failure::from_error(exit::USAGE, error);
    let own = config.governance.classes.as_ref().map(std::fs::read_to_string).transpose();
    let own = own.map_err(|error| usage(&error))?;
    let table = own.as_deref().map(Table::extended).transpose().map_err(|error| usage(&error))?;
    let table = table.as_ref().unwrap_or_else(|| Table::shipped());
    let (bounds, project) = (bounds::of_project(&config, &governance), project_name(&config));
    recorded::since(&mut governance, table, &bounds, &project, since.moment())
        .map_err(|error| super::audit::failure(&error))
}

fn replay_acts(
    folder: &Path,
    known: &Known,
    asked: &Replay,
    globals: &Globals,
) -> Result<u8, Failure> {
    let changed = asked.against.as_deref().unwrap_or(folder);
    let (after, _) = good(changed, known, globals)?;
    let (before, recorded) = match (&asked.from, asked.since) {
        (Some(file), _) => (good(folder, known, globals)?.0, recorded_in(file)?),
        (None, Some(since)) => (in_force(folder, known, globals)?, on_record(since, globals)?),
        (None, None) => return Err(Failure::usage("say which acts: `--since WHEN`")),
    };
    let usage = Usage::default();
    let found = replay::differences(&recorded, &before, &after, &usage, clock::zone());
    if globals.json {
        let document = json!({
            "version": 1, "before": before.digest, "after": after.digest,
            "acts": recorded.len(), "differences": found.differences, "untold": found.untold,
        });
        print::out(&document.to_string());
        return Ok(exit::DONE);
    }
    for change in &found.differences {
        print::out(&format!(
            "{} {} {} `{}`: {} → {}",
            change.at.format("%Y-%m-%d %H:%M:%S"),
            change.agent,
            change.action_type,
            change.resource,
            change.before,
            change.after
        ));
        for said in &change.said {
            print::out(&format!("    {}: {}", said.rule, said.why));
        }
    }
    let judged = recorded.len() - found.untold.len();
    print::out(&format!("{} of {judged} answers change", found.differences.len()));
    if !found.untold.is_empty() {
        print::out(&untold(&found.untold));
    }
    Ok(exit::DONE)
}

/// How many acts cannot be judged again, by what is not on record of them.
fn untold(acts: &[replay::Untold]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in acts.iter().flat_map(|act| &act.facts) {
        *counts.entry(name).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.iter().map(|(name, count)| format!("{name} ({count})")).collect();
    format!(
        "{} not judged again, as it is not on record what was known then: {}",
        acts.len(),
        counts.join(", ")
    )
}

fn recorded_in(from: &Path) -> Result<Vec<Recorded>, Failure> {
    let unread = |error: &std::io::Error| {
        Failure::usage(format!("cannot read recorded acts from `{}`", from.display()))
            .caused_by(error)
    };
    let reader: Box<dyn std::io::BufRead> = if from == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(from).map_err(|error| unread(&error))?;
        Box::new(std::io::BufReader::new(file))
    };
    let mut found = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let line = line.map_err(|error| unread(&error))?;
        if line.trim().is_empty() {
            continue;
        }
        found.push(serde_json::from_str(&line).map_err(|error| {
            let place = format!("`{}` line {}", from.display(), number + 1);
            Failure::usage(format!("{place} is not a recorded act")).caused_by(&error)
        })?);
    }
    Ok(found)
}

/// `NAME=VALUE`, the value as JSON where it is some, else as text.
fn pairs(given: &[String]) -> Result<Vec<(String, Value)>, Failure> {
    let pair = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`{text}` is not NAME=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok((name.to_owned(), value))
    };
    given.iter().map(pair).collect()
}

fn level(text: &str) -> Result<Level, String> {
    [Level::L0, Level::L1, Level::L2, Level::L3, Level::L4]
        .into_iter()
        .find(|level| format!("{level:?}").eq_ignore_ascii_case(text))
        .ok_or_else(|| "write L0, L1, L2, L3 or L4".to_owned())
}

fn money(text: &str) -> Result<Micros, String> {
    crate::govern::policy::parse_dollars(text)
        .map(Micros)
        .ok_or_else(|| "write dollars such as 5, 0.25 or $5".to_owned())
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|error| format!("write a time such as 2026-11-21T05:00:00+01:00 ({error})"))
}
