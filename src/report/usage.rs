//! Tokens and money of agents: the document behind `ao transcript usage`, and the small summary that
//! `ao status` reads instead of any transcript.
//!
//! Money is what the tokens cost at list prices, also for those who pay by subscription.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::zone::Tz;
use chrono::{NaiveDate, SecondsFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::money::Micros;
use crate::base::now::Now;
use crate::transcript::price::Prices;
use crate::transcript::usage::{Cell, Ledger, Usage};

/// `ao transcript usage --json`. Fields are only ever added within a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageReport {
    pub version: u32,
    pub at: String,
    /// Days are days of this zone.
    pub zone: String,
    /// When the price table was last compared with its sources.
    pub prices_checked: String,
    /// `agent`, `model` or `day`; `null`: a row for each agent, day and model.
    pub by: Option<String>,
    pub rows: Vec<UsageRow>,
    pub total: UsageRow,
    /// Models without a known price: their tokens are counted, their money is not.
    pub unpriced_models: Vec<String>,
}

/// Tokens and money of one row. `input` is what was read at full price, neither from a cache nor into one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UsageRow {
    pub agent: Option<String>,
    pub day: Option<String>,
    pub model: Option<String>,
    pub input: u64,
    /// Reasoning included.
    pub output: u64,
    pub cache_read: u64,
    pub cache_write_5m: u64,
    pub cache_write_1h: u64,
    /// Part of `output`.
    pub reasoning: u64,
    /// All tokens.
    pub total: u64,
    /// Millionths of a US dollar at list prices, of the tokens that have one.
    pub cost_micros: i64,
    /// Of `total`, the tokens of models without a known price.
    pub unpriced_tokens: u64,
}

/// What rows are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Agent,
    Model,
    Day,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Day => "day",
        }
    }
}

impl UsageRow {
    fn add(&mut self, usage: &Usage, cost: Option<Micros>) {
        let mut sum = Usage {
            input: self.input,
            output: self.output,
            cache_read: self.cache_read,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.reasoning,
        };
        sum.add(usage);
        (self.input, self.output, self.reasoning) = (sum.input, sum.output, sum.reasoning);
        self.cache_read = sum.cache_read;
        (self.cache_write_5m, self.cache_write_1h) = (sum.cache_write_5m, sum.cache_write_1h);
        self.total = sum.total();
        match cost {
            Some(cost) => self.cost_micros = self.cost_micros.saturating_add(cost.0),
            None => self.unpriced_tokens = self.unpriced_tokens.saturating_add(usage.total()),
        }
    }
}

/// The sums of all agents. Money is rounded once for each agent, day and model, and then only added.
pub fn report<'a>(
    agents: impl IntoIterator<Item = (&'a str, &'a Ledger)>,
    by: Option<By>,
    prices: &Prices,
    now: Now,
    zone: Tz,
) -> UsageReport {
    let mut rows = BTreeMap::<_, UsageRow>::new();
    let mut total = UsageRow::default();
    let mut unpriced = BTreeSet::new();
    for (agent, ledger) in agents {
        for Cell { day, model, usage } in ledger.cells() {
            let cost = prices.cost(&model, day, &usage);
            if cost.is_none() {
                unpriced.insert(model.clone());
            }
            let agent = matches!(by, None | Some(By::Agent)).then(|| agent.to_owned());
            let day = matches!(by, None | Some(By::Day)).then(|| day.to_string());
            let model = matches!(by, None | Some(By::Model)).then_some(model);
            let row = rows.entry((day.clone(), agent.clone(), model.clone())).or_default();
            (row.agent, row.day, row.model) = (agent, day, model);
            row.add(&usage, cost);
            total.add(&usage, cost);
        }
    }
    UsageReport {
        version: 1,
        at: now.wall.to_rfc3339_opts(SecondsFormat::Millis, true),
        zone: zone.name().to_owned(),
        prices_checked: prices.checked.to_string(),
        by: by.map(|by| by.word().to_owned()),
        rows: rows.into_values().collect(),
        total,
        unpriced_models: unpriced.into_iter().collect(),
    }
}

/// `state/usage.json`: of each agent just what `ao status` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub version: u32,
    /// The day that `today` means.
    pub day: NaiveDate,
    pub agents: BTreeMap<String, UnitUsage>,
}

/// What an agent's own transcript says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UnitUsage {
    /// The model that the last answer came from.
    pub model_in_use: Option<String>,
    /// All tokens of this local day, cached ones included; `null`: not known for today.
    pub tokens_today: Option<u64>,
    /// Millionths of a US dollar at list prices, of the tokens that have one; `null`: none has.
    pub cost_today_micros: Option<i64>,
    /// Of `tokens_today`, the tokens of models without a known price.
    pub unpriced_tokens_today: u64,
    /// What stands in the conversation, as of the last answer.
    pub context_tokens: Option<u64>,
    /// How much the model can read at once.
    pub context_window: Option<u64>,
}

impl UnitUsage {
    /// How full the context is, in percent; `None` when either figure is unknown.
    pub fn context_percent(&self) -> Option<u64> {
        let window = self.context_window.filter(|&window| window > 0)?;
        Some(self.context_tokens?.saturating_mul(100) / window)
    }
}

/// The summary of all agents that have said anything.
pub fn summary<'a>(
    agents: impl IntoIterator<Item = (&'a str, &'a Ledger)>,
    prices: &Prices,
    now: Now,
    zone: Tz,
) -> Summary {
    let day = now.wall.with_timezone(&zone).date_naive();
    let said = agents.into_iter().filter(|(_, ledger)| !ledger.is_empty());
    let agents = said.map(|(name, ledger)| (name.to_owned(), unit(ledger, prices, day))).collect();
    Summary { version: 1, day, agents }
}

