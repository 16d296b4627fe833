//! What tokens cost: a dated table that is data, and exact sums in millionths of a dollar.
//!
//! A model that the table does not know has no price; its tokens are counted and said to be unpriced.
//! Left out: surcharges for very long requests and special tiers, fees per search, subscriptions (what
//! a subscriber's tokens would have cost is shown all the same).

use std::sync::LazyLock;

use chrono::NaiveDate;
use serde::Deserialize;

use super::usage::Usage;
use crate::base::money::Micros;

const SHIPPED: &str = include_str!("prices.toml");

/// The table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// When the table was compared with its sources.
    pub checked: NaiveDate,
    pub sources: Vec<String>,
    price: Vec<Price>,
}

/// One model from one day on, in dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub model: String,
    /// The price holds from this day on; always, when absent.
    pub since: Option<NaiveDate>,
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    /// Like `input`, when absent.
    pub cache_write_5m: Option<f64>,
    /// Like `cache_write_5m`, when absent.
    pub cache_write_1h: Option<f64>,
    /// Tokens that the model can read at once.
    pub context: Option<u64>,
}

impl Prices {
    /// The table that ships in the program.
    pub fn shipped() -> &'static Self {
        static TABLE: LazyLock<Prices> =
            LazyLock::new(|| toml::from_str(SHIPPED).expect("tested: the shipped table reads"));
        &TABLE
    }

    /// The row for a model as CLIs name it (with a provider, a date, a variant), on a day.
    pub fn find(&self, model: &str, day: NaiveDate) -> Option<&Price> {
        let name = plain_name(model);
        let rows = || self.price.iter().filter(|row| row.since.is_none_or(|since| since <= day));
        let newest =
            |wanted: &str| rows().filter(|row| row.model == wanted).max_by_key(|row| row.since);
        newest(name).or_else(|| newest(without_date(name)?))
    }

    /// All rows of the table.
    pub fn rows(&self) -> impl Iterator<Item = &Price> {
        self.price.iter()
    }

    /// What the tokens cost, to the nearest millionth; `None`: the model has no price here.
    pub fn cost(&self, model: &str, day: NaiveDate, usage: &Usage) -> Option<Micros> {
        let price = self.find(model, day)?;
        let write_5m = price.cache_write_5m.unwrap_or(price.input);
        let parts = [
            (usage.input, price.input),
            (usage.output, price.output),
            (usage.cache_read, price.cache_read),
            (usage.cache_write_5m, write_5m),
            (usage.cache_write_1h, price.cache_write_1h.unwrap_or(write_5m)),
        ];
        let sum: i128 = parts
            .into_iter()
            .map(|(tokens, dollars)| i128::from(tokens) * i128::from(micros_a_million(dollars)))
            .sum();
        let rounded = (sum + 500_000) / 1_000_000;
        Some(Micros(i64::try_from(rounded).unwrap_or(i64::MAX)))
    }

    /// The context window of a model, in tokens.
    pub fn window(&self, model: &str, day: NaiveDate) -> Option<u64> {
        self.find(model, day)?.context
    }
}

#[expect(clippy::cast_possible_truncation, reason = "prices are far below 2^53 millionths")]
fn micros_a_million(dollars: f64) -> i64 {
    (dollars * 1e6).round() as i64
}

/// `us.anthropic.claude-x-v1:0`, `provider/claude-x`, `claude-x[1m]` → `claude-x`.
fn plain_name(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.split_once("anthropic.").map_or(name, |(_, name)| name);
    let end = name.find(['[', '@', ':']).unwrap_or(name.len());
    let name = &name[..end];
    name.strip_suffix("-v1").unwrap_or(name)
}

/// Without a final `-20251001` or `-2025-10-01`.
fn without_date(name: &str) -> Option<&str> {
    let tail =
        |digits: &str| digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let at = [9, 11].into_iter().find_map(|length| {
        let at = name.len().checked_sub(length)?;
        name.get(at..)?.strip_prefix('-').filter(|digits| tail(digits)).map(|_| at)
    })?;
    Some(&name[..at])
}
