//! From what a file says to rules and tests, collecting every problem.

use std::ops::Range;

use crate::base::zone::Tz;
use chrono::{DateTime, Datelike as _, NaiveDate, Utc};

use super::case::{Case, Used};
use super::expression::compile::{self, Mistake};
use super::expression::{Code, Comparison, Conjunct};
use super::facts;
use super::glob::{Glob, Globs};
use super::raw::{
    At, File, Json, Mode, RawCase, RawConstraints, RawEscalation, RawPolicy, RawSchedule, RawScope,
    RawUsed, RawWhen, RawWindow, Side, place,
};
use super::rule::{Bound, By, Effect, Escalation, Limit, Rule, Scope};
use super::schedule::{DAY_MINUTES, Period, Schedule, Window};
use super::schema::{Kind, Schema, Unit};
use crate::base::suggest;
use crate::config;
use crate::config::diagnostic::Diagnostic;
use crate::govern::action::{Ask, Micros};
use crate::govern::attribute::{Attribute, Source};
use crate::govern::class::Class;
use crate::govern::trust::Level;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const NAME_CHARS_MAX: usize = 80;

/// A rule or test with the bytes of its name.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

pub(super) struct Resolver<'a> {
    pub(super) source: &'a str,
    pub(super) schema: &'a Schema,
    pub(super) problems: Vec<Diagnostic>,
}

/// Adds the attributes that a file declares.
pub(super) fn declare(file: &File, source: &str, schema: &mut Schema) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (name, raw) in &file.attributes {
        let at = place(raw, source);
        let Some(kind) = Kind::from_words(&raw.value.r#type, raw.value.unit.as_deref()) else {
            problems.push(
                Diagnostic::error(format!("`{name}` has no type that is known"))
                    .at(&at, "")
                    .hint("`type: bool`, `text`, `texts` or `number`, a number with `unit: percent`, `usd`, `bytes` or `seconds`"),
            );
            continue;
        };
        let from = raw.value.from.unwrap_or(Source::Verified);
        if let Err(message) = schema.declare(name, kind, from) {
            problems.push(Diagnostic::error(message).at(&at, ""));
        }
    }
    problems
}

