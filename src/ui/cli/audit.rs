//! `ao audit`: the log of what was judged, done and decided; shown, proven, handed out.
//!
//! `--json` and exports give one object a line, the shape of `ao schema audit`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Local, NaiveDate, TimeDelta, Utc};

use super::{Globals, load_config};
use crate::base::human::count;
use crate::govern::audit::export::{CSV_HEADER, Line};
use crate::govern::audit::verify::{Outcome, Walk};
use crate::govern::audit::{GENESIS, Record, Tail, hex};
use crate::run::governance::{Governance, GovernanceError, audit, operator};
use crate::run::project::Project;
use crate::sys::clock;
use crate::sys::db::rows::AuditQuery;
use crate::ui::failure::Failure;
use crate::ui::{exit, print};

const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Show, prove and hand out the log of decisions.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the last records.
    Tail {
        /// Go on as records come.
        #[arg(short, long)]
        follow: bool,
        /// How many to begin with.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        lines: u32,
    },
    /// Prove that no record was changed, removed, moved or put in.
    Verify {
        /// An export in JSON lines instead of this project's log.
        #[arg(long, value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Write records to standard output.
    Export {
        #[arg(long, value_name = "FORMAT", default_value = "jsonl")]
        format: Format,
        /// Only what is newer: `7d`, `12h`, `30m`, a date or a time.
        #[arg(long, value_name = "WHEN", value_parser = since)]
        since: Option<Since>,
    },
    /// Show the records that contain a text.
    Search {
        /// In who, what, kind and details; upper and lower case are the same.
        text: String,
        /// Only what is newer: `7d`, `12h`, `30m`, a date or a time.
        #[arg(long, value_name = "WHEN", value_parser = since)]
        since: Option<Since>,
    },
    /// Accept the log as it is when its signed head is lost or disagrees; recorded as what it is.
    Adopt {
        /// Why this log may be trusted.
        #[arg(long)]
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line; `ao audit verify --file` proves it again.
    Jsonl,
    /// A table for people.
    Csv,
}

/// A moment, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    At(DateTime<Utc>),
    Ago(TimeDelta),
}

impl Since {
    pub(super) fn moment(self) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => clock::now().wall - ago,
        }
    }
}

pub(super) fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::At(at.to_utc()));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        let midnight = day.and_hms_opt(0, 0, 0).expect("midnight is a time");
        let local = midnight.and_local_timezone(Local).earliest();
        return Ok(Since::At(local.map_or_else(|| midnight.and_utc(), |local| local.to_utc())));
    }
    let bad = || "write `7d`, `12h`, `30m`, `2026-03-01` or `2026-03-01T12:00:00Z`".to_owned();
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| bad())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(bad()),
    };
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds >= 0).ok_or_else(bad)?;
    TimeDelta::try_seconds(seconds).map(Since::Ago).ok_or_else(bad)
}

pub(crate) fn run(args: Args, globals: &Globals) -> Result<u8, Failure> {
    if let Verb::Verify { file: Some(file) } = &args.verb {
        return verify_file(file, globals);
    }
    let mut governance = open(globals)?;
    match args.verb {
        Verb::Tail { follow, lines } => tail(&mut governance, follow, lines, globals),
        Verb::Verify { .. } => verify(&mut governance, globals),
        Verb::Export { format, since } => export(&mut governance, format, since),
        Verb::Search { text, since } => {
            let since = since.map(Since::moment);
            let query = AuditQuery { containing: Some(text), since, ..AuditQuery::default() };
            let found = show(&mut governance, &query, globals)?;
            Ok(if found == 0 { exit::NOT_SO } else { exit::DONE })
        }
        Verb::Adopt { why } => {
            super::act::refuse_inside_agent("audit adopt")?;
            let org = governance.org.clone();
            let adopted = governance.store.adopt_head(&org, &operator::name(), &why, clock::now());
            adopted.map_err(|error| failure(&error.into()))?;
            say(globals, "adopted: `ao audit verify` proves the log from here");
            Ok(exit::DONE)
        }
    }
}

/// This project's governance; a project that never had any is told so.
pub(super) fn open(globals: &Globals) -> Result<Governance, Failure> {
    let config = load_config(globals)?;
    let project = Project::peek(config);
    if !Governance::exists(&project) {
        let message = "nothing was governed in this project yet, so nothing is on record";
        return Err(Failure::with_code(exit::NOT_SO, message)
            .hint("`governed = true` in an `[[agent]]` begins it; see docs/governance.md"));
    }
    Governance::open(&project).map_err(|error| failure(&error))
}

