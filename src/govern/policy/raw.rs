//! A policy file as YAML has it: strict booleans, unknown fields refused, places kept where a check
//! may complain. What the fields mean is decided in [`super::resolve`].

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, MergeKeyPolicy};

use super::rule::{By, Effect};
use crate::config::diagnostic::Diagnostic;
use crate::govern::action::Micros;
use crate::govern::attribute::Source;
use crate::govern::class::Class;
use crate::govern::trust::Level;

pub(super) type At<T> = serde_saphyr::Spanned<T>;
pub(super) type Json = serde_json::Value;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, At<RawAttribute>>,
    #[serde(default)]
    pub(super) policies: Vec<At<RawPolicy>>,
    #[serde(default)]
    pub(super) tests: Vec<At<RawCase>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttribute {
    pub(super) r#type: String,
    pub(super) unit: Option<String>,
    pub(super) from: Option<Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) name: At<String>,
    pub(super) description: Option<String>,
    pub(super) mode: Option<Mode>,
    #[serde(default)]
    pub(super) scope: RawScope,
    #[serde(default)]
    pub(super) when: RawWhen,
    pub(super) effect: Option<At<Effect>>,
    #[serde(default)]
    pub(super) constraints: RawConstraints,
    pub(super) escalation: Option<At<RawEscalation>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Enforce,
    Shadow,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScope {
    #[serde(default)]
    pub(super) agents: Vec<At<String>>,
    #[serde(default)]
    pub(super) actions: Vec<At<String>>,
    #[serde(default)]
    pub(super) resources: Vec<At<String>>,
    #[serde(default)]
    pub(super) projects: Vec<At<String>>,
    #[serde(default)]
    pub(super) orgs: Vec<At<String>>,
    pub(super) trust: Option<At<RawTrust>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrust {
    pub(super) min: Option<Level>,
    pub(super) max: Option<Level>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWhen {
    pub(super) schedule: Option<At<RawSchedule>>,
    pub(super) condition: Option<At<String>>,
    #[serde(default)]
    pub(super) system: BTreeMap<String, At<Json>>,
    pub(super) cost: Option<At<RawCost>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCost {
    pub(super) above: Option<Money>,
    pub(super) below: Option<Money>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSchedule {
    pub(super) zone: Option<At<String>>,
    pub(super) windows: Vec<At<RawWindow>>,
    #[serde(default)]
    pub(super) holidays: Vec<At<String>>,
    #[serde(default)]
    pub(super) only: Side,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    #[default]
    Inside,
    Outside,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWindow {
    #[serde(default)]
    pub(super) days: Vec<At<String>>,
    pub(super) from: Option<At<String>>,
    pub(super) to: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConstraints {
    pub(super) rate: Option<At<RawRate>>,
    pub(super) concurrency: Option<At<RawConcurrency>>,
    pub(super) cost: Option<At<RawBudget>>,
    #[serde(default)]
    pub(super) resources: Vec<At<String>>,
    pub(super) size_max: Option<At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRate {
    pub(super) count: u32,
    pub(super) per: At<String>,
    pub(super) by: Option<By>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConcurrency {
    pub(super) count: u32,
    pub(super) by: Option<By>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    pub(super) day: Option<Money>,
    pub(super) week: Option<Money>,
    pub(super) month: Option<Money>,
    pub(super) by: Option<By>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEscalation {
    pub(super) over: Option<At<Effect>>,
    #[serde(default)]
    pub(super) approvers: Vec<String>,
    pub(super) timeout: Option<At<String>>,
    #[serde(default)]
    pub(super) notify: Vec<String>,
    pub(super) downgrade_to: Option<Level>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCase {
    pub(super) name: At<String>,
    pub(super) agent: String,
    pub(super) trust: Option<Level>,
    pub(super) class: Option<Class>,
    pub(super) action: String,
    #[serde(default)]
    pub(super) resource: String,
    pub(super) project: Option<String>,
    pub(super) org: Option<String>,
    pub(super) cost: Option<Money>,
    #[serde(default)]
    pub(super) context: BTreeMap<String, Json>,
    #[serde(default)]
    pub(super) verified: BTreeMap<String, At<Json>>,
    #[serde(default)]
    pub(super) server: BTreeMap<String, At<Json>>,
    pub(super) at: Option<At<String>>,
    #[serde(default)]
    pub(super) used: BTreeMap<String, At<RawUsed>>,
    pub(super) expect: Expected,
    #[serde(default)]
    pub(super) by: Vec<At<String>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUsed {
    #[serde(default)]
    pub(super) rate: i64,
    #[serde(default)]
    pub(super) concurrency: i64,
    #[serde(default)]
    pub(super) cost: Money,
}

/// What a test expects of the whole set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Expected {
    Permit,
    Notify,
    RequireApproval,
    Deny,
    /// No rule speaks: trust alone decides.
    Nothing,
}

/// Dollars: `5`, `0.25`, `"$5"`; never below 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Money(pub(super) Micros);

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Dollars;
        impl Visitor<'_> for Dollars {
            type Value = Money;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("dollars such as 5, 0.25 or $5")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Money, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Money, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Money, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Money, E> {
                dollars(text).map(|micros| Money(Micros(micros))).ok_or_else(|| {
                    E::custom(format!("`{text}` is not dollars such as 5, 0.25 or $5"))
                })
            }
        }
        from.deserialize_any(Dollars)
    }
}

/// Millionths of a dollar; at most six digits behind the point.
pub(crate) fn dollars(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_prefix('$').unwrap_or(text);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

/// Reads one file; what is wrong with its form is one diagnostic, as the reader stops there.
pub(super) fn read(source: &str) -> Result<File, Diagnostic> {
    if source.trim().is_empty() {
        return Ok(File::default());
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(source, options).map_err(|error| {
        let message = error.without_snippet().to_string();
        let place = error.location().map_or(0..0, |location| span(&location, source));
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
        Diagnostic::error(message.trim_start_matches("error: ").to_owned()).at(&place, "")
    })
}

/// Where a value stands, as bytes of the source.
pub(super) fn span(location: &Location, source: &str) -> Range<usize> {
    let span = location.span();
    let place = |number: Option<u64>| number.and_then(|number| usize::try_from(number).ok());
    let start = place(span.byte_offset()).unwrap_or_else(|| {
        let (line, column) = (location.line(), location.column());
        let before = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
        let line_start: usize = source.split_inclusive('\n').take(before).map(str::len).sum();
        line_start + usize::try_from(column.saturating_sub(1)).unwrap_or(0)
    });
    let start = start.min(source.len());
    let end = start + place(span.byte_len()).unwrap_or(1).max(1);
    // A block's span runs on to the next key: what is shown ends with its text.
    let text = source.get(start..end.min(source.len())).unwrap_or("");
    start..start + text.trim_end().len().max(1)
}

pub(super) fn place<T>(value: &At<T>, source: &str) -> Range<usize> {
    span(&value.referenced, source)
}
