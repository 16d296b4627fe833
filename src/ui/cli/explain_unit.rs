//! `ao explain NAME`: why an agent is as it is, and what follows.

use super::{Globals, act, load_config};
use crate::report::explain::{Explanation, explain};
use crate::run::journal::Line;
use crate::run::project::Project;
use crate::run::survey;
use crate::sys::file;
use crate::ui::exit;
use crate::ui::failure::Failure;
use crate::ui::print;

/// How far back the event log is searched.
const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// Lines of history shown.
const HISTORY_LINES: usize = 12;

/// What the watchdog last decided about an agent or service, and why.
pub(crate) fn run(name: &str, globals: &Globals) -> Result<u8, Failure> {
    let config = load_config(globals)?;
    let named = act::named(&config, &[name.to_owned()])?;
    let project = Project::peek(config);
    let survey = survey::survey(&project);
    let unit = named.first().and_then(|name| survey.fleet.units.get(name));
    let Some(unit) = unit else {
        return Err(Failure::failed(format!("nothing is known of `{name}` yet"))
            .hint(format!("start it with `ao up {name}`")));
    };
    let document = explain(&survey.fleet, unit, history(&project, name)?, survey.now);
    if globals.json {
        let text = serde_json::to_string(&document).expect("a document of strings and numbers");
        print::out(&text);
    } else {
        show(&document);
    }
    Ok(exit::DONE)
}

fn history(project: &Project, name: &str) -> Result<Vec<String>, Failure> {
    let text = file::read_tail(&project.store.events(), LOG_BYTES_MAX)
        .map_err(|error| Failure::from_error(exit::FAILED, &error))?
        .unwrap_or_default();
    let about = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter(|line| line.unit.as_deref().is_none_or(|unit| unit == name));
    let lines: Vec<String> =
        about.map(|line| format!("{}  {}: {}", line.at, line.event.word(), line.why)).collect();
    Ok(lines[lines.len().saturating_sub(HISTORY_LINES)..].to_vec())
}

fn show(document: &Explanation) {
    let since = document.since.as_ref().map_or_else(String::new, |at| format!(" since {at}"));
    print::out(&format!("{} is {}{since}", document.name, document.state));
    if let (Some(what), Some(at)) = (&document.last_event, &document.last_event_at) {
        print::out(&format!("last      {what} ({at})"));
    }
    for evidence in &document.evidence {
        let text = evidence.text.lines().next().unwrap_or_default();
        print::out(&format!("evidence  rule `{}` in {}: {text}", evidence.rule, evidence.region));
    }
    if let Some(idle) = document.idle_for_s {
        print::out(&format!("unmoved   for {idle} s"));
    }
    print::out(&format!(
        "restarts  {} in all, {} in the last hour ({} allowed)",
        document.restarts, document.restarts_last_hour, document.restarts_allowed_per_hour
    ));
    for held in &document.held {
        print::out(&format!("held      {held}"));
    }
    if let Some(phase) = &document.phase {
        print::out(&format!("phase     {phase}"));
    }
    if let Some(limit) = &document.limit {
        print::out(&format!(
            "limit     {} ({}) since {}, until {}, probes: {}: {}",
            limit.what, limit.phase, limit.since, limit.until, limit.probes, limit.banner
        ));
    }
    print::out(&format!("stall     {}", document.stall));
    if let Some(at) = &document.next_wake {
        print::out(&format!("wake      next at {at}"));
    }
    if document.queued > 0 {
        let waiting = crate::base::human::count(document.queued, "message");
        print::out(&format!("queue     {waiting}; see `ao queue {}`", document.name));
    }
    print::out(&format!("next      {}", document.next));
    if !document.history.is_empty() {
        print::out("history");
        for line in &document.history {
            print::out(&format!("  {line}"));
        }
    }
}