/// What went wrong, with what to do.
pub(super) fn failure(error: &GovernanceError) -> Failure {
    use crate::sys::db::DbError;
    let failure = Failure::from_error(exit::FAILED, error);
    match error {
        GovernanceError::Db(DbError::Head(_)) => failure
            .hint("every act is denied until this is settled")
            .hint("`ao audit verify` says what is wrong; `ao audit adopt --why …` accepts the log as it is"),
        GovernanceError::Db(DbError::Newer { .. }) => failure.hint("use the newer ao"),
        GovernanceError::Db(DbError::Busy { .. } | DbError::Lost { .. }) => failure.hint("try again"),
        GovernanceError::Db(DbError::Unreachable { .. }) => failure
            .hint("every act is denied until the database server answers; see `[governance] store`"),
        GovernanceError::Db(DbError::OtherKeys { .. }) => failure
            .hint("all machines of one store need the same operator folder: copy it from the first"),
        GovernanceError::Db(
            DbError::Open { .. }
            | DbError::Replaced { .. }
            | DbError::Sql { .. }
            | DbError::Flush { .. }
            | DbError::Address(_)
            | DbError::Server { .. }
            | DbError::Encoding { .. }
            | DbError::Damaged { .. }
            | DbError::Undone,
        )
        | GovernanceError::Operator(_)
        | GovernanceError::Thread(_)
        | GovernanceError::Place(_)
        | GovernanceError::CorrelationReused { .. }
        | GovernanceError::NoAction { .. }
        | GovernanceError::NotOpen { .. } => failure,
        GovernanceError::NoApproval { .. } | GovernanceError::Approval { .. } => {
            failure.hint("`ao approvals` lists what waits")
        }
    }
}

fn say(globals: &Globals, text: &str) {
    if !globals.quiet && !globals.json {
        print::out(text);
    }
}

