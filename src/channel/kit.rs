//! A platform file's examples are its tests: each goes through the real building of requests, the real reading of answers and
//! the real reading of receipts. Used by our own tests over the embedded files and by `loudhailer check` over the operator's.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

use super::answer::{self, Answer, Then};
use super::example::{Example, ExampleAnswer, ExampleReceipt};
use super::file::Platform;
use super::follow::{Requests, settled};
use super::{Holds, Outcome};
use crate::clock::Time;
use crate::receipt::{Arrived, BadReceipt, Reading, Receipts};

const PUBLIC_URL: &str = "https://status.example";
const NOW: Time = Time(1_633_363_740_000);

/// What is wrong with a platform's examples; empty if all is well.
pub fn check(platform: &Platform) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut answers = BTreeSet::new();
    let mut statuses = BTreeSet::new();
    for (at, example) in platform.examples.iter().enumerate() {
        let mut say = |message: String| wrong.push(format!("{}: example {}: {message}", platform.name, at + 1));
        let setting = samples(platform, &example.settings);
        if let Some(name) = example.settings.keys().find(|name| !platform.settings.contains_key(*name)) {
            say(format!("{name:?} is not in [settings]"));
        }
        if example.reply.is_some() && example.edit.is_some() {
            say("it follows one message, by reply or by edit".into());
        }
        if example.shows().is_some() {
            request(platform, example, &setting).unwrap_or_else(&mut say);
        } else if let Some(shown) = &example.answer {
            match reading(platform, example, shown, &setting) {
                Ok(rule) => drop(answers.insert(rule)),
                Err(error) => say(error),
            }
        } else if let Some(shown) = &example.receipt {
            match receipt(platform, example, shown, &setting) {
                Ok(rule) => drop(statuses.insert(rule)),
                Err(error) => say(error),
            }
        } else {
            say("it shows neither a request nor an answer nor a receipt".into());
        }
    }
    for at in (0..platform.answers.len()).filter(|at| !answers.contains(&Some(*at))) {
        wrong.push(format!("{}: no example for [[answer]] {}", platform.name, at + 1));
    }
    for at in 0..platform.receipts.as_ref().map_or(0, |receipts| receipts.status.len()) {
        if !statuses.contains(&Some(at)) {
            wrong.push(format!("{}: no example for [[receipts.status]] {}", platform.name, at + 1));
        }
    }
    wrong
}

/// The settings of an example.
pub fn samples<'a>(platform: &'a Platform, own: &'a BTreeMap<String, String>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| own.get(name).cloned().or_else(|| platform.settings.get(name)?.sample(name))
}

pub fn callback(platform: &Platform) -> String {
    format!("{PUBLIC_URL}/v1/receipts/{}?delivery=", platform.name)
}

fn request(platform: &Platform, example: &Example, setting: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let to = platform.address(&example.parcel(&platform.address.example).to)?;
    let requests = Requests::new(platform, setting, callback(platform))?;
    let parcel = example.parcel(&to);
    let (request, follows) = requests.of(&parcel);
    if follows != parcel.follows.as_ref() {
        return Err("the file has no such request: [reply] or [edit]".into());
    }
    let built = request.build(&parcel, NOW).map_err(|outcome| format!("cannot be sent: {outcome:?}"))?;
    let (head, body) = built.request.into_parts();
    let body = body.collect().now_or_nothing();
    same("method", example.method.as_deref(), Some(head.method.as_str()))?;
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let url = format!("{}://{host}{}", if built.origin.secure { "https" } else { "http" }, head.uri);
    let (base, query) = url.split_once('?').unwrap_or((&url, ""));
    let query_alone = example.query.is_some();
    same("url", example.url.as_deref(), Some(if query_alone { base } else { &url }))?;
    let pairs = |text: &[u8]| -> BTreeMap<String, String> { url::form_urlencoded::parse(text).into_owned().collect() };
    same("query", example.query.as_ref(), Some(&pairs(query.as_bytes())))?;
    for (name, value) in &example.headers {
        same(name, Some(value.as_str()), head.headers.get(name).and_then(|v| v.to_str().ok()))?;
    }
    same("form", example.form.as_ref(), Some(&pairs(&body)))?;
    same("body", example.body.as_deref(), Some(&*String::from_utf8_lossy(&body)))?;
    let json = || serde_json::from_slice::<Value>(&body).map_err(|error| format!("the body is not JSON: {error}"));
    match &example.json {
        Some(expected) => same("json", Some(expected), Some(&json()?)),
        None => Ok(()),
    }
}

fn reading(
    platform: &Platform,
    example: &Example,
    shown: &ExampleAnswer,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<usize>, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &shown.headers {
        let name = HeaderName::try_from(name).map_err(|error| error.to_string())?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|error| error.to_string())?);
    }
    let wide = if platform.is_per_host() { Holds::Host } else { Holds::Channel };
    let answer = Answer { status: shown.status, headers: &headers, body: &shown.bytes() };
    let follows = example.follows();
    let (outcome, rule) = answer::read(&platform.answers, &answer, follows.is_some(), wide, NOW);
    let outcome = settled(outcome, follows.as_ref());
    let then = match &outcome {
        Outcome::Accepted { reference } => {
            same("ref", example.reference.as_ref(), reference.as_ref())?;
            Then::Accepted
        }
        Outcome::Deferred { after, holds, throttled, .. } => {
            same("holds", example.holds, Some(*holds))?;
            same("throttled", example.throttled, Some(*throttled))?;
            same("after", example.after.map(|span| span.0), *after)?;
            Then::Deferred
        }
        Outcome::Rejected { fault, .. } => {
            same("fault", example.fault, Some(*fault))?;
            Then::Rejected
        }
        Outcome::Unknown { .. } => Then::Unknown,
    };
    same("then", Some(example.outcome()?), Some(then))?;
    leaks(platform, &outcome, setting)?;
    Ok(rule)
}

