//! Sessions of browsers, in memory: a random word in a cookie stands for a token that was shown once. Kept are digests of both,
//! so that neither can be read back, and a token that is withdrawn ends its sessions too.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::Instant;

/// The cookie's name.
pub const COOKIE: &str = "loudhailer_session";

/// A working day and what comes after it; then the token is asked for again.
pub const LASTS: Duration = Duration::from_secs(12 * 3600);

/// Past so many the oldest ends.
const MOST: usize = 4096;

type Digest = [u8; 32];

#[derive(Default)]
pub struct Sessions {
    open: Mutex<HashMap<Digest, Session>>,
}

struct Session {
    token: Digest,
    ends: Instant,
}

impl Sessions {
    /// A new session for a token; its word is told here and never again. `None`: the system gives no chance.
    pub fn begin(&self, token: Digest, now: Instant) -> Option<String> {
        let mut word = [0; 32];
        SystemRandom::new().fill(&mut word).ok()?;
        let word = URL_SAFE_NO_PAD.encode(word);
        let mut open = self.lock();
        open.retain(|_, session| session.ends > now);
        if open.len() >= MOST
            && let Some(oldest) = open.iter().min_by_key(|(_, session)| session.ends).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(digest(&word), Session { token, ends: now + LASTS });
        Some(word)
    }

    /// The digest of the token that the session stands for.
    pub fn token(&self, word: &str, now: Instant) -> Option<Digest> {
        self.lock().get(&digest(word)).filter(|session| session.ends > now).map(|session| session.token)
    }

    pub fn end(&self, word: &str) {
        self.lock().remove(&digest(word));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Session>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn digest(word: &str) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, word.as_bytes());
    digest.as_ref().try_into().unwrap_or([0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stands_for_its_token_until_it_ends_or_is_ended() {
        let sessions = Sessions::default();
        let start = Duration::from_secs(5);
        let one = sessions.begin([1; 32], start).expect("chance");
        let two = sessions.begin([2; 32], start).expect("chance");
        assert_ne!(one, two);
        assert_eq!(sessions.token(&one, start), Some([1; 32]));
        assert_eq!(sessions.token(&two, start + LASTS - Duration::from_nanos(1)), Some([2; 32]));
        assert_eq!(sessions.token(&two, start + LASTS), None);
        assert_eq!(sessions.token("", start), None);
        sessions.end(&one);
        assert_eq!(sessions.token(&one, start), None);
    }

    #[test]
    fn there_are_never_more_than_there_is_room_for_and_the_oldest_goes() {
        let sessions = Sessions::default();
        let at = |n: usize| Duration::from_millis(n as u64);
        let words: Vec<String> = (0..=MOST).map(|n| sessions.begin([3; 32], at(n)).expect("chance")).collect();
        assert_eq!(sessions.lock().len(), MOST);
        assert_eq!(sessions.token(&words[0], at(MOST)), None);
        assert!(sessions.token(&words[1], at(MOST)).is_some());
    }
}