fn tail(
    governance: &mut Governance,
    follow: bool,
    lines: u32,
    globals: &Globals,
) -> Result<u8, Failure> {
    let org = governance.org.clone();
    let mut query = AuditQuery { last: Some(lines), ..AuditQuery::default() };
    let mut day = None;
    loop {
        let mut read = true;
        let mut after = query.after;
        let each = &mut |record: Record| {
            after = record.seq;
            read = print_record(&record, &mut day, globals);
            if read { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        audit::each(governance.store(), &org, &query, each).map_err(|error| failure(&error))?;
        if !follow || !read {
            return Ok(exit::DONE);
        }
        query = AuditQuery { after, ..AuditQuery::default() };
        std::thread::sleep(FOLLOW_EVERY);
    }
}

fn show(
    governance: &mut Governance,
    query: &AuditQuery,
    globals: &Globals,
) -> Result<u64, Failure> {
    let org = governance.org.clone();
    let (mut day, mut found) = (None, 0);
    let each = &mut |record: Record| {
        found += 1;
        if print_record(&record, &mut day, globals) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    audit::each(governance.store(), &org, query, each).map_err(|error| failure(&error))?;
    Ok(found)
}

/// Whether anybody still reads.
fn print_record(record: &Record, day: &mut Option<NaiveDate>, globals: &Globals) -> bool {
    let line = Line::new(record);
    if globals.json {
        return print::try_out(&line.text());
    }
    let local = record.at().map(|at| at.with_timezone(&Local).naive_local());
    if let Some(local) = local
        && *day != Some(local.date())
    {
        *day = Some(local.date());
        if !print::try_out(&local.date().to_string()) {
            return false;
        }
    }
    let time =
        local.map_or_else(|| "--:--:--".to_owned(), |local| local.format("%H:%M:%S").to_string());
    print::try_out(&format!("{time}  {}", words(&line)))
}

/// `seq  actor  kind  subject: effect, reason`, in one line.
fn words(line: &Line) -> String {
    let detail = |name: &str| line.details.get(name).and_then(serde_json::Value::as_str);
    let told: Vec<&str> = ["effect", "reason", "why"].into_iter().filter_map(detail).collect();
    let told = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
    let text =
        format!("{:>6}  {:<16}  {:<16}  {}{told}", line.seq, line.actor, line.kind, line.subject);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn export(
    governance: &mut Governance,
    format: Format,
    since: Option<Since>,
) -> Result<u8, Failure> {
    let (org, by) = (governance.org.clone(), operator::name());
    let word = match format {
        Format::Jsonl => "jsonl",
        Format::Csv => "csv",
    };
    // Recorded first: an export that cannot be recorded does not happen.
    governance.exported(&by, word, clock::now()).map_err(|error| failure(&error))?;
    if format == Format::Csv && !print::try_out(CSV_HEADER) {
        return Ok(exit::DONE);
    }
    let query = AuditQuery { since: since.map(Since::moment), ..AuditQuery::default() };
    let each = &mut |record: Record| {
        let line = Line::new(&record);
        let text = match format {
            Format::Jsonl => line.text(),
            Format::Csv => line.csv(),
        };
        if print::try_out(&text) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    audit::each(governance.store(), &org, &query, each).map_err(|error| failure(&error))?;
    Ok(exit::DONE)
}

fn verify(governance: &mut Governance, globals: &Globals) -> Result<u8, Failure> {
    let org = governance.org.clone();
    let proof = audit::verify(governance.store(), &org).map_err(|error| failure(&error))?;
    let basis = match proof.outcome.standing {
        Some(standing) => {
            format!("{}; {} signed", standing.words(), count(proof.checkpoints, "checkpoint"))
        }
        None => "no record was written yet".to_owned(),
    };
    Ok(judge(&proof.outcome, &basis, globals))
}

/// Walks an export. What is not in it (a head, earlier records) is said, not guessed.
fn verify_file(file: &Path, globals: &Globals) -> Result<u8, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::failed(format!("cannot read `{}`", file.display())).caused_by(&error)
    })?;
    let mut walk: Option<Walk> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let record = Line::record(line).ok_or_else(|| {
            Failure::with_code(
                exit::NOT_SO,
                format!(
                    "line {number} of `{}` was changed: it is not what `ao audit export` writes",
                    file.display()
                ),
            )
        })?;
        let begin = || Walk::from(&record.org, before(&record), [].into());
        walk.get_or_insert_with(begin).step(&record);
    }
    let Some(walk) = walk else {
        return Err(Failure::with_code(exit::NOT_SO, "the export holds no record"));
    };
    Ok(judge(
        &walk.finish_without_head(),
        "an export carries no head: its end is not proven",
        globals,
    ))
}

/// An export that begins later than the log cannot prove its first record's own hash.
fn before(first: &Record) -> Tail {
    if first.seq <= 1 {
        Tail { seq: 0, hash: GENESIS }
    } else {
        Tail { seq: first.seq - 2, hash: GENESIS }
    }
}

fn judge(outcome: &Outcome, basis: &str, globals: &Globals) -> u8 {
    if globals.json {
        let findings: Vec<String> = outcome.findings.iter().map(ToString::to_string).collect();
        print::out(
            &serde_json::json!({
                "version": 1,
                "intact": outcome.is_intact(),
                "records": outcome.records,
                "last": { "seq": outcome.tail.seq, "hash": hex(&outcome.tail.hash) },
                "basis": basis,
                "findings": findings,
                "found": outcome.found,
            })
            .to_string(),
        );
    } else if outcome.is_intact() {
        say(globals, &format!("intact: {}", outcome.summary()));
        say(globals, &format!("  {basis}"));
    } else {
        print::out(&format!("not intact: {}", outcome.summary()));
        for finding in &outcome.findings {
            print::out(&format!("  {finding}"));
        }
        if outcome.found > outcome.findings.len() {
            print::out(&format!("  and {} more", outcome.found - outcome.findings.len()));
        }
    }
    if outcome.is_intact() { exit::DONE } else { exit::NOT_SO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_an_age_a_day_or_a_moment() {
        assert_eq!(since("7d"), Ok(Since::Ago(TimeDelta::days(7))));
        assert_eq!(since("30m"), Ok(Since::Ago(TimeDelta::minutes(30))));
        let at = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").unwrap().to_utc();
        assert_eq!(since("2026-03-01T13:00:00+01:00"), Ok(Since::At(at)));
        assert!(matches!(since("2026-03-01"), Ok(Since::At(_))));
        for bad in ["", "d", "7", "7y", "-1d", "yesterday", "9999999999999w", "7ö"] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }
}
