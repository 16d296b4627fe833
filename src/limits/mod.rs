//! Usage limits: banner text to reset instant to window.
//!
//! [`banner`] says whether and what a text limits, [`reset`] when that ends, [`window`] what to do
//! about it, [`account`] who goes first, [`record`] how it outlives this process. Not here: which
//! part of a screen is live; the caller passes the text that the screen rules took for a banner.

pub mod account;
pub mod banner;
pub mod record;
pub mod reset;
pub mod text;
pub mod window;

use crate::base::zone::Tz;
use chrono::{DateTime, Utc};

pub use banner::{Banner, Scope};
pub use reset::{Precision, Reset};

/// The limit a text announces and when it ends; `None` when the text announces none.
///
/// `zone` is for printed times that name no zone: the zone the CLI runs in.
pub fn read(text: &str, now: DateTime<Utc>, zone: Tz) -> Option<(Banner, Option<Reset>)> {
    let banner = banner::read(text)?;
    Some((banner, reset::parse(text, now, zone)))
}

/// The same for a text that a person's own `limit_re` already took for a banner: unknown words
/// still give a banner, of unknown scope.
pub fn read_judged(text: &str, now: DateTime<Utc>, zone: Tz) -> (Banner, Option<Reset>) {
    let banner = banner::read(text).unwrap_or_default();
    (banner, reset::parse(text, now, zone))
}
