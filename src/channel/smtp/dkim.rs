//! DKIM (RFC 6376): a mail's headers and body under a signature of the sender's domain, whose key stands in the DNS. By RSA, or by
//! Ed25519 (RFC 8463); relaxed for both, since relays fold headers and trim lines. Either gives the same signature for the same mail, so
//! a second try is byte for byte the first. Of what is the same for many the signature is made once.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{self, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::clock::Time;

/// What is signed where it is there. RFC 8058 section 4 wants the last two of it.
const SIGNED: [&str; 12] = [
    "from",
    "to",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-language",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
];
/// Named once more than they are there, so that nobody adds a second one for readers to see.
const ONLY_ONE: [&str; 4] = ["from", "to", "subject", "date"];
/// Characters of a signature in a line.
const LINE: usize = 72;

pub(super) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// The key is PEM: PKCS #8, or PKCS #1 of RSA.
    pub fn new(domain: &str, selector: &str, file: &str) -> Result<Signer, String> {
        let der = PrivateKeyDer::from_pem_file(file).map_err(|error| format!("{file}: {error}"))?;
        let key = match &der {
            PrivateKeyDer::Pkcs1(der) => {
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map(|key| Key::Rsa(Box::new(key)))
            }
            PrivateKeyDer::Pkcs8(der) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
                .map(Key::Ed25519)
                .or_else(|_| RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map(|key| Key::Rsa(Box::new(key)))),
            _ => return Err(format!("{file}: neither a key of RSA nor of Ed25519")),
        };
        let key =
            key.map_err(|error| format!("{file}: {error}; an RSA key of 2048 to 4096 bits, or one of Ed25519"))?;
        Ok(Signer { domain: domain.into(), selector: selector.into(), key })
    }

    /// Puts the signature before a mail as it goes over the wire, dots doubled, the final dot included.
    pub fn sign(&self, mail: &mut Vec<u8>, at: Time) -> Result<(), ring::error::Unspecified> {
        let text = String::from_utf8_lossy(mail);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let headers = headers(head);
        let present = |name: &&str| headers.iter().any(|(known, _)| known == name);
        let signed: Vec<&str> = SIGNED.into_iter().filter(present).chain(ONLY_ONE).collect();
        let mut input = String::with_capacity(head.len() + 512);
        // A name that comes again stands for the next one above, and there is none.
        let mut seen = BTreeSet::new();
        for (_, value) in signed
            .iter()
            .filter(|name| seen.insert(**name))
            .filter_map(|name| headers.iter().rfind(|(known, _)| known == name))
        {
            input.push_str(value);
            input.push_str("\r\n");
        }
        let algorithm = match self.key {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        };
        let mut header = format!(
            "DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n d={}; s={};\r\n t={};\r\n h={};\r\n bh={};\r\n b=",
            self.domain,
            self.selector,
            at.0.div_euclid(1000).max(0),
            signed.chunks(6).map(|names| names.join(":")).collect::<Vec<_>>().join(":\r\n  "),
            STANDARD.encode(body_hash(body)),
        );
        input.extend(self::headers(&header).iter().map(|(_, value)| value.as_str()));
        let signature = STANDARD.encode(self.key.sign(input.as_bytes())?);
        // Plain ASCII, wherever it is cut.
        for line in signature.as_bytes().chunks(LINE) {
            header.push_str(if header.ends_with("b=") { "" } else { "\r\n  " });
            header.extend(line.iter().copied().map(char::from));
        }
        header.push_str("\r\n");
        mail.splice(0..0, header.into_bytes());
        Ok(())
    }
}

impl Key {
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, ring::error::Unspecified> {
        match self {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), input, &mut signature)?;
                Ok(signature)
            }
            // RFC 8463 section 3: of the digest.
            Key::Ed25519(key) => Ok(key.sign(digest(&SHA256, input).as_ref()).as_ref().to_vec()),
        }
    }
}

/// Each header's name and its relaxed form (RFC 6376 section 3.4.2), without the line's end.
fn headers(head: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::with_capacity(16);
    for line in head.split("\r\n") {
        match (line.starts_with([' ', '\t']), headers.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                value.push(' ');
                value.push_str(line);
            }
            (_, _, Some((name, value))) => headers.push((name.trim_end().to_ascii_lowercase(), value.into())),
            _ => {}
        }
    }
    for (name, value) in &mut headers {
        let words: Vec<&str> = value.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        *value = format!("{name}:{}", words.join(" "));
    }
    headers
}

/// Of the relaxed form (section 3.4.4) of what a receiver makes of these lines.
fn body_hash(body: &str) -> ring::digest::Digest {
    let mut hash = Context::new(&SHA256);
    let mut empty = 0;
    for line in body.split_inclusive("\r\n") {
        let line = line.strip_suffix("\r\n").unwrap_or(line);
        let line = match line.strip_prefix('.') {
            Some("") => break,
            Some(rest) => rest,
            None => line,
        };
        let line = line.trim_end_matches([' ', '\t']);
        if line.is_empty() {
            empty += 1;
            continue;
        }
        (0..std::mem::take(&mut empty)).for_each(|_| hash.update(b"\r\n"));
        let mut blank = false;
        for piece in line.split_inclusive([' ', '\t']) {
            let word = piece.trim_end_matches([' ', '\t']);
            if !word.is_empty() {
                hash.update(word.as_bytes());
                blank = false;
            }
            if word.len() < piece.len() && !std::mem::replace(&mut blank, true) {
                hash.update(b" ");
            }
        }
        hash.update(b"\r\n");
    }
    hash.finish()
}
