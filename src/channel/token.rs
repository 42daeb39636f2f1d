//! Tokens that a platform gives for what the operator has set, and that end: asked for when a message needs one, shared by all, renewed
//! by one at a time. No message is under way meanwhile, so a token that does not come defers it, or rejects the channel.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::answer::{self, Answer};
use super::auth::basic;
use super::body;
use super::place::Place;
use super::pointer::Pointer;
use super::pool::{Failure, Pool};
use super::request::{USER, secret};
use super::template::Template;
use super::{Fault, Holds, Outcome};
use crate::clock::Time;
use crate::quantity::Span;

/// `[auth]` of type `token`: the request for one, and where it stands in the answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub url: Template,
    pub user: Option<Template>,
    pub password: Option<Template>,
    pub form: Option<BTreeMap<String, Template>>,
    pub json: Option<toml::Table>,
    pub assertion: Option<Assertion>,
    pub token: Pointer,
    /// How long one is used, if the platform does not refuse it before.
    pub lasts: Span,
}

/// A signed statement of who we are (RFC 7523), as the member `assertion` of the form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// A private RSA key, as PEM; `\n` may stand for the ends of its lines.
    pub key: Template,
    pub claims: BTreeMap<String, Template>,
}

impl Ask {
    pub fn secrets(&self) -> Vec<&Template> {
        self.password.iter().chain(self.assertion.iter().map(|assertion| &assertion.key)).collect()
    }

    pub fn templates(&self) -> Vec<&Template> {
        let assertion = self.assertion.iter().flat_map(|assertion| assertion.claims.values().chain([&assertion.key]));
        let form = self.form.iter().flat_map(BTreeMap::values);
        [&self.url].into_iter().chain(&self.user).chain(&self.password).chain(form).chain(assertion).collect()
    }
}

pub struct Tokens {
    place: Place,
    headers: HeaderMap,
    body: Vec<u8>,
    signer: Option<Signer>,
    token: Pointer,
    lasts: Duration,
    held: Mutex<Option<(HeaderValue, Instant)>>,
}

struct Signer {
    key: RsaKeyPair,
    claims: BTreeMap<String, String>,
}

impl Tokens {
    pub fn new(ask: &Ask, setting: &dyn Fn(&str) -> Option<String>) -> Result<Tokens, String> {
        let need = |template: &Template| template.constant(setting).ok_or("a setting is missing".to_string());
        let (pieces, kind) = match (&ask.json, &ask.form) {
            (Some(json), None) => (body::object(json, setting)?, "application/json"),
            (None, Some(form)) => {
                let list: Vec<(&str, Template)> = form.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
                (body::members(&list, setting), "application/x-www-form-urlencoded")
            }
            _ => return Err("auth: give one of json and form".into()),
        };
        let body = pieces.constant().ok_or("auth: what asks for a token holds no value of a message")?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, USER);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let (Some(user), Some(password)) = (&ask.user, &ask.password) {
            headers.insert(AUTHORIZATION, secret(&basic(&need(user)?, &need(password)?))?);
        }
        let signer = match &ask.assertion {
            Some(assertion) => {
                let pem = need(&assertion.key)?.replace("\\n", "\n");
                let wrong = |_| "the private key is no RSA key in PEM (PKCS #8)".to_string();
                let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong(()))?;
                let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong(()))?;
                let claims = assertion.claims.iter().map(|(name, value)| Ok((name.clone(), need(value)?)));
                Some(Signer { key, claims: claims.collect::<Result<_, String>>()? })
            }
            None => None,
        };
        let place = Place::parse(&need(&ask.url)?)?;
        headers.insert(HOST, place.authority.clone());
        let (token, lasts) = (ask.token.clone(), ask.lasts.0);
        Ok(Tokens { place, headers, body, signer, token, lasts, held: Mutex::default() })
    }

    /// `Bearer …`. Whoever needs one while it is asked for waits for the same.
    pub async fn get(&self, pool: &Pool, now: Time) -> Result<HeaderValue, Outcome> {
        let mut held = self.held.lock().await;
        if let Some((header, until)) = &*held
            && Instant::now() < *until
        {
            return Ok(header.clone());
        }
        let header = self.ask(pool, now).await?;
        *held = Some((header.clone(), Instant::now() + self.lasts));
        Ok(header)
    }

    /// The platform did not take it. Nobody who has another already loses that.
    pub async fn refused(&self, header: &HeaderValue) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|(known, _)| known == header) {
            *held = None;
        }
    }

    async fn ask(&self, pool: &Pool, now: Time) -> Result<HeaderValue, Outcome> {
        let deferred =
            |detail: String| Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail };
        let mut body = self.body.clone();
        if let Some(signer) = &self.signer {
            body.extend(format!("&assertion={}", signer.assertion(now).map_err(deferred)?).bytes());
        }
        let mut request = hyper::Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.place.path.clone();
        *request.headers_mut() = self.headers.clone();
        let received = match pool.exchange(&self.place.origin, request).await {
            Ok(received) => received,
            Err(Failure::NotSent(reason) | Failure::Forbidden(reason) | Failure::Lost(reason)) => {
                return Err(deferred(format!("no token: {reason}")));
            }
        };
        let (status, good) = (received.status, (200..300).contains(&received.status));
        let answer: Value = serde_json::from_slice(&received.body).unwrap_or(Value::Null);
        if let Some(token) = self.token.text(&answer).filter(|token| good && !token.is_empty()) {
            return secret(&format!("Bearer {token}")).map_err(|_| deferred("no token: it fits into no header".into()));
        }
        let answer = Answer { status, headers: &received.headers, body: &received.body };
        Err(match answer::read(&[], &answer, false, Holds::Channel, now).0 {
            Outcome::Rejected { detail, .. } => {
                Outcome::Rejected { fault: Fault::Channel, detail: format!("no token: {detail}") }
            }
            Outcome::Deferred { after, holds: _, throttled, detail } => {
                Outcome::Deferred { after, holds: Holds::Channel, throttled, detail: format!("no token: {detail}") }
            }
            _ => deferred(format!("no token: HTTP {status} without one")),
        })
    }
}

impl Signer {
    /// A JWT signed with RS256 (RFC 7515, 7519), good for an hour.
    fn assertion(&self, now: Time) -> Result<String, String> {
        let seconds = now.0 / 1000;
        let mut claims: Map<String, Value> =
            self.claims.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        claims.insert("iat".into(), json!(seconds));
        claims.insert("exp".into(), json!(seconds + 3600));
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({ "alg": "RS256", "typ": "JWT" });
        let text =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(Value::from(claims).to_string().as_bytes()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
            .map_err(|_| "the assertion cannot be signed".to_string())?;
        Ok(format!("{text}.{}", encode(&signature)))
    }
}
