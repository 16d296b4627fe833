//! Secrets that must be read again, sealed before they go into the store.
//!
//! The key follows from the one in the operator's folder, so that a copy of the database alone opens
//! nothing. What a secret belongs to is part of the seal: one cannot be moved to another row.

use std::io::Read as _;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::govern::audit::hex;

const CONTEXT: &str = "ao 2026-11 sealed secrets of the store";

fn key(server_key: &[u8; 32]) -> LessSafeKey {
    let own = blake3::derive_key(CONTEXT, server_key);
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &own).expect("the key has its length"))
}

/// So many random bytes.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Seals a secret that belongs to `whose`.
pub fn seal(server_key: &[u8; 32], whose: &str, secret: &str) -> std::io::Result<String> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut bytes = secret.as_bytes().to_vec();
    let (at, whose) = (Nonce::assume_unique_for_key(nonce), Aad::from(whose.as_bytes()));
    key(server_key)
        .seal_in_place_append_tag(at, whose, &mut bytes)
        .expect("secrets are shorter than the cipher's bound");
    Ok(format!("{}{}", hex(&nonce), hex(&bytes)))
}

/// The secret, if it was sealed here for `whose`.
pub fn open(server_key: &[u8; 32], whose: &str, sealed: &str) -> Option<String> {
    let pair = |at: usize| u8::from_str_radix(sealed.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..sealed.len()).step_by(2).map(pair).collect();
    let bytes = bytes?;
    let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let mut rest = rest.to_vec();
    let (at, whose) = (Nonce::assume_unique_for_key(*nonce), Aad::from(whose.as_bytes()));
    let opened = key(server_key).open_in_place(at, whose, &mut rest).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_where_it_belongs() {
        let sealed = seal(&[1; 32], "local/webhook/1", "hush").unwrap();
        assert!(!sealed.contains(&hex(b"hush")));
        assert_eq!(open(&[1; 32], "local/webhook/1", &sealed).as_deref(), Some("hush"));
        assert_eq!(open(&[2; 32], "local/webhook/1", &sealed), None);
        assert_eq!(open(&[1; 32], "local/webhook/2", &sealed), None);
        for bad in ["", "zz", &sealed[2..], "0"] {
            assert_eq!(open(&[1; 32], "local/webhook/1", bad), None, "{bad}");
        }
    }
}
