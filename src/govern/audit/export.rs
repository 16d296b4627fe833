//! A record as a line: JSON that verifies again elsewhere, CSV for tables.

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Record, from_hex, hex};

/// The first line of a CSV export.
pub const CSV_HEADER: &str = "org,seq,at,kind,actor,subject,action_id,details,hash";

/// One line of `ao audit … --json` and of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub org: String,
    /// From 1, without gaps within one organisation.
    pub seq: u64,
    /// RFC 3339, UTC, microseconds.
    pub at: String,
    pub kind: String,
    pub actor: String,
    pub subject: String,
    /// 0: about no act.
    pub action_id: i64,
    /// An object; a text where what is stored is no JSON any more.
    pub details: Value,
    /// blake3 over the fields and the hash before; lower-case hexadecimal.
    pub hash: String,
}

impl Line {
    pub fn new(record: &Record) -> Self {
        let at = record.at().map_or_else(
            || record.at_us.to_string(),
            |at| at.to_rfc3339_opts(SecondsFormat::Micros, true),
        );
        let details = serde_json::from_str(&record.details)
            .ok()
            .filter(|value: &Value| value.is_object() && canonical(value) == record.details)
            .unwrap_or_else(|| Value::String(record.details.clone()));
        Self {
            org: record.org.clone(),
            seq: record.seq,
            at,
            kind: record.kind.clone(),
            actor: record.actor.clone(),
            subject: record.subject.clone(),
            action_id: record.action_id,
            details,
            hash: hex(&record.hash),
        }
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a line is texts, numbers and a JSON value")
    }

    /// The record behind a line, when the line is letter for letter what [`Line::text`] gives.
    pub fn record(text: &str) -> Option<Record> {
        let line: Self = serde_json::from_str(text).ok()?;
        let at = DateTime::parse_from_rfc3339(&line.at).ok()?;
        let details = line.stored_details();
        let record = Record {
            org: line.org.clone(),
            seq: line.seq,
            at_us: at.timestamp_micros(),
            kind: line.kind.clone(),
            actor: line.actor.clone(),
            subject: line.subject.clone(),
            action_id: line.action_id,
            details,
            hash: from_hex(&line.hash)?,
        };
        (Self::new(&record).text() == text).then_some(record)
    }

    fn stored_details(&self) -> String {
        self.details.as_str().map_or_else(|| canonical(&self.details), str::to_owned)
    }

    pub fn csv(&self) -> String {
        let details = self.stored_details();
        let (seq, action_id) = (self.seq.to_string(), self.action_id.to_string());
        let cells: [&str; 9] = [
            &self.org,
            &seq,
            &self.at,
            &self.kind,
            &self.actor,
            &self.subject,
            &action_id,
            &details,
            &self.hash,
        ];
        cells.map(cell).join(",")
    }
}

fn canonical(value: &Value) -> String {
    value.to_string()
}

/// Quoted where needed. A text that a spreadsheet would run as a formula gets a `'` in front.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, Kind, Tail};
    use super::*;

    fn record() -> Record {
        let draft = Draft::new(Kind::Decided, "builder", "rm -rf \"a, b\"")
            .about(7)
            .with("effect", "deny")
            .with("token", "s3cret");
        let at = DateTime::from_timestamp(1_790_000_000, 123_456_000).unwrap();
        Record::chained("local", &Tail::EMPTY, &draft, at)
    }

    #[test]
    fn a_line_gives_its_record_back_and_no_changed_byte_gives_the_same() {
        let record = record();
        let text = Line::new(&record).text();
        assert_eq!(Line::record(&text), Some(record.clone()));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let whole = Line::record(&changed)
                .is_some_and(|found| found.expected_hash(&super::super::GENESIS) == found.hash);
            assert!(!whole, "byte {at}: {changed}");
        }
    }

    #[test]
    fn a_secret_does_not_reach_the_record() {
        let text = Line::new(&record()).text();
        assert!(!text.contains("s3cret") && text.contains("[redacted]"), "{text}");
    }

    #[test]
    fn csv_quotes_what_needs_it_and_disarms_formulas() {
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(cell("=1+1"), "'=1+1");
        let line = Line::new(&record()).csv();
        assert!(line.contains(",builder,\"rm -rf \"\"a, b\"\"\",7,"), "{line}");
        assert_eq!(line.split(',').next(), CSV_HEADER.split(',').next().map(|_| "local"));
    }
}
