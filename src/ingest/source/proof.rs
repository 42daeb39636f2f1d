//! How a document proves who sent it: a signature that the vendor makes with a secret of the operator's.

use hyper::HeaderMap;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::channel::auth::{Algorithm, Encoding};

/// `[verify]` of a source file.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Proof {
    /// A keyed digest in a header.
    Hmac {
        alg: Algorithm,
        header: String,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        encoding: Encoding,
        /// Several signatures in one header, parted by this: the secret may be about to change.
        list: Option<String>,
    },
    /// Amazon's of a message of SNS; see `sns.rs`.
    Sns,
}

impl Proof {
    pub fn holds(&self, secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let Proof::Hmac { alg, header, prefix, encoding, list } = self else { return false };
        let tag = ring::hmac::sign(&alg.key(secret.as_bytes()), body);
        let expected = format!("{prefix}{}", encoding.write(tag.as_ref()));
        let Some(given) = headers.get(header.as_str()).and_then(|value| value.to_str().ok()) else { return false };
        let is_ours = |given: &str| bool::from(given.trim().as_bytes().ct_eq(expected.as_bytes()));
        match list {
            Some(separator) => given.split(separator.as_str()).any(is_ours),
            None => is_ours(given),
        }
    }

    pub fn header(&self) -> &str {
        match self {
            Proof::Hmac { header, .. } => header,
            Proof::Sns => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn githubs_example_of_its_documentation_holds_and_no_other_body_does() {
        let proof = Proof::Hmac {
            alg: Algorithm::Sha256,
            header: "X-Hub-Signature-256".into(),
            prefix: "sha256=".into(),
            encoding: Encoding::Hex,
            list: None,
        };
        let mut headers = HeaderMap::new();
        let signed = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        headers.insert("x-hub-signature-256", signed.parse().expect("a value"));
        let secret = "It's a Secret to Everybody";
        assert!(proof.holds(secret, &headers, b"Hello, World!"));
        assert!(!proof.holds(secret, &headers, b"Hello, World?"));
        assert!(!proof.holds("another", &headers, b"Hello, World!"));
        assert!(!proof.holds(secret, &HeaderMap::new(), b"Hello, World!"));
    }
}