impl Resolver<'_> {
    fn error<T>(&mut self, at: &At<T>, message: impl Into<String>, label: &str) {
        let span = place(at, self.source);
        self.problems.push(Diagnostic::error(message).at(&span, label));
    }

    pub(super) fn rule(&mut self, raw: &RawPolicy) -> Placed<Rule> {
        let effect = raw.effect.as_ref().map(|effect| effect.value);
        let permit = effect == Some(Effect::Permit);
        let name = self.name(&raw.name);
        let (schedule, conditions) = self.when(&raw.when, permit);
        let bounds = self.bounds(&raw.constraints);
        if effect.is_none() && bounds.is_empty() {
            self.error(
                &raw.name,
                format!("`{name}` says nothing: it has neither `effect` nor `constraints`"),
                "",
            );
        }
        if effect == Some(Effect::Deny) && !bounds.is_empty() {
            self.error(
                raw.effect.as_ref().unwrap_or_else(|| unreachable!("it is `deny`")),
                format!("`{name}` denies what its constraints would bound"),
                "leave out `effect`, or the constraints",
            );
        }
        let rule = Rule {
            name,
            about: raw.description.clone().unwrap_or_default().trim().to_owned(),
            shadow: raw.mode == Some(Mode::Shadow),
            effect,
            scope: self.scope(&raw.scope),
            schedule,
            conditions,
            bounds,
            escalation: raw
                .escalation
                .as_ref()
                .map_or_else(Escalation::default, |raw| self.escalation(raw)),
        };
        Placed { value: rule, span: place(&raw.name, self.source) }
    }

    fn name(&mut self, raw: &At<String>) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let name = &raw.value;
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(good) {
            self.error(
                raw,
                format!("`{name}` is no name of a policy"),
                "letters, digits, `-`, `_`, `.` and `/`, at most 80",
            );
        }
        name.clone()
    }

    fn scope(&mut self, raw: &RawScope) -> Scope {
        let trust = raw.trust.as_ref();
        let min = trust.and_then(|trust| trust.value.min).unwrap_or(Level::L0);
        let max = trust.and_then(|trust| trust.value.max).unwrap_or(Level::L4);
        if let Some(trust) = trust.filter(|_| min > max) {
            self.error(trust, format!("no trust lies between {min:?} and {max:?}"), "");
        }
        Scope {
            agents: self.globs(&raw.agents),
            actions: self.globs(&raw.actions),
            resources: self.globs(&raw.resources),
            projects: self.globs(&raw.projects),
            orgs: self.globs(&raw.orgs),
            trust_min: min,
            trust_max: max,
        }
    }

    fn globs(&mut self, raw: &[At<String>]) -> Globs {
        let mut globs = Vec::new();
        for pattern in raw {
            match Glob::new(&pattern.value) {
                Ok(glob) => globs.push(glob),
                Err(message) => {
                    self.error(pattern, format!("`{}` is no pattern", pattern.value), &message);
                }
            }
        }
        Globs(globs)
    }

    fn when(&mut self, raw: &RawWhen, permit: bool) -> (Option<Schedule>, Vec<Conjunct>) {
        let schedule = raw.schedule.as_ref().map(|schedule| self.schedule(schedule));
        let mut conditions = Vec::new();
        for (name, wanted) in &raw.system {
            let name = format!("system.{name}");
            let constant = match (&wanted.value, self.schema.get(&name).map(|known| known.kind)) {
                (Json::Bool(value), Some(Kind::Bool)) => Some(Code::Bool(*value)),
                (Json::String(text), Some(Kind::Text)) => Some(Code::Text(text.clone())),
                (Json::Number(number), Some(Kind::Number(unit))) if unit != Unit::Usd => {
                    number.as_i64().map(Code::Int).or_else(|| number.as_f64().map(Code::Float))
                }
                _ => None,
            };
            let condition = constant.and_then(|constant| {
                compile::comparison_of(self.schema, &name, Comparison::Equal, constant, permit)
            });
            if let Some(condition) = condition {
                conditions.push(condition);
                continue;
            }
            let label = match self.schema.get(&name) {
                Some(known) => format!("`{name}` is {}", known.kind.words()),
                None => match suggest::nearest(&name, self.schema.names()) {
                    Some(near) => format!("there is no `{name}`; did you mean `{near}`?"),
                    None => format!("there is no `{name}`"),
                },
            };
            self.error(wanted, format!("`when.system` cannot ask for this of `{name}`"), &label);
        }
        let cost = raw.cost.as_ref().map(|cost| &cost.value);
        let limits = [
            (cost.and_then(|cost| cost.above), Comparison::Greater),
            (cost.and_then(|cost| cost.below), Comparison::Less),
        ];
        for (money, comparison) in limits {
            conditions.extend(money.and_then(|money| {
                let constant = Code::Money(money.0.0);
                compile::comparison_of(self.schema, "action.cost", comparison, constant, permit)
            }));
        }
        if let Some(text) = &raw.condition {
            match compile::compile(&text.value, self.schema, permit) {
                Ok(parts) => conditions.extend(parts),
                Err(mistake) => self.mistake(text, mistake),
            }
        }
        (schedule, conditions)
    }

    /// A mistake inside a condition, placed in the file where the text stands there as it is.
    fn mistake(&mut self, text: &At<String>, mistake: Mistake) {
        let whole = place(text, self.source);
        let written = self.source.get(whole.clone()).unwrap_or("");
        let span = match written.find(text.value.as_str()) {
            Some(offset) => {
                let start = whole.start + offset;
                start + mistake.span.start..start + mistake.span.end
            }
            None => whole,
        };
        let mut problem = Diagnostic::error(mistake.message).at(&span, "");
        if let Some(hint) = mistake.hint {
            problem = problem.hint(hint);
        }
        self.problems.push(problem);
    }

    fn schedule(&mut self, raw: &At<RawSchedule>) -> Schedule {
        let zone = raw.value.zone.as_ref().and_then(|zone| {
            let found = zone.value.parse::<Tz>().ok();
            if found.is_none() {
                self.error(
                    zone,
                    format!("there is no time zone `{}`", zone.value),
                    "an IANA name such as Europe/Berlin",
                );
            }
            found
        });
        if raw.value.windows.is_empty() {
            self.error(raw, "this schedule has no window", "");
        }
        let mut holidays = Vec::new();
        for day in &raw.value.holidays {
            match NaiveDate::parse_from_str(&day.value, "%Y-%m-%d") {
                Ok(date) => holidays.push(date.num_days_from_ce()),
                Err(_) => {
                    self.error(day, format!("`{}` is no date", day.value), "such as 2026-12-25");
                }
            }
        }
        let windows = raw.value.windows.iter().map(|window| self.window(window)).collect();
        Schedule { zone, windows, holidays, outside: raw.value.only == Side::Outside }
    }

    fn window(&mut self, raw: &At<RawWindow>) -> Window {
        let mut days = if raw.value.days.is_empty() { 0b111_1111 } else { 0 };
        for words in &raw.value.days {
            match weekdays(&words.value) {
                Some(bits) => days |= bits,
                None => self.error(
                    words,
                    format!("`{}` is no weekday", words.value),
                    "such as `mon` or `mon-fri`",
                ),
            }
        }
        let mut minute = |raw: Option<&At<String>>, default| {
            let Some(raw) = raw else { return default };
            let found = clock(&raw.value);
            if found.is_none() {
                self.error(raw, format!("`{}` is no time of day", raw.value), "such as \"09:30\"");
            }
            found.unwrap_or(default)
        };
        let from = minute(raw.value.from.as_ref(), 0);
        let to = minute(raw.value.to.as_ref(), DAY_MINUTES);
        if from == to || from == DAY_MINUTES {
            self.error(raw, "this window has no length", "leave out both for whole days");
        }
        Window { days, from, to }
    }

    fn bounds(&mut self, raw: &RawConstraints) -> Vec<Bound> {
        let mut bounds = Vec::new();
        let mut add = |limit, by: Option<By>| {
            bounds.push(Bound { limit, by: by.unwrap_or(By::Policy) });
        };
        if let Some(rate) = &raw.rate {
            let per_seconds = self.seconds(&rate.value.per).unwrap_or(1);
            add(Limit::Rate { count: rate.value.count.into(), per_seconds }, rate.value.by);
        }
        if let Some(raw) = &raw.concurrency {
            add(Limit::Concurrency { count: raw.value.count.into() }, raw.value.by);
        }
        if let Some(raw) = &raw.cost {
            let cost = &raw.value;
            let periods =
                [(cost.day, Period::Day), (cost.week, Period::Week), (cost.month, Period::Month)];
            if periods.iter().all(|(money, _)| money.is_none()) {
                self.error(raw, "this budget has no amount", "`day`, `week` or `month`");
            }
            for (money, period) in periods {
                if let Some(money) = money {
                    add(Limit::Cost { period, max: money.0 }, cost.by);
                }
            }
        }
        if !raw.resources.is_empty() {
            add(Limit::Resources(self.globs(&raw.resources)), None);
        }
        if let Some(size) = &raw.size_max {
            match bytes(&size.value) {
                Some(most) => {
                    let condition = compile::comparison_of(
                        self.schema,
                        "action.size_bytes",
                        Comparison::LessOrEqual,
                        Code::Int(most),
                        false,
                    );
                    if let Some(condition) = condition {
                        add(Limit::Size(condition), None);
                    }
                }
                None => {
                    self.error(
                        size,
                        format!("`{}` is no size", size.value),
                        "such as 500 kB or 1 MiB",
                    );
                }
            }
        }
        bounds
    }

    fn seconds(&mut self, raw: &At<String>) -> Option<i64> {
        let found = config::parse_duration(&raw.value)
            .and_then(|time| i64::try_from(time.as_secs()).ok())
            .filter(|seconds| (1..=366 * 86_400).contains(seconds));
        if found.is_none() {
            self.error(
                raw,
                format!("`{}` is no duration from 1 s to a year", raw.value),
                "such as 30m, 1h or 7d",
            );
        }
        found
    }

    fn escalation(&mut self, raw: &At<RawEscalation>) -> Escalation {
        let value = &raw.value;
        let over = value.over.as_ref().map_or(Effect::Deny, |over| over.value);
        if let Some(written) = value.over.as_ref().filter(|_| over == Effect::Permit) {
            self.error(
                written,
                "past its bounds a rule cannot permit",
                "deny, require_approval or notify",
            );
        }
        Escalation {
            over,
            approvers: value.approvers.clone(),
            timeout_seconds: value.timeout.as_ref().and_then(|time| self.seconds(time)),
            notify: value.notify.clone(),
            downgrade_to: value.downgrade_to,
        }
    }

    pub(super) fn case(&mut self, raw: &RawCase, rules: &[&str]) -> Placed<Case> {
        let at = raw.at.as_ref().and_then(|at| {
            let found = DateTime::parse_from_rfc3339(&at.value).ok();
            if found.is_none() {
                self.error(
                    at,
                    format!("`{}` is no moment", at.value),
                    "such as 2026-11-20T10:00:00+01:00",
                );
            }
            found
        });
        let mut attributes = facts::claims(&raw.context.clone().into_iter().collect());
        let given = raw
            .verified
            .iter()
            .map(|fact| (fact, Source::Verified))
            .chain(raw.server.iter().map(|fact| (fact, Source::Server)));
        for ((name, value), source) in given {
            if self.schema.get(name).is_none() {
                self.error(value, format!("there is no attribute `{name}`"), "");
            }
            match facts::value(&value.value) {
                Some(value) => {
                    attributes.insert(name.clone(), Attribute { value, source });
                }
                None => self.error(value, format!("`{name}` cannot have this value"), ""),
            }
        }
        let used = raw.used.iter().map(|(rule, used)| {
            let RawUsed { rate, concurrency, cost } = used.value;
            (rule.clone(), Used { rate, concurrency, cost: cost.0.0 })
        });
        let used = used.collect();
        let counted = raw.used.iter().map(|(name, used)| (name, place(used, self.source)));
        let expected = raw.by.iter().map(|name| (&name.value, place(name, self.source)));
        for (name, span) in counted.chain(expected).collect::<Vec<_>>() {
            if !rules.contains(&name.as_str()) {
                let message = format!("there is no policy `{name}`");
                self.problems.push(Diagnostic::error(message).at(&span, ""));
            }
        }
        let ask = Ask {
            org: raw.org.clone().unwrap_or_else(|| "local".to_owned()),
            agent: raw.agent.clone(),
            action_type: raw.action.clone(),
            resource: raw.resource.clone(),
            context: raw.context.clone().into_iter().collect(),
            cost: raw.cost.map_or(Micros(0), |cost| cost.0),
            claimed_risk: None,
            session_id: None,
            parent_action_id: None,
            depth: 0,
            correlation_id: None,
        };
        let case = Case {
            name: raw.name.value.clone(),
            ask,
            class: raw.class.unwrap_or(Class::Act),
            trust: raw.trust.unwrap_or(Level::L2),
            project: raw.project.clone().unwrap_or_else(|| "test".to_owned()),
            attributes,
            now: at.map_or(DateTime::<Utc>::UNIX_EPOCH, |at| at.with_timezone(&Utc)),
            used,
            expect: raw.expect,
            by: raw.by.iter().map(|name| name.value.clone()).collect(),
        };
        Placed { value: case, span: place(&raw.name, self.source) }
    }
}

