//! What a platform answered, read by the file's rules (the first match wins) and then by those that are built in. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::pointer::{Pointer, scalar};
use super::{Fault, Holds, Outcome};
use crate::clock::Time;
use crate::incident::words;

/// A platform that says "come back in a year" is asked again tomorrow.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// RFC 6585, section 4.
const TOO_MANY: u16 = 429;

words!(Then { Accepted = "accepted", Deferred = "deferred", Rejected = "rejected", Unknown = "unknown" });

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub when: When,
    pub then: Then,
    pub fault: Option<Fault>,
    #[serde(rename = "ref")]
    pub reference: Option<Reference>,
    pub holds: Option<Holds>,
    pub after: Option<After>,
    /// It was one too many; so is every 429, unless this says no.
    pub throttled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub status: Option<Statuses>,
    pub json: BTreeMap<Pointer, OneOf>,
    /// What headers begin with, by their names.
    pub headers: BTreeMap<String, OneOf>,
    /// The whole body as text, without the blanks around it.
    pub body: Option<OneOf>,
    /// A text that stands somewhere in the body.
    pub contains: Option<OneOf>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOf {
    List(Vec<Value>),
    One(Value),
}

impl OneOf {
    pub fn contains(&self, value: &Value) -> bool {
        match self {
            OneOf::One(one) => one == value,
            OneOf::List(list) => list.contains(value),
        }
    }

    /// As `contains`, for a value that came as text.
    pub fn contains_text(&self, text: &str) -> bool {
        let list = match self {
            OneOf::One(one) => std::slice::from_ref(one),
            OneOf::List(list) => list.as_slice(),
        };
        list.iter().any(|value| scalar(value).as_deref() == Some(text))
    }

    fn any_text(&self, so: impl Fn(&str) -> bool) -> bool {
        self.each().iter().filter_map(scalar).any(|text| so(&text))
    }

