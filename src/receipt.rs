//! What a platform says later about a delivery. A request to `/v1/receipts/<channel>` comes in as it arrived; by the platform's
//! `[receipts]` it is verified and read into receipts, or refused. Pure.

pub mod mail;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;

use crate::channel::answer::{OneOf, Unit, is_code};
use crate::channel::file::Setting;
use crate::channel::pointer::{Pointer, scalar};
use crate::channel::{Fault, ReceiptStatus};
use crate::clock::Time;
use crate::config::suggest;

pub use verify::Verify;

/// `[receipts]` of a platform file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    #[serde(default)]
    pub how: How,
    pub verify: Option<Verify>,
    pub challenge: Option<Challenge>,
    /// The elements of a JSON body that are receipts; without it the request is one.
    pub items: Option<Pointer>,
    #[serde(rename = "match")]
    pub matching: Match,
    /// When it happened.
    pub at: Option<At>,
    /// The platform's code of the reason.
    pub detail: Option<Place>,
    #[serde(default)]
    pub status: Vec<StatusRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    #[default]
    Callback,
    /// Over the connection by which messages go out, from a platform that has proved there who it is.
    Connection,
    /// As a mail, by a request or in a mailbox.
    Mail,
}

/// A handshake: a GET whose token is right is answered with what it brings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    pub query: String,
    pub token: String,
    /// The setting that has the token.
    pub setting: String,
}

/// How a receipt finds its delivery: by the id that we put into the callback's URL, or by the platform's reference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    Id(Place),
    Ref(Place),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    pub value: Place,
    #[serde(default)]
    pub unit: Unit,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusRule {
    pub when: BTreeMap<Place, OneOf>,
    pub then: ReceiptStatus,
    pub fault: Option<Fault>,
}

/// Where a value stands: `query:x`, `form:x`, or a JSON pointer into the item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Query(String),
    Form(String),
    Json(Pointer),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            Some(("query", name)) => Ok(Place::Query(name.into())),
            Some(("form", name)) => Ok(Place::Form(name.into())),
            _ => Pointer::parse(&text).map(Place::Json).map_err(|_| {
                serde::de::Error::custom(format!("{text:?} is none of query:x, form:x and a JSON pointer"))
            }),
        }
    }
}

/// A request as it arrived.
pub struct Arrived<'a> {
    pub method: &'a str,
    /// Path and query as they were sent.
    pub path: &'a str,
    pub header: &'a dyn Fn(&str) -> Option<String>,
    pub body: &'a [u8],
}

#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    pub matching: Matching,
    pub status: ReceiptStatus,
    /// Of what bounced.
    pub fault: Option<Fault>,
    pub at: Option<Time>,
    /// A short code of the platform's; empty if it gave none.
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matching {
    /// Our own `dlv_…`, still to be checked by its tag.
    ById(String),
    ByReference(String),
}

#[derive(Debug, PartialEq)]
pub enum Reading {
    /// To be answered with 200 and this text.
    Challenge(String),
    Receipts(Vec<Receipt>),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    #[error("the signature is missing or wrong")]
    Signature,
    #[error("{0}")]
    Malformed(&'static str),
}

impl Receipts {
    /// Whether they name the platform's reference rather than our id.
    pub fn by_reference(&self) -> bool {
        matches!(self.matching, Match::Ref(_))
    }

    /// Whether they come over the channel's own connection, and never by a request.
    pub fn by_connection(&self) -> bool {
        matches!(self.how, How::Connection)
    }

    /// Whether a message may be waited for until its receipt has come. Of most mails that arrive nothing is reported.
    pub fn confirm(&self) -> bool {
        !self.by_mail()
    }

    pub fn by_mail(&self) -> bool {
        matches!(self.how, How::Mail)
    }

    /// One that came over a connection or in a mailbox.
    pub fn reported(&self, said: &Value) -> Result<Option<Receipt>, BadReceipt> {
        self.item(&Found { query: &Pairs::new(), form: &Pairs::new(), item: said })
    }

    pub fn check(&self, settings: &BTreeMap<String, Setting>) -> Result<(), String> {
        let key = match &self.verify {
            Some(Verify::Hmac { key, .. } | Verify::Twilio { key }) => Some(key),
            None => None,
        };
        for name in key.into_iter().chain(self.challenge.as_ref().map(|challenge| &challenge.setting)) {
            if !settings.contains_key(name) {
                let near = suggest(name, settings.keys().map(String::as_str));
                return Err(format!("{name:?} is not in [settings]{near}"));
            }
        }
        if self.status.iter().any(|rule| rule.fault == Some(Fault::Gone)) {
            return Err("fault \"gone\" is for answers to [reply] and [edit]".into());
        }
        match self.status.iter().find(|rule| (rule.then == ReceiptStatus::Bounced) != rule.fault.is_some()) {
            Some(rule) => Err(format!("status {:?}: what bounced has a fault, and nothing else has", rule.then.word())),
            None => Ok(()),
        }
    }

