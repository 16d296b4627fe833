//! What a text limits: the five-hour window, the week, one model, money, or we cannot say.
//!
//! Reads the words of Claude Code, Codex, opencode and Gemini. Leaves out when it ends (`reset`).
//! Surprises: a footer that says "95 % of your 5-hour limit" is a warning and stops nothing, and
//! the server's "temporarily limiting requests (not your usage limit)" is no usage limit at all.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::text::flattened;

/// A usage limit as announced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Banner {
    pub scope: Scope,
    /// The CLI says that it goes on by itself at the reset.
    pub continues_itself: bool,
    /// Nothing is blocked yet.
    pub warning_only: bool,
}

/// What is limited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    FiveHour,
    Weekly,
    Opus,
    Sonnet,
    /// One model, by the name the text gives.
    Model(String),
    Session,
    /// A spending cap that somebody set.
    Spend,
    /// Paid credits are used up.
    Credits,
    /// A limit of an API key.
    ApiKey,
    #[default]
    Unknown,
}

impl Scope {
    /// The words for people: `5-hour limit`.
    pub fn words(&self) -> String {
        match self {
            Self::FiveHour => "5-hour limit".to_owned(),
            Self::Weekly => "weekly limit".to_owned(),
            Self::Opus => "Opus limit".to_owned(),
            Self::Sonnet => "Sonnet limit".to_owned(),
            Self::Model(name) => format!("{name} limit"),
            Self::Session => "session limit".to_owned(),
            Self::Spend => "spend limit".to_owned(),
            Self::Credits => "out of credits".to_owned(),
            Self::ApiKey => "API limit".to_owned(),
            Self::Unknown => "usage limit".to_owned(),
        }
    }

    /// Only a person can lift it: waiting alone does not.
    pub fn needs_person(&self) -> bool {
        match self {
            Self::Spend | Self::Credits => true,
            Self::FiveHour
            | Self::Weekly
            | Self::Opus
            | Self::Sonnet
            | Self::Model(_)
            | Self::Session
            | Self::ApiKey
            | Self::Unknown => false,
        }
    }
}

macro_rules! pattern {
    ($name:ident, $($text:expr),+) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(concat!("(?i)", $($text),+)).expect("constant pattern compiles"));
    };
}

pattern!(
    BLOCKED,
    r"you(?:'ve| have)? (?:hit|reached) your|hit your spend cap|out of (?:usage credits|extra usage|usage|credits)",
    r"|(?:requires?|doesn't include) usage credits|usage allocation has been disabled",
    r"|(?:limit|cap|quota) (?:has been )?(?:reached|exceeded)|(?:usage|quota) exceeded|exceeded your (?:current )?quota",
    r"|automatic continue (?:cancelled|stopped|did not run)|reached your (?:specified )?.{0,30}limit",
    r"|last status: 429|too many requests|wait for limit to reset|exhausted your (?:capacity|quota)"
);
pattern!(NOT_USAGE, r"not your usage limit");
pattern!(
    WARNING,
    r"used \d+% of your|approaching (?:your |rate |usage )?[a-z0-9 -]{0,20}limit|over \d+% of your",
    r"|limit: only <?\d+% left|fast limit reached, fast mode paused"
);
pattern!(
    CONTINUES,
    r"continuing (?:automatically (?:at|in)|shortly)|retrying in [^·\]]{1,30}attempt #\d|\[retrying attempt #\d|limit reached · retrying in"
);
pattern!(STOPPED, r"automatic continue (?:cancelled|stopped|did not run)");
pattern!(SPEND, r"spend (?:limit|cap)|pooled group budget|monthly budget");
pattern!(
    CREDITS,
    r"out of (?:usage credits|extra usage|usage|credits)|usage credits|allocation has been disabled|quota exceeded|exceeded your current quota|insufficient_quota"
);
pattern!(MODEL, r"usage limit (?:reached )?for (?:all )?([A-Za-z0-9][A-Za-z0-9._:/-]*[A-Za-z0-9])");
pattern!(
    NAMED,
    r"\b(?:hit|reached) your (?:(5[- ]hour)|(weekly)|(opus)|(sonnet)|(session)|([a-z][a-z0-9.-]*)) limit"
);
pattern!(FIVE_HOUR, r"\b5[- ]?h(?:our)?s? (?:usage )?limit");
pattern!(WEEKLY, r"\bweekly (?:usage )?limit");
pattern!(SESSION, r"\bsession limit");
pattern!(OPUS, r"\bopus limit");
pattern!(SONNET, r"\bsonnet limit");
pattern!(MODEL_LIMIT, r"\b(fable|haiku) limit");
pattern!(
    API,
    r"api usage limits?|rate limit|last status: 429|too many requests|request rejected \(429\)"
);

/// The limit a text announces; `None` when it announces none.
pub fn read(text: &str) -> Option<Banner> {
    let flat = flattened(text);
    let warning = WARNING.replace_all(&flat, "");
    let blocked =
        BLOCKED.is_match(&warning) && (!NOT_USAGE.is_match(&flat) || SCOPED.is_match(&warning));
    if !blocked && !WARNING.is_match(&flat) {
        return None;
    }
    let last = |pattern: &Regex| pattern.find_iter(&flat).last().map(|found| found.start());
    let continues_itself = blocked && last(&CONTINUES) > last(&STOPPED);
    Some(Banner {
        scope: scope(if blocked { &warning } else { &flat }),
        continues_itself,
        warning_only: !blocked,
    })
}

pattern!(SCOPED, r"you(?:'ve| have)? (?:hit|reached) your");

