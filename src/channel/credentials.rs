//! The secrets of a channel's settings, known by keyed digests: whether they are still those that they were is said, and what they
//! are is not. Which settings are secret, the platform's file says.

use std::collections::BTreeMap;

use ring::hmac;

use super::auth::Encoding;
use super::registry::Channel;

/// By the setting's name.
pub type Digests = BTreeMap<String, String>;

/// Half a digest tells any two secrets apart.
const LENGTH: usize = 16;

impl Channel {
    pub fn digests(&self, key: &hmac::Key) -> Digests {
        let digest = |(setting, value): (&str, &str)| {
            let signed = hmac::sign(key, format!("credentials\n{}\n{setting}\n{value}", self.name).as_bytes());
            (setting.to_string(), Encoding::Hex.write(&signed.as_ref()[..LENGTH]))
        };
        self.secrets().map(digest).collect()
    }

    /// Whether somebody who has the credentials of one has some of the other's.
    pub fn shares_secrets_with(&self, other: &Channel) -> bool {
        self.secrets().any(|(_, own)| !own.is_empty() && other.secrets().any(|(_, others)| own == others))
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        let secret = |name: &str| self.platform.settings.get(name).is_some_and(|setting| setting.secret);
        let settings = self.settings.iter().filter(move |(name, _)| secret(name));
        settings.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether no secret is another one than it was. So it is where there was none.
pub fn unchanged(then: &Digests, now: &Digests) -> bool {
    then.iter().all(|(setting, digest)| now.get(setting) == Some(digest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::platforms::Platforms;
    use super::super::registry;
    use super::*;
    use crate::clock::{Clock, Time};
    use crate::config::Config;

    fn channels(text: &str) -> Vec<Channel> {
        let config = Config::from_toml(text, "own.toml", std::iter::empty()).expect("reads");
        let platforms = Platforms::load(None).expect("loads");
        registry::build(&config, &platforms, Arc::new(Clock::manual(Time(0)))).expect("builds")
    }

    fn bot(name: &str, token: &str) -> String {
        format!("[channels.{name}]\nplatform = \"telegram\"\nsettings.token = \"{token}\"\n")
    }

    #[test]
    fn another_secret_is_told_from_the_same_and_none_is_shown() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let of = |token: &str| channels(&bot("a", token))[0].digests(&key);
        let then = of("1:secret");
        assert_eq!(then.keys().collect::<Vec<_>>(), ["token"]);
        assert!(!format!("{then:?}").contains("secret"));
        assert!(unchanged(&then, &of("1:secret")));
        assert!(!unchanged(&then, &of("2:other")));
        assert!(!unchanged(&then, &Digests::new()), "it was taken out");
        assert!(unchanged(&Digests::new(), &then), "there was none that could change");
        let other = hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]);
        assert_ne!(then, channels(&bot("a", "1:secret"))[0].digests(&other), "keyed");
    }

    #[test]
    fn channels_with_the_same_secret_are_known_to_share_it() {
        let channels = channels(&(bot("a", "1:secret") + &bot("b", "1:secret") + &bot("c", "2:other")));
        let [a, b, c] = channels.as_slice() else { panic!("three") };
        assert!(a.shares_secrets_with(b) && !a.shares_secrets_with(c));
    }
}
