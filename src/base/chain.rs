//! An error with its sources, on one line.

use std::error::Error;

/// `cannot read X: permission denied`: each cause once, from the outside in.
pub fn text(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(current) = next {
        let part = current.to_string();
        // A transparent variant says the same as its source.
        if parts.last() != Some(&part) {
            parts.push(part);
        }
        next = current.source();
    }
    parts.join(": ")
}
