//! Money as whole numbers. No currency but the US dollar, no exchange rates.

use serde::{Deserialize, Serialize};

/// Money in millionths of a US dollar; sums of it never round.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// `$1,234.50` in words for people: `$1234.50`, below a cent `$0.0042`.
    pub fn dollars(self) -> String {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let cents = micros.saturating_add(5_000) / 10_000;
        if cents == 0 && micros > 0 {
            let small = micros.saturating_add(50) / 100;
            return format!("{sign}$0.{small:04}");
        }
        format!("{sign}${}.{:02}", cents / 100, cents % 100)
    }
}

impl std::iter::Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        Self(parts.fold(0, |sum, part| sum.saturating_add(part.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_said_in_cents_and_below_a_cent_in_hundredths_of_one() {
        let said = |micros| Micros(micros).dollars();
        assert_eq!(
            [said(0), said(4_249), said(24_113), said(1_234_500_000), said(-995_000), said(20)],
            ["$0.00", "$0.0042", "$0.02", "$1234.50", "-$1.00", "$0.0000"]
        );
    }
}
