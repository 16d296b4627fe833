//! `[serve]`, checked: what `ao serve` may reach, and whom it believes.

/// `[serve]`; every field has a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serve {
    /// Webhooks may go to this machine and into private networks, and by plain `http`.
    pub webhooks_to_private: bool,
}
