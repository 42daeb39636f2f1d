//! Sessions of browsers: a random word in a cookie stands for a token that was shown once. The store keeps digests of both, so that
//! neither can be read back, any node knows who has signed in at another, and a token that is withdrawn ends its sessions, too.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::Time;
use crate::store::{Result, Store, StoreError};

/// The cookie's name.
pub const COOKIE: &str = "loudhailer_session";

/// A working day and what comes after it; then the token is asked for again.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);

/// A new session for a token; its word is told here and never again.
pub async fn begin(store: &dyn Store, token: [u8; 32], now: Time) -> Result<String> {
    let mut word = [0; 32];
    SystemRandom::new().fill(&mut word).map_err(|_| StoreError::Failed("the system gives no chance".into()))?;
    let word = URL_SAFE_NO_PAD.encode(word);
    store.access().begin_session(digest(&word), token, Time(now.0 + LASTS.as_millis() as i64), now).await?;
    Ok(word)
}

/// The digest of the token that the session stands for.
pub async fn token(store: &dyn Store, word: &str, now: Time) -> Result<Option<[u8; 32]>> {
    store.access().session(digest(word), now).await
}

pub async fn end(store: &dyn Store, word: &str) -> Result<()> {
    store.access().end_session(digest(word)).await
}

fn digest(word: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, word.as_bytes());
    digest.as_ref().try_into().unwrap_or([0; 32])
}