/// No outcome may repeat a secret or the address.
pub fn leaks(platform: &Platform, outcome: &Outcome, setting: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let (Outcome::Deferred { detail, .. } | Outcome::Rejected { detail, .. } | Outcome::Unknown { detail }) = outcome
    else {
        return Ok(());
    };
    let secrets = platform.settings.iter().filter(|(_, s)| s.secret).filter_map(|(name, _)| setting(name));
    match secrets.chain([platform.address.example.clone()]).find(|text| detail.contains(text.as_str())) {
        Some(_) => Err(format!("the detail repeats a secret or the address: {detail:?}")),
        None => Ok(()),
    }
}

fn receipt(
    platform: &Platform,
    example: &Example,
    shown: &ExampleReceipt,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<usize>, String> {
    let receipts = platform.receipts.as_ref().ok_or("the platform has no [receipts]")?;
    let arrived = Shown::new(platform, receipts, shown, setting)?;
    let receipt = match arrived.read(receipts, setting, true).map_err(|error| error.to_string())? {
        Reading::Receipts(list) => list.into_iter().next(),
        Reading::Challenge(_) => return Err("it is read as a challenge".into()),
    };
    if receipts.verify.is_some() && arrived.read(receipts, setting, false) != Err(BadReceipt::Signature) {
        return Err("a wrong signature is not refused".into());
    }
    // `then = "nothing"`: a report that changes nothing, such as "queued".
    same("then", example.then.as_deref(), Some(receipt.as_ref().map_or("nothing", |receipt| receipt.status.word())))?;
    same("fault", example.fault, receipt.as_ref().and_then(|receipt| receipt.fault))?;
    Ok(receipt.and_then(|receipt| {
        receipts.status.iter().position(|rule| rule.then == receipt.status && rule.fault == receipt.fault)
    }))
}

/// A receipt of an example, as it would arrive.
struct Shown {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
    signature: Option<(String, String)>,
}

impl Shown {
    fn new(
        platform: &Platform,
        receipts: &Receipts,
        shown: &ExampleReceipt,
        setting: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Shown, String> {
        let encode = |pairs: &BTreeMap<String, String>| -> String {
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
        };
        let path = match shown.query.is_empty() {
            true => format!("/v1/receipts/{}", platform.name),
            false => format!("/v1/receipts/{}?{}", platform.name, encode(&shown.query)),
        };
        let (method, content_type, body) = match shown {
            ExampleReceipt { form: Some(form), .. } => {
                ("POST", "application/x-www-form-urlencoded", encode(form).into_bytes())
            }
            ExampleReceipt { json: Some(json), .. } => ("POST", "application/json", json.to_string().into_bytes()),
            ExampleReceipt { mail: Some(mail), .. } => ("POST", "message/rfc822", mail.clone().into_bytes()),
            _ => ("GET", "", Vec::new()),
        };
        let signature = match &receipts.verify {
            Some(verify) => {
                let form: Vec<_> = shown.form.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
                let signature = verify.signature(setting, &format!("{PUBLIC_URL}{path}"), &form, &body);
                Some((verify.header().to_lowercase(), signature.ok_or("no key to sign the receipt with")?))
            }
            None => None,
        };
        Ok(Shown { method, path, content_type, body, signature })
    }

    fn read(
        &self,
        receipts: &Receipts,
        setting: &dyn Fn(&str) -> Option<String>,
        signed: bool,
    ) -> Result<Reading, BadReceipt> {
        let header = |name: &str| match (name.to_lowercase().as_str(), &self.signature) {
            ("content-type", _) => Some(self.content_type.to_string()),
            (name, Some((header, value))) if name == header => Some(match signed {
                true => value.clone(),
                false => value.chars().rev().collect(),
            }),
            _ => None,
        };
        let arrived = Arrived { method: self.method, path: &self.path, header: &header, body: &self.body };
        receipts.read(&arrived, setting, PUBLIC_URL)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: Option<T>, got: Option<T>) -> Result<(), String> {
    match expected.is_none() || expected == got {
        true => Ok(()),
        false => Err(format!("{what} should be {expected:?} and is {got:?}")),
    }
}

/// A body that lies whole in memory needs no waiting.
trait NowOrNothing {
    fn now_or_nothing(self) -> Vec<u8>;
}

impl<F, E> NowOrNothing for F
where
    F: Future<Output = Result<http_body_util::Collected<bytes::Bytes>, E>>,
{
    fn now_or_nothing(self) -> Vec<u8> {
        match futures_util::FutureExt::now_or_never(self) {
            Some(Ok(body)) => body.to_bytes().to_vec(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::platforms::Platforms;
    use super::*;

    #[test]
    fn every_embedded_platform_does_what_its_examples_say() {
        let platforms = Platforms::load(None).expect("the embedded files load");
        assert!(platforms.iter().count() >= 9);
        let wrong: Vec<String> = platforms.iter().flat_map(|platform| check(platform)).collect();
        assert_eq!(wrong, [""; 0]);
    }
}
