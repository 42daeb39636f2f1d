//! Whether a request comes from the platform: its signature over what it says.

use serde::Deserialize;

use crate::channel::auth::{Algorithm, Encoding};

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Verify {
    /// A keyed digest of the body in a header.
    Hmac {
        alg: Algorithm,
        header: String,
        /// The setting that has the key.
        key: String,
        #[serde(default)]
        prefix: String,
        #[serde(default)]
        encoding: Encoding,
    },
    /// Twilio's: base64 of HMAC-SHA1 over the public URL and each form parameter's name and value, sorted by name.
    Twilio { key: String },
}

impl Verify {
    pub fn header(&self) -> &str {
        match self {
            Verify::Hmac { header, .. } => header,
            Verify::Twilio { .. } => "X-Twilio-Signature",
        }
    }

    /// The URLs that may have been signed: Twilio signs ours with or without its port.
    pub fn urls(&self, public_url: &str, path: &str) -> Vec<String> {
        let ours = format!("{public_url}{path}");
        let Ok(url) = url::Url::parse(public_url) else { return vec![ours] };
        let (Verify::Twilio { .. }, Some(host)) = (self, url.host_str()) else { return vec![ours] };
        let rest = format!("{}{path}", url.path().trim_end_matches('/'));
        let port = url.port_or_known_default().unwrap_or(443);
        let scheme = url.scheme();
        vec![ours, format!("{scheme}://{host}:{port}{rest}"), format!("{scheme}://{host}{rest}")]
    }

    /// What the header must say; `None` without a key.
    pub fn signature(
        &self,
        setting: &dyn Fn(&str) -> Option<String>,
        url: &str,
        form: &[(String, String)],
        body: &[u8],
    ) -> Option<String> {
        let key = |name: &str| setting(name).filter(|key| !key.is_empty());
        match self {
            Verify::Hmac { alg, key: name, prefix, encoding, .. } => {
                let tag = ring::hmac::sign(&alg.key(key(name)?.as_bytes()), body);
                Some(format!("{prefix}{}", encoding.write(tag.as_ref())))
            }
            Verify::Twilio { key: name } => {
                let mut sorted: Vec<&(String, String)> = form.iter().collect();
                sorted.sort();
                sorted.dedup();
                let signed = sorted.iter().fold(url.to_string(), |signed, (name, value)| signed + name + value);
                let tag = ring::hmac::sign(&Algorithm::Sha1.key(key(name)?.as_bytes()), signed.as_bytes());
                Some(Encoding::Base64.write(tag.as_ref()))
            }
        }
    }
}
