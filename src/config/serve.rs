//! `[serve]`, checked: what `ao serve` may reach, and whom it believes.

use std::path::PathBuf;

/// `[serve]`; every field has a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serve {
    /// Webhooks may go to this machine and into private networks, and by plain `http`.
    pub webhooks_to_private: bool,
    /// Who says who a person is; `None`: only this server itself.
    pub people: Option<People>,
}

/// An issuer of tokens for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    pub issuer: String,
    pub audience: String,
    pub algorithm: Algorithm,
    /// File of the key that checks signatures.
    pub key: PathBuf,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    EdDsa,
    Hs256,
}