/// `mon` or `mon-fri` as bits; a range may run over Sunday.
fn weekdays(words: &str) -> Option<u8> {
    let number = |word: &str| DAYS.iter().position(|day| *day == word.trim());
    let (first, last) = words.split_once('-').unwrap_or((words, words));
    let (first, last) = (number(first)?, number(last)?);
    let length = (last + 7 - first) % 7;
    Some((0..=length).fold(0, |bits, day| bits | 1 << ((first + day) % 7)))
}

/// `09:30` as minutes; `24:00` is the end of the day.
fn clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str| {
        (part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u16>().ok())
            .flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY_MINUTES).then_some(total)
}

/// `500 kB`, `1MiB`, `4096`.
fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match text[digits..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_times_and_sizes_are_read_as_people_write_them() {
        assert_eq!(weekdays("mon-fri"), Some(0b001_1111));
        assert_eq!(weekdays("sat-mon"), Some(0b110_0001));
        assert_eq!(weekdays("sun"), Some(0b100_0000));
        assert_eq!(weekdays("noday"), None);
        assert_eq!(
            [clock("09:30"), clock("24:00"), clock("24:01"), clock("9:60"), clock("+9:00")],
            [Some(570), Some(1440), None, None, None]
        );
        assert_eq!(
            [bytes("500 kB"), bytes("1MiB"), bytes("1 zB")],
            [Some(500_000), Some(1 << 20), None]
        );
    }
}
