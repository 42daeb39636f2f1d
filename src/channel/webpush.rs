//! Web Push. A body comes in with the keys that stand in the address, and goes out sealed for them alone (RFC 8291, by the encoding
//! `aes128gcm` of RFC 8188); a header says who sends it (VAPID, RFC 8292). An address is a subscription's endpoint, `#`, its key
//! `p256dh`, a dot, and its secret `auth`, as browsers write them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use super::place::Origin;
use super::{Fault, Outcome};
use crate::clock::Time;

/// What one record may hold: every push service takes that much (RFC 8030, section 7.2).
const RECORD: u32 = 4096;
/// A point of P-256 that is not compressed.
const POINT: usize = 65;
/// A signature is good for so long; no more than 24 hours are allowed.
const LASTS: i64 = 12 * 3600;

/// Who sends.
pub struct Vapid {
    key: EcdsaKeyPair,
    public: String,
    /// `mailto:` or `https:`, for whom a push service wants to reach.
    subject: String,
    random: SystemRandom,
}

impl Vapid {
    /// Of keys as the usual tools write them: base64url of 32 and of 65 bytes.
    pub fn new(public: &str, private: &str, subject: &str) -> Result<Vapid, String> {
        let wrong = "public_key and private_key are no pair of VAPID keys (base64url, without =)";
        if !(subject.starts_with("mailto:") || subject.starts_with("https://")) {
            return Err("subject: write mailto:ADDRESS or https://…".into());
        }
        let decode = |text: &str| BASE64.decode(text).map_err(|_| wrong.to_string());
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &decode(private)?, &decode(public)?, &random)
                .map_err(|_| wrong.to_string())?;
        Ok(Vapid { key, public: public.into(), subject: subject.into(), random })
    }

    /// The body that goes to the address, and the headers that go with it.
    pub fn seal(
        &self,
        address: &str,
        body: &[u8],
        origin: &Origin,
        now: Time,
        headers: &mut HeaderMap,
    ) -> Result<Vec<u8>, Outcome> {
        let keys = address.split_once('#').and_then(|(_, keys)| Keys::read(keys));
        let keys = keys.ok_or_else(|| rejected("the address has no usable keys"))?;
        let unlucky = |_| rejected("the system gives no random numbers, or the address's key is no point of its curve");
        let ours = EphemeralPrivateKey::generate(&ECDH_P256, &self.random).map_err(unlucky)?;
        let public = ours.compute_public_key().map_err(unlucky)?;
        let mut salt = [0; 16];
        self.random.fill(&mut salt).map_err(unlucky)?;
        let theirs = UnparsedPublicKey::new(&ECDH_P256, &keys.public);
        let sealed = agree_ephemeral(ours, &theirs, |shared| sealed(&keys, public.as_ref(), shared, &salt, body));
        let sealed = sealed.ok().flatten().ok_or_else(|| rejected("the address's key is no point of its curve"))?;
        let authorization = self.authorization(origin, now).map_err(|detail| rejected(&detail))?;
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("aes128gcm"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Ok(sealed)
    }

    fn authorization(&self, origin: &Origin, now: Time) -> Result<HeaderValue, String> {
        let port = match (origin.secure, origin.port) {
            (true, 443) | (false, 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let audience = format!("{}://{}{port}", if origin.secure { "https" } else { "http" }, origin.host);
        let claims = json!({ "aud": audience, "exp": now.0 / 1000 + LASTS, "sub": self.subject });
        let encode = |text: String| BASE64.encode(text.as_bytes());
        let text =
            format!("{}.{}", encode(json!({ "typ": "JWT", "alg": "ES256" }).to_string()), encode(claims.to_string()));
        let signature = self.key.sign(&self.random, text.as_bytes()).map_err(|_| "the header cannot be signed")?;
        let value = format!("vapid t={text}.{}, k={}", BASE64.encode(signature), self.public);
        let mut value = HeaderValue::try_from(value).map_err(|_| "the header cannot be written")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn rejected(detail: &str) -> Outcome {
    Outcome::Rejected { fault: Fault::Address, detail: detail.into() }
}

/// Of a subscription.
struct Keys {
    public: Vec<u8>,
    secret: Vec<u8>,
}

impl Keys {
    fn read(text: &str) -> Option<Keys> {
        let (public, secret) = text.split_once('.')?;
        let keys = Keys { public: BASE64.decode(public).ok()?, secret: BASE64.decode(secret).ok()? };
        (keys.public.len() == POINT && keys.secret.len() == 16).then_some(keys)
    }
}

/// RFC 8291, section 3.4, and RFC 8188, section 2: one record, the last.
fn sealed(keys: &Keys, public: &[u8], shared: &[u8], salt: &[u8; 16], body: &[u8]) -> Option<Vec<u8>> {
    let hash = |key: &[u8], parts: &[&[u8]]| sign(&Key::new(HMAC_SHA256, key), &parts.concat());
    let first = hash(&keys.secret, &[shared]);
    let input = hash(first.as_ref(), &[b"WebPush: info\0", &keys.public, public, &[1]]);
    let second = hash(salt, &[input.as_ref()]);
    let key = hash(second.as_ref(), &[b"Content-Encoding: aes128gcm\0", &[1]]);
    let nonce = hash(second.as_ref(), &[b"Content-Encoding: nonce\0", &[1]]);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key.as_ref()[..16]).ok()?);
    let nonce = Nonce::try_assume_unique_for_key(&nonce.as_ref()[..12]).ok()?;
    // 2 ends what is padded with nothing.
    let mut record = [body, &[2]].concat();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).ok()?;
    let length = u8::try_from(public.len()).ok()?;
    Some([&salt[..], &RECORD.to_be_bytes(), &[length], public, &record].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "https://push.example.net/push/x#BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4.BTBZMqHH6r4Tts7J_aSIgg";

    /// RFC 8291, section 5 and appendix A.
    #[test]
    fn what_is_sealed_is_what_the_example_of_the_rfc_has() {
        let decode = |text: &str| BASE64.decode(text).expect("base64url");
        let keys = Keys::read(ADDRESS.split_once('#').expect("keys").1).expect("keys");
        let public = decode("BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8");
        let shared = decode("kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs");
        let salt: [u8; 16] = decode("DGv6ra1nlYgDCS1FRnbzlw").try_into().expect("16 bytes");
        let words = b"When I grow up, I want to be a watermelon";
        let expected = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        let sealed = sealed(&keys, &public, &shared, &salt, words).expect("sealed");
        assert_eq!(BASE64.encode(sealed), expected);
    }

    #[test]
    fn keys_that_are_none_are_refused_by_name_or_as_the_addresss_fault() {
        let pair = (
            "BB-QOQKUsEtbx3uvjikCmrC8Tk1H08OIOWcsYsZeZTwgHYdHu1kzlEkhLWTH66p5jnhlz-hUIHnNrWAdLSBKQDY",
            "xNsemUUi15GZaViQs8mF7I0mbNfKPRnZ4rIBPYUS1d0",
        );
        let vapid = Vapid::new(pair.0, pair.1, "mailto:ops@example.org").expect("a pair");
        assert!(Vapid::new(pair.0, pair.0, "mailto:ops@example.org").is_err());
        assert!(Vapid::new(pair.0, pair.1, "ops@example.org").err().expect("refused").starts_with("subject: "));
        let origin = Origin { secure: true, host: url::Host::Domain("push.example.net".into()), port: 443 };
        let seal = |address: &str| vapid.seal(address, b"x", &origin, Time(0), &mut HeaderMap::new());
        assert!(seal(ADDRESS).is_ok());
        let endpoint = ADDRESS.split_once('#').expect("keys").0;
        // No keys; one that is short; a point that is not on the curve.
        let off = BASE64.encode([&[4][..], &[7; 64]].concat());
        for address in
            [endpoint.to_string(), format!("{endpoint}#AAAA.AAAA"), format!("{endpoint}#{off}.BTBZMqHH6r4Tts7J_aSIgg")]
        {
            assert!(matches!(seal(&address), Err(Outcome::Rejected { fault: Fault::Address, .. })), "{address}");
        }
    }
}
