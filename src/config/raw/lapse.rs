//! Durations as people write them: seconds as a number, or text such as `90s`, `5m`, `1h30m`, `2d`, `500ms`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::{Leaf, wrong_type};
use crate::config::diagnostic::Diagnostic;

/// A duration as the file says it; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lapse(pub(crate) Duration);

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

/// A text such as `1h30m` as a duration; a bare number is seconds.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text;
    let mut total = 0.0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let (unit, millis) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        if millis >= smallest {
            return None;
        }
        smallest = millis;
        #[expect(clippy::cast_precision_loss, reason = "the units are far below 2^52")]
        let weight = millis as f64;
        total += number * weight;
        rest = after[unit.len()..].trim_start();
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(total / 1_000.0).ok() }
}

impl Leaf for Lapse {
    fn accepted() -> String {
        "a duration".to_owned()
    }

    fn read(
        key: &str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let accepted = "a number of seconds or text such as \"90s\", \"5m\" or \"1h30m\"";
        let seconds = match value.get_ref() {
            #[expect(clippy::cast_precision_loss, reason = "far above any sane duration")]
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(|seconds| seconds as f64),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::String(text) => {
                let found = parse(text);
                if found.is_none() {
                    problems.push(
                        Diagnostic::error(format!("`{key}` is not a duration: `{text}`"))
                            .at(&value.span(), format!("expected {accepted}"))
                            .hint("units: `ms`, `s`, `m`, `h`, `d`, larger ones first"),
                    );
                }
                return found.map(Self);
            }
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                problems.push(wrong_type(key, value, accepted));
                return None;
            }
        };
        let found = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        if found.is_none() {
            let words = if seconds.is_some_and(|seconds| seconds < 0.0) {
                format!("`{key}` cannot be negative")
            } else {
                format!("`{key}` is not a duration")
            };
            problems
                .push(Diagnostic::error(words).at(&value.span(), format!("expected {accepted}")));
        }
        found.map(Self)
    }
}

impl JsonSchema for Lapse {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": r"^\s*([0-9.]+\s*(ms|s|m|h|d)?\s*)+$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn people_write_durations_in_several_ways() {
        let millis = |text| parse(text).map(|duration| duration.as_millis());
        assert_eq!(
            [millis("90s"), millis("5m"), millis("1h30m"), millis("2d"), millis("500ms")],
            [Some(90_000), Some(300_000), Some(5_400_000), Some(172_800_000), Some(500)]
        );
        assert_eq!(
            [millis("45"), millis("0.5"), millis("1h 30m")],
            [Some(45_000), Some(500), Some(5_400_000)]
        );
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5 parsecs", "m", "5m1h", "5m5m", "-5s", "1e400", "1..2s", "5s5"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_written_in_units_reads_back(days in 0u64..400, hours in 0u64..24, minutes in 0u64..60, seconds in 0u64..60) {
            let text = format!("{days}d{hours}h{minutes}m{seconds}s");
            let expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
            prop_assert_eq!(parse(&text), Some(Duration::from_secs(expected)));
        }
    }
}