    /// Verifies and reads a request. `public_url` is ours as the platform knows it.
    pub fn read(
        &self,
        arrived: &Arrived<'_>,
        setting: &dyn Fn(&str) -> Option<String>,
        public_url: &str,
    ) -> Result<Reading, BadReceipt> {
        let query = arrived.path.split_once('?').map_or("", |(_, query)| query);
        let query: Pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let (Some(challenge), "GET") = (&self.challenge, arrived.method) {
            let token = setting(&challenge.setting).filter(|token| !token.is_empty()).ok_or(BadReceipt::Signature)?;
            let given = find(&query, &challenge.token).ok_or(BadReceipt::Signature)?;
            let answer = find(&query, &challenge.query).ok_or(BadReceipt::Malformed("no challenge"))?;
            return match bool::from(token.as_bytes().ct_eq(given.as_bytes())) {
                true => Ok(Reading::Challenge(answer.into())),
                false => Err(BadReceipt::Signature),
            };
        }
        let form: Pairs = match (arrived.header)("content-type") {
            Some(kind) if kind.starts_with("application/x-www-form-urlencoded") => {
                url::form_urlencoded::parse(arrived.body).into_owned().collect()
            }
            _ => Pairs::new(),
        };
        if let Some(verify) = &self.verify {
            let given = (arrived.header)(verify.header()).ok_or(BadReceipt::Signature)?;
            let good = verify.urls(public_url, arrived.path).iter().any(|url| {
                let expected = verify.signature(setting, url, &form, arrived.body);
                expected.is_some_and(|expected| bool::from(expected.as_bytes().ct_eq(given.trim().as_bytes())))
            });
            if !good {
                return Err(BadReceipt::Signature);
            }
        }
        if self.by_mail() {
            let kind = (arrived.header)("content-type").unwrap_or_default().to_ascii_lowercase();
            if !["message/rfc822", "message/global"].contains(&kind.split(';').next().unwrap_or_default().trim()) {
                return Err(BadReceipt::Malformed("a report comes as a mail, Content-Type: message/rfc822"));
            }
            let said = mail::read(arrived.body).map(|said| self.reported(&said)).transpose()?.flatten();
            return Ok(Reading::Receipts(said.into_iter().collect()));
        }
        let json: Value = match self.reads_json() {
            true => serde_json::from_slice(arrived.body).map_err(|_| BadReceipt::Malformed("the body is not JSON"))?,
            false => Value::Null,
        };
        let items = self.items.as_ref().map_or(vec![&json], |items| items.each(&json));
        items
            .into_iter()
            .filter_map(|item| self.item(&Found { query: &query, form: &form, item }).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map(Reading::Receipts)
    }

    /// One receipt; `None` if it says nothing that counts (queued, sent).
    fn item(&self, found: &Found<'_>) -> Result<Option<Receipt>, BadReceipt> {
        let matches = |rule: &&StatusRule| {
            rule.when.iter().all(|(at, values)| found.at(at).is_some_and(|value| values.contains_text(&value)))
        };
        let Some(rule) = self.status.iter().find(matches) else { return Ok(None) };
        let matching = match &self.matching {
            Match::Id(at) => found.at(at).map(Matching::ById),
            Match::Ref(at) => found.at(at).map(Matching::ByReference),
        };
        let matching = matching
            .filter(|(Matching::ById(text) | Matching::ByReference(text))| !text.is_empty() && text.len() <= 256)
            .ok_or(BadReceipt::Malformed("it does not say which delivery it is about"))?;
        let at = self.at.as_ref().and_then(|at| {
            let value: i64 = found.at(&at.value)?.parse().ok()?;
            Some(Time(if at.unit == Unit::Second { value.checked_mul(1000)? } else { value }))
        });
        let detail = self.detail.as_ref().and_then(|at| found.at(at)).filter(|text| is_code(text)).unwrap_or_default();
        Ok(Some(Receipt { matching, status: rule.then, fault: rule.fault, at, detail }))
    }

    fn reads_json(&self) -> bool {
        let json = |place: &Place| matches!(place, Place::Json(_));
        let (Match::Id(matching) | Match::Ref(matching)) = &self.matching;
        self.items.is_some() || json(matching) || self.status.iter().flat_map(|rule| rule.when.keys()).any(json)
    }
}

type Pairs = Vec<(String, String)>;

struct Found<'a> {
    query: &'a Pairs,
    form: &'a Pairs,
    item: &'a Value,
}

impl Found<'_> {
    fn at(&self, place: &Place) -> Option<String> {
        match place {
            Place::Query(name) => find(self.query, name).map(String::from),
            Place::Form(name) => find(self.form, name).map(String::from),
            Place::Json(pointer) => scalar(pointer.get(self.item)?),
        }
    }
}

fn find<'a>(pairs: &'a Pairs, name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}
