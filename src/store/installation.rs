//! The installation's key, which signs delivery ids and unsubscribe links: made once, and backed up with the rest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SecureRandom;

use super::{Result, StoreError};

/// As it is kept.
pub fn fresh_key() -> Result<String> {
    let mut fresh = [0u8; 32];
    ring::rand::SystemRandom::new().fill(&mut fresh).map_err(|_| StoreError::Failed("no randomness".into()))?;
    Ok(STANDARD.encode(fresh))
}

pub fn key(text: &str) -> Result<hmac::Key> {
    let bytes = STANDARD.decode(text).map_err(|_| StoreError::Failed("meta.key is damaged".into()))?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}
