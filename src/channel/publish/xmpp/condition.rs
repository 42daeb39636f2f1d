//! What an error means, by its condition (RFC 6120, section 8.3.3). Who is not known, or is not let in, ends an address for ever only
//! where the condition says so itself: most are of a moment.

use super::stanza::Element;
use crate::channel::{Fault, Holds, Outcome};

const KNOWN: [&str; 23] = [
    "bad-request",
    "conflict",
    "feature-not-implemented",
    "forbidden",
    "gone",
    "internal-server-error",
    "item-not-found",
    "jid-malformed",
    "not-acceptable",
    "not-allowed",
    "not-authorized",
    "policy-violation",
    "recipient-unavailable",
    "redirect",
    "registration-required",
    "remote-server-not-found",
    "remote-server-timeout",
    "resource-constraint",
    "service-unavailable",
    "subscription-required",
    "undefined-condition",
    "unexpected-request",
    "payment-required",
];

/// Of a stanza of type `error`.
pub(super) fn condition(stanza: &Element) -> &'static str {
    let children = stanza.child("error").map_or(&[][..], |error| &error.children);
    let known = |child: &Element| KNOWN.into_iter().find(|known| *known == child.name);
    children.iter().find_map(known).unwrap_or("undefined-condition")
}

pub(super) fn outcome(stanza: &Element) -> Outcome {
    let condition = condition(stanza);
    let kind = stanza.child("error").map_or("", |error| error.attribute("type"));
    let rejected = |fault, why: &str| Outcome::Rejected { fault, detail: format!("{condition}: {why}") };
    let deferred = |holds, throttled, why: &str| Outcome::Deferred {
        after: None,
        holds,
        throttled,
        detail: format!("{condition}: {why}"),
    };
    match condition {
        "gone" | "jid-malformed" | "redirect" => rejected(Fault::Address, "there is no such address any more"),
        // A room that is not ready says the same.
        "item-not-found" => rejected(Fault::Message, "there is nobody of that name now"),
        "remote-server-not-found" => rejected(Fault::Message, "its server is not found"),
        // Nobody of that name, or somebody who is not there and for whom nothing is kept: servers do not say which.
        "service-unavailable" | "recipient-unavailable" => rejected(Fault::Message, "nobody takes it there now"),
        "forbidden"
        | "not-allowed"
        | "not-acceptable"
        | "not-authorized"
        | "registration-required"
        | "subscription-required"
        | "payment-required" => rejected(Fault::Message, "we may not write there"),
        "policy-violation" if kind != "wait" => rejected(Fault::Message, "against a rule of the server's"),
        "policy-violation" | "resource-constraint" => deferred(Holds::Channel, true, "the server has too much to do"),
        "internal-server-error" | "remote-server-timeout" | "conflict" => deferred(Holds::Address, false, "not now"),
        _ if kind == "wait" => deferred(Holds::Address, false, "not now"),
        _ => rejected(Fault::Message, "refused"),
    }
}
