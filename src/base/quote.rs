//! Quoting a value for a POSIX shell, so that any text survives as one word.

/// The value as one shell word. Plain words stay as they are, everything else is single-quoted.
pub fn shell_word(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !value.is_empty() && value.chars().all(plain) && !value.starts_with('=') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_value_is_closed_escaped_and_reopened() {
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word("plain-word"), "plain-word");
        assert_eq!(shell_word(""), "''");
    }
}
