//! "Did you mean": the known name nearest to a mistyped one.

/// The known name nearest to `typed`, when it is near enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(far, _)| *far <= bound)
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Names that a hint lists; more are counted.
const LISTED_MAX: usize = 20;

/// What to do about a name that is not known: the one that may be meant, else those that there are.
pub fn advice(typed: &str, known: &[&str]) -> String {
    if let Some(near) = nearest(typed, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let listed = known[..known.len().min(LISTED_MAX)].join("`, `");
    match known.len().saturating_sub(LISTED_MAX) {
        0 => format!("known: `{listed}`"),
        more => format!("known: `{listed}` and {more} more"),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_suggested_and_a_far_one_is_not() {
        let known = ["session_prefix", "log_dir", "backend"];
        assert_eq!(nearest("sesion_prefix", known), Some("session_prefix"));
        assert_eq!(nearest("lgo_dir", known), Some("log_dir"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_thousand_names_are_not_listed() {
        let names: Vec<String> = (0..1_000).map(|number| format!("agent-{number}")).collect();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(advice("agent-7x", &known), "did you mean `agent-7`?");
        assert_eq!(advice("nobody", &known[..2]), "known: `agent-0`, `agent-1`");
        assert!(advice("nobody", &known).ends_with("`agent-19` and 980 more"));
    }
}
