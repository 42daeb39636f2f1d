//! A login that shows the password to nobody and has the server prove that it knows it, too (RFC 5802, RFC 7677), without channel
//! binding.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// A server that asks for more wants our time.
const MOST_ROUNDS: u32 = 1_000_000;

pub(super) struct Hash {
    pub name: &'static str,
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

/// The better first.
pub(super) static HASHES: [Hash; 2] = [
    Hash {
        name: "SCRAM-SHA-256",
        digest: &digest::SHA256,
        hmac: hmac::HMAC_SHA256,
        pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256,
    },
    Hash {
        name: "SCRAM-SHA-1",
        digest: &digest::SHA1_FOR_LEGACY_USE_ONLY,
        hmac: hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        pbkdf2: pbkdf2::PBKDF2_HMAC_SHA1,
    },
];

pub(super) struct Scram {
    hash: &'static Hash,
    bare: String,
    nonce: String,
}

impl Scram {
    pub fn new(hash: &'static Hash, user: &str, nonce: String) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram { hash, bare: format!("n={user},r={nonce}"), nonce }
    }

    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// What answers the server's first words, and what it must then say itself. Nothing, if they are not of this protocol.
    pub fn last(&self, first: &str, password: &str) -> Option<(String, String)> {
        let mut parts = first.split(',');
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| nonce.starts_with(&self.nonce))?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let rounds: u32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        if nonce.len() == self.nonce.len() || rounds > MOST_ROUNDS {
            return None;
        }
        let hash = self.hash;
        let mut salted = vec![0; hash.digest.output_len()];
        pbkdf2::derive(hash.pbkdf2, NonZeroU32::new(rounds)?, &salt, password.as_bytes(), &mut salted);
        let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hash.hmac, key), text);
        let client = mac(&salted, b"Client Key");
        let stored = digest::digest(hash.digest, client.as_ref());
        // `biws` is the beginning of `first`, encoded.
        let bare = format!("c=biws,r={nonce}");
        let all = format!("{},{first},{bare}", self.bare);
        let signature = mac(stored.as_ref(), all.as_bytes());
        let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = mac(mac(&salted, b"Server Key").as_ref(), all.as_bytes());
        Some((format!("{bare},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(server))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7677, section 3, and RFC 5802, section 5.
    #[test]
    fn the_examples_of_the_standards_come_out() {
        let scram = Scram::new(&HASHES[0], "user", "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (ours, theirs) = scram.last(first, "pencil").expect("answered");
        assert_eq!(
            ours,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(theirs, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

        let scram = Scram::new(&HASHES[1], "user", "fyko+d2lbbFgONRv9qkxdawL".into());
        let first = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let (ours, theirs) = scram.last(first, "pencil").expect("answered");
        assert!(ours.ends_with(",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="), "{ours}");
        assert_eq!(theirs, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
        assert_eq!(Scram::new(&HASHES[1], "a,b=c", "x".into()).first(), "n,,n=a=2Cb=3Dc,r=x");
    }

    #[test]
    fn a_server_that_repeats_no_nonce_of_ours_or_wants_too_much_is_not_answered() {
        let scram = Scram::new(&HASHES[0], "user", "abc".into());
        for wrong in [
            "",
            "r=abd1,s=QSXC,i=4096",
            "r=abc,s=QSXC,i=4096",
            "r=abc1,s=?,i=1",
            "r=abc1,s=QSXC,i=0",
            "r=abc1,s=QSXC,i=1000001",
        ] {
            assert!(scram.last(wrong, "pencil").is_none(), "{wrong}");
        }
    }
}
