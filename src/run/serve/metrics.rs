//! Counters of this run, in the text form of Prometheus. They name no organisation and no agent.

use std::sync::atomic::{AtomicU64, Ordering};

const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];
const DECISIONS: [&str; 3] = ["allowed", "pending", "denied"];

#[derive(Debug, Default)]
pub struct Metrics {
    requests: [AtomicU64; 3],
    decisions: [AtomicU64; 3],
    unauthenticated: AtomicU64,
    turned_away: AtomicU64,
}

impl Metrics {
    /// One answer as it goes out. Each answer with a decision counts, looked-up ones too.
    pub fn count(&self, status: u16, decision: Option<&str>) {
        let class = match status {
            0..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        self.requests[class].fetch_add(1, Ordering::Relaxed);
        match status {
            401 => self.unauthenticated.fetch_add(1, Ordering::Relaxed),
            429 => self.turned_away.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        if let Some(at) = DECISIONS.iter().position(|word| Some(*word) == decision) {
            self.decisions[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut family = |name: &str, what: &str, rows: &[(String, &AtomicU64)]| {
            text.extend(["# HELP ", name, " ", what, "\n# TYPE ", name, " counter\n"]);
            for (labels, counter) in rows {
                let value = counter.load(Ordering::Relaxed).to_string();
                text.extend([name, labels, " ", &value, "\n"]);
            }
        };
        let labelled =
            |name: &str, words: [&str; 3]| words.map(|word| format!("{{{name}=\"{word}\"}}"));
        let rows: Vec<_> = labelled("class", CLASSES).into_iter().zip(&self.requests).collect();
        family("ao_http_requests_total", "Answers by class of status.", &rows);
        let rows: Vec<_> =
            labelled("decision", DECISIONS).into_iter().zip(&self.decisions).collect();
        family("ao_decisions_answered_total", "Answers that carried a decision.", &rows);
        let one = |counter| [(String::new(), counter)];
        family(
            "ao_http_unauthenticated_total",
            "Requests without a valid key.",
            &one(&self.unauthenticated),
        );
        family(
            "ao_http_turned_away_total",
            "Requests turned away because too many waited.",
            &one(&self.turned_away),
        );
        text
    }
}