fn unit(ledger: &Ledger, prices: &Prices, day: NaiveDate) -> UnitUsage {
    let mut today = UsageRow::default();
    for cell in ledger.cells().iter().filter(|cell| cell.day == day) {
        today.add(&cell.usage, prices.cost(&cell.model, day, &cell.usage));
    }
    let context = &ledger.context;
    let model = Some(&context.model).filter(|model| !model.is_empty());
    UnitUsage {
        model_in_use: model.cloned(),
        tokens_today: Some(today.total),
        cost_today_micros: (today.total == 0 || today.unpriced_tokens < today.total)
            .then_some(today.cost_micros),
        unpriced_tokens_today: today.unpriced_tokens,
        context_tokens: context.tokens,
        context_window: context.window.or_else(|| prices.window(&context.model, day)),
    }
}

impl Summary {
    /// What holds for an agent on `today`; sums of another day are left out.
    pub fn of(&self, agent: &str, today: NaiveDate) -> Option<UnitUsage> {
        let mut usage = self.agents.get(agent)?.clone();
        if self.day != today {
            usage.tokens_today = None;
            usage.cost_today_micros = None;
            usage.unpriced_tokens_today = 0;
        }
        Some(usage)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::base::now::Mono;
    use crate::transcript::{Event, Used};

    fn now() -> Now {
        Now { wall: "2026-11-21T12:00:00Z".parse::<DateTime<Utc>>().unwrap(), mono: Mono(0) }
    }

    fn used(ledger: &mut Ledger, at: &str, model: &'static str, input: u64) {
        let usage = Usage { input, ..Usage::default() };
        let at = Some(at.parse().unwrap());
        let used = Used { at, id: None, model: model.into(), usage, sub: false };
        ledger.take("s", &Event::Used(used), now().wall, Tz::UTC);
    }

    fn agents() -> (Ledger, Ledger) {
        let (mut one, mut two) = (Ledger::default(), Ledger::default());
        used(&mut one, "2026-11-20T12:00:00Z", "claude-opus-5-5", 1_000);
        used(&mut one, "2026-11-21T12:00:00Z", "claude-opus-5-5", 500);
        used(&mut one, "2026-11-21T12:00:00Z", "claude-sonnet-5-5", 100);
        used(&mut two, "2026-11-21T12:00:00Z", "homemade", 7);
        (one, two)
    }

    #[track_caller]
    fn check(by: Option<By>, expected: &[(&str, u64, i64, u64)]) {
        let (one, two) = agents();
        let report = report([("one", &one), ("two", &two)], by, Prices::shipped(), now(), Tz::UTC);
        let rows = report.rows.iter().map(|row| {
            let key = [&row.day, &row.agent, &row.model];
            let key: Vec<&str> = key.into_iter().flatten().map(String::as_str).collect();
            (key.join(" "), row.total, row.cost_micros, row.unpriced_tokens)
        });
        let expected = expected.iter().map(|row| (row.0.to_owned(), row.1, row.2, row.3));
        assert_eq!(rows.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        assert_eq!((report.total.total, report.total.cost_micros), (1_607, 6_200));
        assert_eq!(report.unpriced_models, ["homemade"]);
    }

    #[test]
    fn sums_are_put_together_by_what_was_asked_for() {
        check(Some(By::Agent), &[("one", 1_600, 6_200, 0), ("two", 7, 0, 7)]);
        check(
            Some(By::Model),
            &[
                ("claude-opus-5-5", 1_500, 6_000, 0),
                ("claude-sonnet-5-5", 100, 200, 0),
                ("homemade", 7, 0, 7),
            ],
        );
        check(Some(By::Day), &[("2026-11-20", 1_000, 4_000, 0), ("2026-11-21", 607, 2_200, 7)]);
        check(
            None,
            &[
                ("2026-11-20 one claude-opus-5-5", 1_000, 4_000, 0),
                ("2026-11-21 one claude-opus-5-5", 500, 2_000, 0),
                ("2026-11-21 one claude-sonnet-5-5", 100, 200, 0),
                ("2026-11-21 two homemade", 7, 0, 7),
            ],
        );
    }

    #[test]
    fn a_summary_holds_today_and_the_model_really_in_use() {
        let (one, two) = agents();
        let none = Ledger::default();
        let all = [("none", &none), ("one", &one), ("two", &two)];
        let summary = summary(all, Prices::shipped(), now(), Tz::UTC);
        let one = summary.of("one", summary.day).unwrap();
        assert_eq!((one.tokens_today, one.cost_today_micros), (Some(600), Some(2_200)));
        assert_eq!(one.model_in_use.as_deref(), Some("claude-sonnet-5-5"));
        assert_eq!((one.context_tokens, one.context_window), (Some(100), Some(1_000_000)));
        let two = summary.of("two", summary.day).unwrap();
        assert_eq!((two.tokens_today, two.cost_today_micros), (Some(7), None));
        assert_eq!((two.context_window, two.context_percent()), (None, None));
        assert_eq!(summary.of("none", summary.day), None);
        let tomorrow = summary.of("one", summary.day.succ_opt().unwrap()).unwrap();
        assert_eq!((tomorrow.tokens_today, tomorrow.context_tokens), (None, Some(100)));
    }
}
