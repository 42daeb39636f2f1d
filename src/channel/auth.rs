//! How a request says who sends it. Applied last, over the final bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;

use super::template::Template;
use super::token::Ask;
use crate::incident::words;

#[derive(Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    #[default]
    None,
    Basic {
        user: Template,
        password: Template,
    },
    Bearer {
        token: Template,
    },
    Header {
        name: String,
        value: Template,
    },
    Query {
        name: String,
        value: Template,
    },
    /// A keyed digest of the body, in a header.
    Hmac {
        alg: Algorithm,
        header: String,
        key: Template,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        encoding: Encoding,
    },
    /// As AWS wants it; `session` is the token of temporary credentials.
    Sigv4 {
        service: String,
        region: Template,
        key_id: Template,
        secret: Template,
        session: Option<Template>,
    },
    /// OAuth 1.0a, with HMAC-SHA1.
    Oauth1 {
        consumer: Template,
        consumer_secret: Template,
        token: Template,
        token_secret: Template,
    },
    /// VAPID; and the body is sealed for the keys in the address.
    Webpush {
        public: Template,
        private: Template,
        subject: Template,
    },
    /// One that the platform gives, and that ends.
    Token(Box<Ask>),
}

words!(Algorithm { Sha1 = "sha1", Sha256 = "sha256", Sha512 = "sha512" });
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

impl Algorithm {
    pub fn key(self, secret: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, secret)
    }
}

impl Encoding {
    pub fn write(self, bytes: &[u8]) -> String {
        match self {
            Encoding::Base64 => STANDARD.encode(bytes),
            Encoding::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
                bytes.iter().flat_map(digits).collect()
            }
        }
    }
}

impl Auth {
    /// What must not be shown of it, whatever the file says of its settings.
    pub fn secrets(&self) -> Vec<&Template> {
        match self {
            Auth::Basic { password, .. } => vec![password],
            Auth::Oauth1 { consumer_secret, token_secret, .. } => vec![consumer_secret, token_secret],
            Auth::Webpush { private, .. } => vec![private],
            Auth::Token(ask) => ask.secrets(),
            Auth::Sigv4 { secret, session, .. } => [secret].into_iter().chain(session).collect(),
            other => other.templates(),
        }
    }

    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Auth::None => vec![],
            Auth::Basic { user, password } => vec![user, password],
            Auth::Bearer { token } => vec![token],
            Auth::Header { value, .. } | Auth::Query { value, .. } => vec![value],
            Auth::Hmac { key, .. } => vec![key],
            Auth::Oauth1 { consumer, consumer_secret, token, token_secret } => {
                vec![consumer, consumer_secret, token, token_secret]
            }
            Auth::Webpush { public, private, subject } => vec![public, private, subject],
            Auth::Token(ask) => ask.templates(),
            Auth::Sigv4 { region, key_id, secret, session, .. } => {
                [region, key_id, secret].into_iter().chain(session).collect()
            }
        }
    }
}

/// `Basic …` of RFC 7617.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}
