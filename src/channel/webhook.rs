//! Webhooks, signed as Standard Webhooks 1.0.0 says. A parcel's id and secrets and the bytes of its body come in, three headers
//! come out. The id stays over all tries; timestamp and signature belong to one try.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use super::{Fault, Outcome, Parcel};
use crate::clock::Time;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A secret that can sign. The text is `whsec_` and base64 of 24 to 64 bytes.
#[derive(Debug, Clone)]
pub struct SigningKey(hmac::Key);

impl SigningKey {
    pub fn parse(text: &str) -> Result<SigningKey, &'static str> {
        let encoded = text.strip_prefix("whsec_").ok_or("a secret begins with whsec_")?;
        let bytes = STANDARD.decode(encoded).map_err(|_| "after whsec_ a secret is base64")?;
        if !(24..=64).contains(&bytes.len()) {
            return Err("a secret has 24 to 64 bytes");
        }
        Ok(SigningKey(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// `v1,` and the signature of `{id}.{timestamp}.{body}`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(id.as_bytes());
        context.update(b".");
        context.update(timestamp.to_string().as_bytes());
        context.update(b".");
        context.update(body);
        let mut out = String::with_capacity(47);
        out.push_str("v1,");
        STANDARD.encode_string(context.sign(), &mut out);
        out
    }
}

/// A fresh secret of 32 bytes.
pub fn new_secret() -> Result<String, ring::error::Unspecified> {
    use ring::rand::SecureRandom;
    let mut bytes = [0u8; 32];
    ring::rand::SystemRandom::new().fill(&mut bytes)?;
    Ok(format!("whsec_{}", STANDARD.encode(bytes)))
}

/// Adds the three headers, with one signature for each secret: during a rotation the receiver may know either.
pub fn sign(parcel: &Parcel, body: &[u8], now: Time, headers: &mut HeaderMap) -> Result<(), Outcome> {
    let rejected = |detail: &str| Outcome::Rejected { fault: Fault::Address, detail: detail.into() };
    if parcel.secrets.is_empty() {
        return Err(rejected("the webhook has no secret to sign with"));
    }
    let timestamp = now.0.div_euclid(1000);
    let mut signatures = String::with_capacity(48 * parcel.secrets.len());
    for secret in &parcel.secrets {
        let key = SigningKey::parse(secret).map_err(rejected)?;
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        signatures.push_str(&key.sign(&parcel.id, timestamp, body));
    }
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| rejected("the id does not fit into a header"));
    headers.insert(ID, value(parcel.id.clone())?);
    headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(SIGNATURE, value(signatures)?);
    Ok(())
}

/// `host` or `host:port` of a URL, as it is written.
pub fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let end = rest.bytes().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.get(..end).filter(|authority| !authority.is_empty())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::render::message::Filled;

    // The example of the specification.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID_OF_EXAMPLE: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNED: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn parcel(secrets: &[&str]) -> Parcel {
        Parcel {
            id: ID_OF_EXAMPLE.into(),
            broadcast: None,
            incident: None,
            to: "https://example.com/hook".into(),
            secrets: secrets.iter().map(|s| s.to_string()).collect(),
            message: Arc::new(Filled::default().into()),
            name: None,
            unsubscribe_url: None,
            urgent: false,
            follows: None,
            at: Time(0),
        }
    }

    #[test]
    fn the_signature_is_that_of_the_specifications_example() {
        let key = SigningKey::parse(SECRET).expect("a secret");
        assert_eq!(key.sign(ID_OF_EXAMPLE, 1_649_367_553, BODY), SIGNED);
    }

    #[test]
    fn during_a_rotation_both_secrets_sign() {
        let other = format!("whsec_{}", STANDARD.encode([7u8; 32]));
        let mut headers = HeaderMap::new();
        sign(&parcel(&[SECRET, &other]), BODY, Time(1_649_367_553_999), &mut headers).expect("signs");
        assert_eq!(headers["webhook-id"], ID_OF_EXAMPLE);
        assert_eq!(headers["webhook-timestamp"], "1649367553");
        let signatures: Vec<&str> = headers["webhook-signature"].to_str().expect("ascii").split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[0], SIGNED);
        assert_ne!(signatures[1], SIGNED);
    }

    #[test]
    fn without_a_good_secret_nothing_is_sent() {
        let short = format!("whsec_{}", STANDARD.encode([7u8; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7u8; 65]));
        for secrets in [&[][..], &["C2FVsBQIhrscChlQIMV+b5sSYspob7oD"], &["whsec_%"], &[&short], &[&long]] {
            let answer = sign(&parcel(secrets), BODY, Time(0), &mut HeaderMap::new());
            assert!(matches!(answer, Err(Outcome::Rejected { fault: Fault::Address, .. })), "{secrets:?}");
        }
    }

    #[test]
    fn the_host_is_cut_out_of_the_url() {
        assert_eq!(host("https://a.example/x"), Some("a.example"));
        assert_eq!(host("http://a.example:8080?x"), Some("a.example:8080"));
        assert_eq!(host("http://[::1]:80/"), Some("[::1]:80"));
        assert_eq!(host("mailto:x"), None);
    }
}
