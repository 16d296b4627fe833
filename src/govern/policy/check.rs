//! Rules that load but cannot be meant: never matching, shadowed, contradictory, about nobody.
//!
//! All are warnings. What is said is certain; what is not said may still be wrong, as patterns and
//! conditions are compared only where that can be decided.

use std::collections::BTreeMap;

use super::Known;
use super::expression::{Code, Comparison, Conjunct};
use super::resolve::Placed;
use super::rule::{Effect, Limit, Rule};
use crate::base::suggest;
use crate::config::diagnostic::Diagnostic;
use crate::govern::attribute::Source;

/// Warnings with the file (by place in the list) each belongs to. `rules` are in the order of their names.
pub(super) fn check(rules: &[(usize, Placed<Rule>)], known: &Known) -> Vec<(usize, Diagnostic)> {
    let mut found = Vec::new();
    for (place, (file, placed)) in rules.iter().enumerate() {
        let rule = &placed.value;
        let mut warn = |message: String, label: &str| {
            found.push((*file, Diagnostic::warning(message).at(&placed.span, label)));
        };
        for message in never(rule) {
            warn(format!("`{}` never matches", rule.name), &message);
        }
        unknown(rule, known, &mut warn);
        claims(rule, &mut warn);
        for (other_place, (other_file, other)) in rules.iter().enumerate() {
            if other_place == place {
                continue;
            }
            let pair = clash(rule, &other.value, other_place < place);
            let Some((message, label)) = pair else { continue };
            let warning = Diagnostic::warning(message).at(&placed.span, label);
            let warning = if other_file == file {
                warning.at(&other.span, "this one")
            } else {
                warning.hint(format!("`{}` stands in another file", other.value.name))
            };
            found.push((*file, warning));
        }
    }
    found
}

/// Why a rule can never match.
fn never(rule: &Rule) -> Vec<String> {
    let mut reasons = Vec::new();
    if rule.scope.trust_min > rule.scope.trust_max {
        reasons.push("no trust level lies in its range".to_owned());
    }
    for condition in &rule.conditions {
        if condition.code == Code::Bool(false) {
            reasons.push("its condition is `false`".to_owned());
        }
    }
    reasons.extend(impossible(&rule.conditions));
    reasons
}

/// Comparisons of one attribute with constants that cannot all hold.
fn impossible(conditions: &[Conjunct]) -> Option<String> {
    let mut ranges: BTreeMap<&str, (f64, bool, f64, bool)> = BTreeMap::new();
    let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
    for condition in conditions {
        let Code::Compare(comparison, left, right) = &condition.code else { continue };
        let (name, comparison, constant) = match (&**left, &**right) {
            (Code::Attribute(reference), constant) => (&*reference.name, *comparison, constant),
            (constant, Code::Attribute(reference)) => {
                (&*reference.name, turned(*comparison), constant)
            }
            _ => continue,
        };
        if let (Code::Text(text), Comparison::Equal) = (constant, comparison)
            && texts.insert(name, text).is_some_and(|before| before != text)
        {
            return Some(format!("`{name}` cannot equal two texts"));
        }
        let Some(value) = number(constant) else { continue };
        let (low, low_open, high, high_open) =
            ranges.entry(name).or_insert((f64::NEG_INFINITY, false, f64::INFINITY, false));
        let raises = matches!(
            comparison,
            Comparison::Greater | Comparison::GreaterOrEqual | Comparison::Equal
        );
        let lowers =
            matches!(comparison, Comparison::Less | Comparison::LessOrEqual | Comparison::Equal);
        if raises && value >= *low {
            *low_open = (value <= *low && *low_open) || comparison == Comparison::Greater;
            *low = value;
        }
        if lowers && value <= *high {
            *high_open = (value >= *high && *high_open) || comparison == Comparison::Less;
            *high = value;
        }
        if low > high || (low >= high && (*low_open || *high_open)) {
            return Some(format!("`{name}` cannot be both above and below"));
        }
    }
    None
}

fn turned(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        Comparison::Equal | Comparison::Unequal => comparison,
    }
}

fn number(code: &Code) -> Option<f64> {
    if let Code::Float(value) = code {
        return Some(*value);
    }
    #[expect(clippy::cast_precision_loss, reason = "a rounded bound only costs a warning")]
    if let Code::Int(value) | Code::Money(value) = code { Some(*value as f64) } else { None }
}

fn unknown(rule: &Rule, known: &Known, warn: &mut impl FnMut(String, &str)) {
    let lists = [
        ("agent", &rule.scope.agents, &known.agents),
        ("action", &rule.scope.actions, &known.actions),
        ("project", &rule.scope.projects, &known.projects),
    ];
    for (noun, globs, names) in lists {
        for glob in globs.0.iter().filter(|_| !names.is_empty()) {
            if names.iter().any(|name| glob.matches(name)) {
                continue;
            }
            let label = match suggest::nearest(&glob.text, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("no known {noun} matches it"),
            };
            warn(format!("`{}` names an unknown {noun}: `{}`", rule.name, glob.text), &label);
        }
    }
}

/// A permit that rests on what agents say themselves.
fn claims(rule: &Rule, warn: &mut impl FnMut(String, &str)) {
    if rule.effect != Some(Effect::Permit) {
        return;
    }
    for reference in rule.conditions.iter().flat_map(|condition| condition.code.references()) {
        if reference.name.starts_with("context.")
            && !reference.verified
            && claimable(&reference.name)
        {
            warn(
                format!(
                    "`{}` permits by `{}`, which agents say themselves",
                    rule.name, reference.name
                ),
                "only a verified value opens a permit; write `verified(…)` to show it",
            );
        }
    }
}

fn claimable(name: &str) -> bool {
    super::schema::Schema::default().get(name).is_none_or(|known| known.from == Source::Agent)
}

/// What one rule makes of another; the pair is reported once, at the milder rule.
fn clash(rule: &Rule, other: &Rule, earlier: bool) -> Option<(String, &'static str)> {
    if rule.shadow || other.shadow {
        return None;
    }
    let (effect, stricter) = (rule.effect?, other.effect?);
    // The cheap question first: this runs for every pair of rules.
    if stricter < effect || !other.scope.covers(&rule.scope) {
        return None;
    }
    let same_time = rule.schedule == other.schedule && same(&rule.conditions, &other.conditions);
    if effect == Effect::Permit
        && stricter == Effect::Deny
        && same_time
        && rule.scope == other.scope
    {
        let message = format!("`{}` contradicts `{}`: the same acts", rule.name, other.name);
        return Some((message, "denied all the same"));
    }
    let always = other.schedule.is_none() && other.conditions.is_empty();
    if !(always || same_time) {
        return None;
    }
    // A bound may withhold a permit or add a voice; then the rule is not idle.
    if rule.bounds.iter().any(|bound| !matches!(bound.limit, Limit::Size(_))) {
        return None;
    }
    if stricter > effect {
        let message = format!("`{}` is shadowed by `{}`", rule.name, other.name);
        return Some((message, "what it says is never the strictest"));
    }
    let twin = stricter == effect && earlier && other.bounds.is_empty();
    let wider = rule.escalation == other.escalation;
    (twin && wider).then(|| {
        (
            format!("`{}` adds nothing to `{}`", rule.name, other.name),
            "the same effect for fewer acts",
        )
    })
}

fn same(left: &[Conjunct], right: &[Conjunct]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.text == b.text)
}
