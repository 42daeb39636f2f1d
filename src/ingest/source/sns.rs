//! Amazon SNS: whether a message is Amazon's and of a topic that the operator named, and how a subscription is confirmed
//! (<https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html>). Anybody can have Amazon sign a message of a
//! topic of their own, so the signature alone proves nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use ring::signature::{self, RsaParameters, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, alg_id,
};
use serde_json::Value;

use crate::channel::guard::{Guard, System};
use crate::channel::place::Place;
use crate::channel::pool::Pool;
use crate::channel::tls::Tls;

const PATIENCE: Duration = Duration::from_secs(10);
/// Certificates that are kept, each by its address: a new one has a new address.
const KEPT: usize = 16;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is not Amazon's, or not of a topic of ours.
    Forged(&'static str),
    /// Amazon does not answer: the same message again later is right.
    Away(&'static str),
}

/// Gets what stands at an address of Amazon's.
#[async_trait]
pub trait Fetch: Send + Sync {
    async fn get(&self, address: &str) -> Result<Vec<u8>, Refused>;
}

/// By HTTPS, with the machine's trust store.
pub struct Https(Pool);

impl Default for Https {
    fn default() -> Https {
        Https(Pool::new(Arc::new(System), Guard::PublicOnly, Tls::default(), 4, PATIENCE))
    }
}

#[async_trait]
impl Fetch for Https {
    async fn get(&self, address: &str) -> Result<Vec<u8>, Refused> {
        let Place { origin, authority, path } = Place::parse(address).map_err(|_| Refused::Forged("no address"))?;
        let mut request = hyper::Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = path;
        request.headers_mut().insert(hyper::header::HOST, authority);
        match self.0.exchange(&origin, request).await {
            Ok(received) if received.status == 200 => Ok(received.body),
            _ => Err(Refused::Away("Amazon SNS could not be asked")),
        }
    }
}

/// What of Amazon's has been asked before.
pub struct Amazon {
    fetch: Box<dyn Fetch>,
    certificates: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Default for Amazon {
    fn default() -> Amazon {
        Amazon::new(Box::new(Https::default()))
    }
}

impl Amazon {
    pub fn new(fetch: Box<dyn Fetch>) -> Amazon {
        Amazon { fetch, certificates: Mutex::default() }
    }

    /// Proves that a message is Amazon's and of one of these topics; confirms the subscription that it may ask about. True: it was
    /// that, and says nothing else.
    pub async fn takes(&self, message: &Value, topics: &[String]) -> Result<bool, Refused> {
        let address = certificate_address(message, topics)?;
        let certificate = match self.kept(&address) {
            Some(kept) => kept,
            None => self.fetch.get(&address).await?,
        };
        holds(message, &certificate)?;
        self.keep(address, certificate);
        match text(message, "Type") {
            "SubscriptionConfirmation" => {
                let address = text(message, "SubscribeURL");
                of_amazon(address, region(message)?)?;
                self.fetch.get(address).await?;
                tracing::info!(topic = text(message, "TopicArn"), "the subscription of an SNS topic is confirmed");
                Ok(true)
            }
            "UnsubscribeConfirmation" => {
                tracing::warn!(topic = text(message, "TopicArn"), "somebody ended the subscription of an SNS topic");
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn kept(&self, address: &str) -> Option<Vec<u8>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    fn keep(&self, address: String, certificate: Vec<u8>) {
        let mut kept = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(address, certificate);
    }
}

fn text<'a>(message: &'a Value, name: &str) -> &'a str {
    message[name].as_str().unwrap_or_default()
}

/// `arn:aws:sns:REGION:ACCOUNT:TOPIC`
fn region(message: &Value) -> Result<&str, Refused> {
    let region = text(message, "TopicArn").split(':').nth(3).unwrap_or_default();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match region.len() >= 3 && region.bytes().all(word) {
        true => Ok(region),
        false => Err(Refused::Forged("its TopicArn names no region")),
    }
}

/// Where the certificate stands with which it was signed.
fn certificate_address(message: &Value, topics: &[String]) -> Result<String, Refused> {
    if !topics.iter().any(|topic| topic == text(message, "TopicArn")) {
        return Err(Refused::Forged("its TopicArn is none of the source's topics"));
    }
    let address = text(message, "SigningCertURL");
    let path = of_amazon(address, region(message)?)?;
    if !path.ends_with(".pem") {
        return Err(Refused::Forged("its SigningCertURL is no certificate's"));
    }
    Ok(address.into())
}

/// The path of an address of SNS in a region.
fn of_amazon(address: &str, region: &str) -> Result<String, Refused> {
    let wrong = Refused::Forged("it names an address that is not Amazon's");
    let Ok(url) = url::Url::parse(address) else { return Err(wrong) };
    let plain =
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none() && url.port().is_none();
    let hosts = [format!("sns.{region}.amazonaws.com"), format!("sns.{region}.amazonaws.com.cn")];
    match plain && url.host_str().is_some_and(|host| hosts.iter().any(|ours| ours == host)) {
        true => Ok(url.path().into()),
        false => Err(wrong),
    }
}

/// What is signed: names and values, each on a line of its own.
fn signed(message: &Value) -> String {
    let names: &[&str] = match text(message, "Type") {
        "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let present = names.iter().filter_map(|name| Some((name, message[name].as_str()?)));
    present.map(|(name, value)| format!("{name}\n{value}\n")).collect()
}

/// Whether the certificate is one for signing messages of SNS, and signed this.
fn holds(message: &Value, certificate: &[u8]) -> Result<(), Refused> {
    let wrong = |why: &'static str| Refused::Forged(why);
    let algorithm = match text(message, "SignatureVersion") {
        "1" => Rsa(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        "2" => Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        _ => return Err(wrong("its SignatureVersion is neither 1 nor 2")),
    };
    let signature = STANDARD.decode(text(message, "Signature")).map_err(|_| wrong("its Signature is no base64"))?;
    let der = CertificateDer::from_pem_slice(certificate).map_err(|_| wrong("its certificate can't be read"))?;
    let certificate = webpki::EndEntityCert::try_from(&der).map_err(|_| wrong("its certificate can't be read"))?;
    let region = region(message)?;
    let names = [
        "sns.amazonaws.com".into(),
        format!("sns-signing.{region}.amazonaws.com"),
        format!("sns-{region}.amazonaws.com.cn"),
    ];
    let named = names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
    if !named.into_iter().any(|name| certificate.verify_is_valid_for_subject_name(&name).is_ok()) {
        return Err(wrong("its certificate is not made out to SNS"));
    }
    // Its chain is not looked at: it came from Amazon's own host, whose certificate was.
    let held = certificate.verify_signature(&algorithm, signed(message).as_bytes(), &signature);
    held.map_err(|_| wrong("its signature is not that of this message"))
}

#[derive(Debug)]
struct Rsa(&'static RsaParameters);

impl SignatureVerificationAlgorithm for Rsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.0, key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    /// Of certificates, which this signs none of.
    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_PKCS1_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:us-west-2:131990247566:dongie-standard-topic";

    fn file(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/examples/cloudwatch");
        std::fs::read(folder.join(name)).expect("a file")
    }

    fn message(name: &str) -> Value {
        serde_json::from_slice(&file(name)).expect("JSON")
    }

    /// Amazon, as far as it is asked.
    #[derive(Default, Clone)]
    struct Asked(Arc<Mutex<Vec<String>>>);

    #[async_trait]
    impl Fetch for Asked {
        async fn get(&self, address: &str) -> Result<Vec<u8>, Refused> {
            self.0.lock().expect("asked").push(address.into());
            let name = address.rsplit('/').next().filter(|name| name.ends_with(".pem"));
            Ok(name.map(file).unwrap_or_default())
        }
    }

    #[tokio::test]
    async fn what_amazon_signed_holds_and_a_subscription_is_confirmed_once_it_is_known_to_be_amazons() {
        let asked = Asked::default();
        let amazon = Amazon::new(Box::new(asked.clone()));
        let topics = [TOPIC.to_string()];
        // Both versions, with and without a subject.
        for (name, ends) in [
            ("not-an-alarm.json", false),
            ("not-an-alarm-with-subject.json", false),
            ("unsubscribe-confirmation.json", true),
            ("subscription-confirmation.json", true),
        ] {
            assert_eq!(amazon.takes(&message(name), &topics).await, Ok(ends), "{name}");
        }
        let asked = asked.0.lock().expect("asked").clone();
        assert_eq!(asked.len(), 2, "the certificate once, and the confirmation: {asked:?}");
        assert_eq!(asked[1], text(&message("subscription-confirmation.json"), "SubscribeURL"));
    }

    #[tokio::test]
    async fn what_is_not_amazons_or_of_another_topic_is_refused_before_anything_is_asked_there() {
        let topics = [TOPIC.to_string()];
        let with = |name: &str, value: &str| {
            let mut message = message("subscription-confirmation.json");
            message[name] = value.into();
            message
        };
        for (wrong, fetched) in [
            (with("TopicArn", "arn:aws:sns:us-west-2:1:another"), 0),
            (with("SigningCertURL", "https://sns.us-west-2.amazonaws.com.evil.example/a.pem"), 0),
            (with("SigningCertURL", "https://sns.eu-west-1.amazonaws.com/a.pem"), 0),
            (with("SigningCertURL", "http://sns.us-west-2.amazonaws.com/a.pem"), 0),
            (with("SigningCertURL", "https://u@sns.us-west-2.amazonaws.com/a.pem"), 0),
            (with("SigningCertURL", "https://sns.us-west-2.amazonaws.com/a.html"), 0),
            (with("SignatureVersion", "3"), 1),
            (with("Token", "another"), 1),
            (with("SubscribeURL", "https://evil.example/"), 1),
            (with("Message", "Another message."), 1),
        ] {
            let asked = Asked::default();
            let refused = Amazon::new(Box::new(asked.clone())).takes(&wrong, &topics).await;
            assert!(matches!(refused, Err(Refused::Forged(_))), "{wrong}: {refused:?}");
            assert_eq!(asked.0.lock().expect("asked").len(), fetched, "{wrong}");
        }
    }
}
