//! OAuth 1.0a (RFC 5849) with HMAC-SHA1: a keyed digest of the method, the address and its query. A body of JSON is not signed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::uri::Uri;
use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};

use super::auth::Encoding;
use super::pieces::{Position, escape};
use super::place::Origin;
use crate::clock::Time;

/// Of one account, by one app.
pub struct Oauth1 {
    key: Key,
    consumer: String,
    token: String,
    random: SystemRandom,
}

fn encoded(text: &str) -> String {
    let mut out = Vec::new();
    escape(text, Position::Query, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

impl Oauth1 {
    pub fn new(consumer: String, consumer_secret: &str, token: String, token_secret: &str) -> Oauth1 {
        let key = format!("{}&{}", encoded(consumer_secret), encoded(token_secret));
        let key = Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        Oauth1 { key, consumer, token, random: SystemRandom::new() }
    }

    /// `OAuth …`, another for each try.
    pub fn authorization(&self, method: &Method, origin: &Origin, uri: &Uri, now: Time) -> Result<HeaderValue, String> {
        let mut nonce = [0; 16];
        self.random.fill(&mut nonce).map_err(|_| "the system gives no random numbers")?;
        self.signed(method, origin, uri, now, &Encoding::Hex.write(&nonce))
    }

    fn signed(
        &self,
        method: &Method,
        origin: &Origin,
        uri: &Uri,
        now: Time,
        nonce: &str,
    ) -> Result<HeaderValue, String> {
        let port = match (origin.secure, origin.port) {
            (true, 443) | (false, 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let at = format!("{}://{}{port}{}", if origin.secure { "https" } else { "http" }, origin.host, uri.path());
        let time = (now.0 / 1000).to_string();
        let own = [
            ("oauth_consumer_key", self.consumer.as_str()),
            ("oauth_nonce", nonce),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", &time),
            ("oauth_token", &self.token),
            ("oauth_version", "1.0"),
        ];
        let own = own.map(|(name, value)| (encoded(name), encoded(value)));
        let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let mut all: Vec<(String, String)> = query.map(|(name, value)| (encoded(&name), encoded(&value))).collect();
        all.extend(own.iter().cloned());
        all.sort();
        let all: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("{method}&{}&{}", encoded(&at), encoded(&all.join("&")));
        let signature = STANDARD.encode(sign(&self.key, text.as_bytes()));
        let mut members: Vec<String> = own.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        members.push(format!("oauth_signature=\"{}\"", encoded(&signature)));
        let mut value = HeaderValue::try_from(format!("OAuth {}", members.join(", ")))
            .map_err(|_| "the header cannot be written".to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is the example of X's own documentation, whose form stands in the query here; the second is X's own library's.
    #[test]
    fn signatures_are_those_of_xs_own_example_and_of_its_library() {
        let signer = Oauth1::new(
            "xvz1evFS4wEEPTGEFPHBog".into(),
            "kAcSOqF21Fu85e7zjz7ZN2U4ZRhfV3WpwPAoE3Z7kBw",
            "370773112-GmHxMAgYyLbNEtIKZeRNFsMKPR9EyMZeS9weJAEb".into(),
            "LswwdoUaIvS8ltyTt5jkRh4J50vUPVVHtR2YPi5kE",
        );
        let example = "/1.1/statuses/update.json?include_entities=true&\
                       status=Hello%20Ladies%20%2B%20Gentlemen%2C%20a%20signed%20OAuth%20request%21";
        for (host, path, signature) in [
            ("api.twitter.com", example, "hCtSmYh%2BiHYCEqBWrE7C7hYmtUk%3D"),
            ("api.x.com", "/2/tweets", "lr%2BtV%2FDKclEvXKVjG6tgaSSLV0k%3D"),
        ] {
            let origin = Origin { secure: true, host: url::Host::Domain(host.into()), port: 443 };
            let nonce = "kYjzVBB8Y0ZFabxSWbWovY3uYSQ2pTgmZeNu2VS4cg";
            let uri = path.parse().expect("a path");
            let signed = signer.signed(&Method::POST, &origin, &uri, Time(1_318_622_958_000), nonce).expect("signed");
            let shown = signed.to_str().expect("text");
            assert!(
                shown.starts_with("OAuth oauth_consumer_key=\"xvz1evFS4wEEPTGEFPHBog\", oauth_nonce=\""),
                "{shown}"
            );
            assert!(shown.ends_with(&format!(", oauth_signature=\"{signature}\"")), "{shown}");
            let again = [(); 2].map(|()| signer.authorization(&Method::POST, &origin, &uri, Time(0)).expect("signed"));
            assert_ne!(again[0], again[1], "the same nonce twice");
        }
    }
}
