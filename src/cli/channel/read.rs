//! How an answer was read, in words and as JSON: the outcome, what follows from it, and by which rule of the platform's file.

use serde_json::{Value, json};

use crate::channel::exchange::{self, Exchange};
use crate::channel::file::Platform;
use crate::channel::{Fault, Holds, Outcome};
use crate::clock::Time;
use crate::quantity::Span;

/// The whole of it as JSON, beside request and answer.
pub fn json(outcome: &Outcome, now: Time, rule: Value) -> Value {
    let mut read = json!({ "outcome": outcome.word(), "rule": rule });
    match outcome {
        Outcome::Accepted { reference } => read["reference"] = json!(reference),
        Outcome::Deferred { after, holds, throttled, detail } => {
            read["until"] = json!(after.map(|after| now.plus(after)));
            read["holds"] = json!(holds.word());
            read["throttled"] = json!(throttled);
            read["detail"] = json!(detail);
        }
        Outcome::Rejected { fault, detail } => {
            read["fault"] = json!(fault.word());
            read["detail"] = json!(detail);
        }
        Outcome::Unknown { detail } => read["detail"] = json!(detail),
    }
    read
}

/// `{"number", "when"}` of the rule that decided; null where none did.
pub fn rule(platform: &Platform, shown: &Exchange) -> Value {
    let rule = shown.rule.and_then(|at| Some((at, platform.answers.get(at)?)));
    rule.map_or(Value::Null, |(at, rule)| json!({ "number": at + 1, "when": exchange::says(&rule.when) }))
}

/// One or two lines.
pub fn lines(outcome: &Outcome, now: Time) -> Vec<String> {
    match outcome {
        Outcome::Accepted { reference: None } => vec!["accepted; the platform gave it no name".into()],
        Outcome::Accepted { reference: Some(reference) } => vec![format!("accepted, as {reference}")],
        Outcome::Deferred { after, holds, throttled, detail } => {
            let until = match after {
                Some(after) => format!("until {}, in {}", now.plus(*after), Span(*after)),
                None => "for as long as our own waits say".into(),
            };
            let many = if *throttled { "; it was one too many" } else { "" };
            vec![format!("deferred {until}{many}: {detail}"), format!("meanwhile {} waits", held(*holds))]
        }
        Outcome::Rejected { fault, detail } => vec![format!("rejected: {detail}"), at_fault(*fault).into()],
        Outcome::Unknown { detail } => {
            vec![format!("unknown: {detail}"), "it may have arrived, or not: look where it should be".into()]
        }
    }
}

fn held(holds: Holds) -> &'static str {
    match holds {
        Holds::Channel => "the whole channel",
        Holds::Account => "every channel of the account",
        Holds::Host => "the host of this address",
        Holds::Address => "this address",
    }
}

fn at_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Address => "at fault is the address: nothing more would be sent to it",
        Fault::Message => "at fault is the message: the channel would go on with others",
        Fault::Gone => "what it was to follow is gone: a message of its own would be sent",
        Fault::Channel => "at fault is the channel: nothing would go by it until that is mended",
    }
}

/// By what it was read.
pub fn by(platform: &Platform, shown: &Exchange, rule: &Value) -> String {
    match (rule["number"].as_u64(), &shown.answer) {
        (Some(number), _) => {
            let when = rule["when"].as_str().unwrap_or_default();
            format!("by [[answer]] {number} of the file of {}: {when}", platform.name)
        }
        (None, Some(_)) => format!("by the status alone: no [[answer]] of the file of {} matches", platform.name),
        (None, None) if !shown.conversation.is_empty() => "by the codes of the server's replies".into(),
        (None, None) if shown.request.is_some() => "by no answer: there is none".into(),
        (None, None) if shown.unseen => "by the driver, which shows nothing of what it sent and heard".into(),
        (None, None) => "before anything was sent".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_outcome_says_what_follows_from_it() {
        let now = Time::parse("2021-10-04T15:51:00Z").expect("a time");
        let detail = || "HTTP 429".to_string();
        let deferred = |after, throttled| Outcome::Deferred { after, holds: Holds::Host, throttled, detail: detail() };
        for (outcome, said) in [
            (Outcome::Accepted { reference: Some("m-1".into()) }, "accepted, as m-1"),
            (
                deferred(Some(Duration::from_secs(90)), true),
                "deferred until 2021-10-04T15:52:30Z, in 90s; it was one too many: HTTP 429 / meanwhile the host of this address waits",
            ),
            (
                deferred(None, false),
                "deferred for as long as our own waits say: HTTP 429 / meanwhile the host of this address waits",
            ),
            (
                Outcome::Rejected { fault: Fault::Address, detail: detail() },
                "rejected: HTTP 429 / at fault is the address: nothing more would be sent to it",
            ),
            (
                Outcome::Unknown { detail: detail() },
                "unknown: HTTP 429 / it may have arrived, or not: look where it should be",
            ),
        ] {
            assert_eq!(lines(&outcome, now).join(" / "), said);
        }
        let read = json(&deferred(Some(Duration::from_secs(90)), true), now, Value::Null);
        assert_eq!(
            read,
            serde_json::json!({ "outcome": "deferred", "rule": null, "until": "2021-10-04T15:52:30Z", "holds": "host",
                "throttled": true, "detail": "HTTP 429" })
        );
    }
}