    pub(super) fn each(&self) -> &[Value] {
        match self {
            OneOf::One(one) => std::slice::from_ref(one),
            OneOf::List(list) => list,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    pub id: Pointer,
    /// Where the message stands, where a request that changes it must say so otherwise than the address does.
    pub to: Option<Pointer>,
}

impl Reference {
    fn read(&self, json: &Value) -> Option<String> {
        let id = self.id.text(json)?;
        Some(match self.to.as_ref().and_then(|to| to.text(json)) {
            Some(to) => format!("{to}/{id}"),
            None => id,
        })
    }
}

/// Where the wait stands that the platform asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    pub header: Option<String>,
    pub json: Option<Pointer>,
    #[serde(default)]
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Unit {
    #[default]
    #[serde(rename = "s")]
    Second,
    #[serde(rename = "ms")]
    Millisecond,
}

/// `"200"` or `"2xx"`, or a list of such.
#[derive(Debug, Deserialize)]
#[serde(from = "OneOf")]
pub struct Statuses {
    pub(super) given: OneOf,
    /// What each stands for; read once, since every answer is held against them.
    codes: Vec<std::ops::RangeInclusive<u16>>,
}

impl From<OneOf> for Statuses {
    fn from(given: OneOf) -> Statuses {
        let codes = |status: &Value| {
            let text = scalar(status)?;
            match text.strip_suffix("xx") {
                Some(class) => class.parse::<u8>().ok().map(u16::from).map(|class| class * 100..=class * 100 + 99),
                None => text.parse().ok().map(|code| code..=code),
            }
        };
        Statuses { codes: given.each().iter().filter_map(codes).collect(), given }
    }
}

impl Rule {
    /// `follows`: the file has requests that follow an earlier message.
    pub fn check(&self, follows: bool) -> Result<(), String> {
        if self.fault == Some(Fault::Gone) && !follows {
            return Err("fault = \"gone\" is for a file with [reply] or [edit]: what they follow is gone".into());
        }
        for status in self.when.status.iter().flat_map(|statuses| statuses.given.each()) {
            let good = scalar(status).is_some_and(|s| {
                let s = s.as_bytes();
                s.len() == 3 && s[0].is_ascii_digit() && (s[1..] == *b"xx" || s[1..].iter().all(u8::is_ascii_digit))
            });
            if !good {
                return Err(format!("{status} is no status; write \"200\" or \"2xx\""));
            }
        }
        match (self.then, self.fault, &self.after) {
            (Then::Rejected, None, _) => {
                Err("a rejected answer needs its fault: address, message, channel or gone".into())
            }
            (Then::Accepted | Then::Deferred | Then::Unknown, Some(_), _) => {
                Err("only a rejected answer has a fault".into())
            }
            (_, _, Some(After { header: Some(_), json: Some(_), .. } | After { header: None, json: None, .. })) => {
                Err("after has either header or json".into())
            }
            _ if self.holds.is_some() && self.then != Then::Deferred => Err("only a deferred answer holds".into()),
            _ if self.throttled.is_some() && self.then != Then::Deferred => {
                Err("only a deferred answer is throttled".into())
            }
            _ => Ok(()),
        }
    }

    fn matches(&self, answer: &Answer<'_>, json: &Value) -> bool {
        let text = std::str::from_utf8(answer.body).ok();
        let is = |expected: &OneOf| text.is_some_and(|text| expected.contains_text(text.trim()));
        let has = |expected: &OneOf| text.is_some_and(|text| expected.any_text(|part| text.contains(part)));
        let begins = |(name, expected): (&String, &OneOf)| {
            let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| expected.any_text(|part| value.starts_with(part)))
        };
        self.matches_status(answer.status)
            && self.when.headers.iter().all(begins)
            && self.when.body.as_ref().is_none_or(is)
            && self.when.contains.as_ref().is_none_or(has)
            && self.when.json.iter().all(|(at, expected)| at.get(json).is_some_and(|value| expected.contains(value)))
    }

    /// Whether it matches a status whatever else the answer says.
    pub fn decides(&self, status: u16) -> bool {
        let When { json, headers, body, contains, .. } = &self.when;
        self.matches_status(status) && json.is_empty() && headers.is_empty() && body.is_none() && contains.is_none()
    }

    fn matches_status(&self, status: u16) -> bool {
        self.when.status.as_ref().is_none_or(|list| list.codes.iter().any(|codes| codes.contains(&status)))
    }

    fn reads_json(&self) -> bool {
        !self.when.json.is_empty()
            || self.reference.is_some()
            || self.after.as_ref().is_some_and(|after| after.json.is_some())
    }
}

/// A whole answer.
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Reads an answer. `wide` is what waits when the platform as a whole is busy: the host where each address has its own, else
/// the channel. `follows`: the request followed an earlier message; only then may a rule say that it is gone. Also says which rule
/// matched.
pub fn read(rules: &[Rule], answer: &Answer<'_>, follows: bool, wide: Holds, now: Time) -> (Outcome, Option<usize>) {
    let status = answer.status;
    let read = !answer.body.is_empty() && rules.iter().any(|rule| rule.matches_status(status) && rule.reads_json());
    let json = match read {
        true => serde_json::from_slice(answer.body).unwrap_or(Value::Null),
        false => Value::Null,
    };
    let asked = |rule: &Rule| follows || rule.fault != Some(Fault::Gone);
    let mut asked = rules.iter().enumerate().filter(|(_, rule)| asked(rule));
    let Some((at, rule)) = asked.find(|(_, rule)| rule.matches(answer, &json)) else {
        return (built_in(answer, &detail(rules, answer, &json), wide, now), None);
    };
    // Most answers are good ones, of which nothing more is to be said.
    let detail = || detail(rules, answer, &json);
    let outcome = match rule.then {
        Then::Accepted => {
            Outcome::Accepted { reference: rule.reference.as_ref().and_then(|reference| reference.read(&json)) }
        }
        Then::Unknown => Outcome::Unknown { detail: detail() },
        Then::Rejected => Outcome::Rejected { fault: rule.fault.unwrap_or(Fault::Message), detail: detail() },
        Then::Deferred => {
            let after = match &rule.after {
                Some(After { json: Some(pointer), unit, .. }) => wait_in(pointer, &json, *unit),
                Some(After { header: Some(name), .. }) => retry_after(answer.headers, name, now),
                _ => None,
            };
            let after = after.or_else(|| retry_after(answer.headers, "retry-after", now));
            let throttled = rule.throttled.unwrap_or(status == TOO_MANY);
            Outcome::Deferred { after, holds: rule.holds.unwrap_or(wide), throttled, detail: detail() }
        }
    };
    (outcome, Some(at))
}

/// The rules for what the file says nothing about.
fn built_in(answer: &Answer<'_>, detail: &str, wide: Holds, now: Time) -> Outcome {
    let detail = detail.to_string();
    let after = retry_after(answer.headers, "retry-after", now);
    match answer.status {
        401..=403 => Outcome::Rejected { fault: Fault::Channel, detail },
        TOO_MANY | 502..=504 => Outcome::Deferred { after, holds: wide, throttled: answer.status == TOO_MANY, detail },
        // One request went wrong; the next may well go right, unless the platform itself says to wait.
        408 | 500..=599 => {
            let holds = if after.is_some() { wide } else { Holds::Address };
            Outcome::Deferred { after, holds, throttled: false, detail }
        }
        400..=499 => Outcome::Rejected { fault: Fault::Message, detail },
        _ => Outcome::Unknown { detail },
    }
}

/// The status, and the platform's own codes: the headers and the values at the pointers that the rules look at, if they are short
/// words. Free text is left out, since platforms like to repeat addresses in it.
fn detail(rules: &[Rule], answer: &Answer<'_>, json: &Value) -> String {
    let mut detail = format!("HTTP {}", answer.status);
    let headers: std::collections::BTreeSet<&String> = rules.iter().flat_map(|rule| rule.when.headers.keys()).collect();
    for name in headers {
        let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
        // What follows a colon says more, and is not for us.
        if let Some(text) = value.and_then(|value| value.split(':').next()).filter(|text| is_code(text)) {
            detail.push_str(&format!(" {name}={text}"));
        }
    }
    let pointers: std::collections::BTreeSet<&Pointer> = rules.iter().flat_map(|rule| rule.when.json.keys()).collect();
    for pointer in pointers {
        if let Some(text) = pointer.text(json).filter(|text| is_code(text)) {
            detail.push_str(&format!(" {}={text}", pointer.as_str()));
        }
    }
    detail
}

/// A short word or number. Addresses are longer numbers or have other characters.
pub fn is_code(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_uppercase() || b == b'_';
    match text.as_bytes() {
        [] => false,
        digits if digits.iter().all(u8::is_ascii_digit) => digits.len() <= 6,
        // A status of RFC 3463, such as 5.1.1.
        [b'0'..=b'9', b'.', rest @ ..] if rest.iter().all(|b| b.is_ascii_digit() || *b == b'.') => rest.len() <= 7,
        bytes => bytes.len() <= 32 && bytes.iter().all(|b| word(*b)),
    }
}

fn wait_in(pointer: &Pointer, json: &Value, unit: Unit) -> Option<Duration> {
    let value: f64 = pointer.text(json)?.parse().ok().filter(|v: &f64| v.is_finite() && *v >= 0.0)?;
    let seconds = if unit == Unit::Millisecond { value / 1000.0 } else { value };
    Some(Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64())))
}

/// `Retry-After` in both forms (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(headers: &HeaderMap, name: &str, now: Time) -> Option<Duration> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let wait = match text.bytes().all(|b| b.is_ascii_digit()) {
        true => Duration::from_secs(text.parse().ok()?),
        false => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Time(date.as_millisecond()).since(now)
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests;