/// Money first: its texts also name the window that ends next.
fn scope(flat: &str) -> Scope {
    if SPEND.is_match(flat) {
        return Scope::Spend;
    }
    if CREDITS.is_match(flat) {
        return Scope::Credits;
    }
    if let Some(found) = MODEL.captures(flat) {
        return Scope::Model(found[1].to_owned());
    }
    if let Some(scope) = NAMED.captures_iter(flat).last().and_then(|found| named(&found)) {
        return scope;
    }
    let fixed: [(&Regex, Scope); 5] = [
        (&FIVE_HOUR, Scope::FiveHour),
        (&OPUS, Scope::Opus),
        (&SONNET, Scope::Sonnet),
        (&WEEKLY, Scope::Weekly),
        (&SESSION, Scope::Session),
    ];
    if let Some((_, scope)) = fixed.into_iter().find(|(pattern, _)| pattern.is_match(flat)) {
        return scope;
    }
    if let Some(found) = MODEL_LIMIT.captures(flat) {
        return Scope::Model(found[1].to_owned());
    }
    if API.is_match(flat) { Scope::ApiKey } else { Scope::Unknown }
}

fn named(found: &regex::Captures<'_>) -> Option<Scope> {
    let known = [Scope::FiveHour, Scope::Weekly, Scope::Opus, Scope::Sonnet, Scope::Session];
    if let Some(scope) = known.into_iter().zip(1..).find(|(_, group)| found.get(*group).is_some()) {
        return Some(scope.0);
    }
    let word = found.get(6)?.as_str();
    let plain = ["usage", "rate", "request", "token", "spend", "your"];
    (!plain.contains(&word.to_ascii_lowercase().as_str())).then(|| Scope::Model(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scope`, `+` if it continues by itself, `warning` if nothing is blocked; `none` otherwise.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = read(text).map_or("none".to_owned(), |banner| {
            let more = if banner.continues_itself { " +" } else { "" };
            let warning = if banner.warning_only { " warning" } else { "" };
            format!("{}{more}{warning}", banner.scope.words())
        });
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn each_banner_says_what_it_limits() {
        for (text, expected) in [
            ("You've hit your 5-hour limit · resets 6:32am (Europe/Berlin)", "5-hour limit"),
            ("You've hit your weekly\n   limit · resets Nov 24, 3pm", "weekly limit"),
            ("You've hit your Opus limit · resets Nov 23, 12:01pm", "Opus limit"),
            ("You've hit your Sonnet limit · resets Nov 23, 12:01pm", "Sonnet limit"),
            ("You've hit your Fable limit · resets Nov 23, 12:01pm", "Fable limit"),
            ("You've hit your session limit · resets 12:50am", "session limit"),
            ("You've hit your limit · resets 4:50am (Europe/Rome)", "usage limit"),
            ("5-hour limit reached ∙ resets 3am", "5-hour limit"),
            ("Weekly limit reached ∙ resets Oct 9, 5pm", "weekly limit"),
            ("Claude AI usage limit reached|1762952400", "usage limit"),
            (
                "You've hit your individual spend limit · your 5-hour limit resets 6:39am",
                "spend limit",
            ),
            ("You're out of usage credits · resets 3pm", "out of credits"),
            ("Your org is out of usage · contact your admin", "out of credits"),
            ("API Error: 400 You have reached your specified API usage limits.", "API limit"),
            ("■ You’ve hit your usage limit. Try again at 5:20 AM.", "usage limit"),
            (
                "■ You’ve hit your usage limit for gpt-6-luna. Switch to another model",
                "gpt-6-luna limit",
            ),
            ("■ Your workspace is out of credits.", "out of credits"),
            ("■ You hit your spend cap set by the owner of your workspace.", "spend limit"),
            ("■ exceeded retry limit, last status: 429 Too Many Requests", "API limit"),
            (
                "Usage limit reached for gemini-3-pro. Access resets at 6:01 AM UTC.",
                "gemini-3-pro limit",
            ),
            ("Usage limit reached for all Pro models.", "Pro limit"),
            ("What do you want to do? ❯ 1. Stop and wait for limit to reset", "usage limit"),
            ("┃  The usage limit has been reached", "usage limit"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_cli_that_goes_on_by_itself_is_known_until_that_is_cancelled() {
        check(
            "● Usage limit reached · continuing automatically at 6:32am · esc to cancel",
            "usage limit +",
        );
        check(
            "⬝5■hour■usage limit reached. It will reset in 2 hours 30 minutes. [retrying in 2h 29m attempt #1]",
            "5-hour limit +",
        );
        check(
            "Free usage exceeded, subscribe to Go [retrying in 1h 59m attempt #1]",
            "usage limit +",
        );
        check(
            "You've hit your 5-hour limit · resets 6:32am ● Usage limit reached · continuing automatically at 6:32am ● Automatic continue cancelled",
            "5-hour limit",
        );
        check(
            "You've hit your 5-hour limit 2. Wait here, then continue automatically at 6:36am",
            "5-hour limit",
        );
    }

    #[test]
    fn warnings_and_other_troubles_are_not_limits() {
        check(
            "You've used 95% of your 5-hour limit · resets 6:28am (Europe/Berlin)",
            "5-hour limit warning",
        );
        check(
            "⚠ 5h limit: only <1% left · resets at 03:21 on 24 Nov · /status",
            "5-hour limit warning",
        );
        check("Server is temporarily limiting requests (not your usage limit) · try later", "none");
        check("✻ 529 Overloaded · retrying in 1s · attempt 3/10", "none");
        check("● Usage limit reset · Continuing automatically", "none");
        check("I added a rate limiter and a usage table.", "none");
    }
}
