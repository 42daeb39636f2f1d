//! A refusal in, what it ends or holds out. Enhanced status codes (RFC 3463) decide where the server gives them, else the reply
//! code and where in the conversation it came.

use super::reply::Reply;
use crate::channel::{Fault, Holds, Outcome};

/// What the refusal answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Greeting, EHLO, STARTTLS, AUTH: nothing of a mail was said yet.
    Session,
    Sender,
    Recipient,
    /// DATA or the final dot.
    Content,
}

/// Servers count connections, messages and recipients; what they say then is about us, not about the address.
const TOO_MANY: [&str; 8] =
    ["too many", "too much", "rate limit", "ratelimit", "throttl", "too fast", "quota of messages", "sending limit"];

/// The outcome of a 4xx or 5xx reply; any other code here is a server that lost its thread.
pub(super) fn refusal(phase: Phase, reply: &Reply) -> Outcome {
    let detail = reply.detail();
    match reply.code {
        400..500 => Outcome::Deferred { after: None, holds: holds(phase, reply), throttled: too_many(reply), detail },
        500..600 => Outcome::Rejected { fault: fault(phase, reply), detail },
        _ => Outcome::Deferred {
            after: None,
            holds: Holds::Channel,
            throttled: false,
            detail: format!("out of turn: {detail}"),
        },
    }
}

/// The transaction is full (RFC 5321 section 4.5.3.1.10), which says nothing about this recipient.
pub(super) fn too_many_recipients(reply: &Reply) -> bool {
    let says = matches!(reply.enhanced, Some((_, 5, 3))) || reply.says(&["too many recipients", "too many rcpt"]);
    matches!(reply.code, 452 | 552) && says
}

/// By its words, or as X.7.28, a flood of mail.
fn too_many(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some((_, 7, 28))) || reply.says(&TOO_MANY)
}

fn holds(phase: Phase, reply: &Reply) -> Holds {
    match (phase, reply.code, reply.enhanced) {
        (Phase::Session | Phase::Sender, ..) | (_, 421, _) => Holds::Channel,
        _ if too_many(reply) => Holds::Channel,
        // The mail system (full, shutting down), its network, its load.
        (_, _, Some((_, 3, _)) | Some((_, 4, 5))) => Holds::Channel,
        _ => Holds::Address,
    }
}

fn fault(phase: Phase, reply: &Reply) -> Fault {
    match (phase, reply.code, reply.enhanced) {
        // Authentication is asked for, or failed (RFC 4954 section 6).
        (_, 530 | 534 | 535 | 538, _) => Fault::Channel,
        (Phase::Session, ..) => Fault::Channel,
        // Too large: for the system, or for this mailbox.
        (_, _, Some((_, 3, 4)) | Some((_, 2, 3))) => Fault::Message,
        // The sender's address, the same in every mail.
        (_, _, Some((_, 1, 7 | 8))) => Fault::Channel,
        (Phase::Sender, 552, _) => Fault::Message,
        (Phase::Sender, ..) => Fault::Channel,
        (_, _, Some((_, 1 | 2, _))) => Fault::Address,
        // No way to the recipient's host; some say it of unknown users.
        (Phase::Recipient, _, Some((_, 4, _))) => Fault::Address,
        (_, _, Some((_, 3..=7, _))) => Fault::Message,
        // RFC 7504: the domain takes no mail.
        (Phase::Recipient, 550..=553 | 521 | 556, _) => Fault::Address,
        _ => Fault::Message,
    }
}

/// Whose fault it is that a recipient failed, as a report says it later: by its status (RFC 3463), and the code of the reply that it
/// repeats. What was given up after a while, or went in a circle, is no fault of the address.
pub(crate) fn reported(status: Option<(u16, u16, u16)>, code: Option<u16>) -> Fault {
    match (status, code) {
        (Some((5, 4, 6 | 7 | 14)), _) => Fault::Message,
        (Some((5, ..)), _) | (None, Some(500..)) => {
            let reply = Reply { code: code.unwrap_or(554), enhanced: status, lines: Vec::new() };
            fault(Phase::Recipient, &reply)
        }
        _ => Fault::Message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        let mut buffer = format!("{text}\r\n").into_bytes();
        super::super::reply::take(&mut buffer).expect("reply").expect("whole")
    }

    #[test]
    fn a_permanent_refusal_ends_what_it_is_about() {
        use Phase::{Content, Recipient, Sender, Session};
        for (phase, text, expected) in [
            (Recipient, "550 5.1.1 <a@b>: Recipient address rejected: User unknown", Fault::Address),
            (Recipient, "550 no such user", Fault::Address),
            (Recipient, "551 user not local", Fault::Address),
            (Recipient, "553 mailbox name not allowed", Fault::Address),
            (Recipient, "552 5.2.2 mailbox full", Fault::Address),
            (Recipient, "550 5.2.1 mailbox disabled", Fault::Address),
            (Recipient, "550 5.4.1 Recipient address rejected: Access denied", Fault::Address),
            (Recipient, "556 5.1.10 domain takes no mail", Fault::Address),
            (Recipient, "550 5.7.1 blocked by policy", Fault::Message),
            (Recipient, "554 5.7.1 <a@b>: Relay access denied", Fault::Message),
            (Recipient, "554 refused", Fault::Message),
            (Recipient, "552 5.3.4 message too big", Fault::Message),
            (Recipient, "550 5.1.8 sender's domain not found", Fault::Channel),
            (Recipient, "530 5.7.0 Must issue a STARTTLS command first", Fault::Channel),
            (Sender, "550 5.7.1 sender not allowed", Fault::Channel),
            (Sender, "552 5.3.4 too big", Fault::Message),
            (Sender, "552 too big", Fault::Message),
            (Session, "554 no SMTP service here", Fault::Channel),
            (Session, "535 5.7.8 authentication failed", Fault::Channel),
            (Content, "554 5.6.0 content rejected", Fault::Message),
            (Content, "550 looks like spam", Fault::Message),
            (Content, "552 5.2.2 mailbox full", Fault::Address),
            (Content, "552 5.2.3 too long for this mailbox", Fault::Message),
        ] {
            let Outcome::Rejected { fault, detail } = refusal(phase, &reply(text)) else { panic!("{text}") };
            assert_eq!(fault, expected, "{phase:?} {text}");
            assert!(!detail.contains('@'), "{detail}");
        }
    }

    #[test]
    fn a_passing_refusal_holds_what_it_is_about() {
        use Phase::{Content, Recipient, Sender, Session};
        for (phase, text, expected) in [
            (Recipient, "450 4.2.0 <a@b>: Greylisted", Holds::Address),
            (Recipient, "451 4.7.1 try later", Holds::Address),
            (Recipient, "452 4.2.2 mailbox full", Holds::Address),
            (Recipient, "450 mailbox busy", Holds::Address),
            (Recipient, "452 4.5.3 too many recipients", Holds::Channel),
            (Recipient, "451 4.7.1 Too many messages from you", Holds::Channel),
            (Recipient, "450 4.7.0 Rate limit exceeded", Holds::Channel),
            (Recipient, "452 4.3.1 Insufficient system storage", Holds::Channel),
            (Recipient, "451 4.3.0 Temporary lookup failure", Holds::Channel),
            (Recipient, "421 4.3.2 shutting down", Holds::Channel),
            (Content, "421 closing", Holds::Channel),
            (Content, "451 4.7.1 content deferred", Holds::Address),
            (Sender, "451 4.7.1 try later", Holds::Channel),
            (Session, "454 4.7.0 temporary authentication failure", Holds::Channel),
        ] {
            let Outcome::Deferred { holds, .. } = refusal(phase, &reply(text)) else { panic!("{text}") };
            assert_eq!(holds, expected, "{phase:?} {text}");
        }
    }

    #[test]
    fn a_full_transaction_is_told_from_a_full_mailbox() {
        for (text, expected) in [
            ("452 4.5.3 Error: too many recipients", true),
            ("452 Too many recipients", true),
            ("552 too many recipients", true),
            ("452 4.5.3 no more", true),
            ("452 4.2.2 mailbox full", false),
            ("452 4.3.1 Insufficient system storage", false),
            ("450 4.7.1 too many recipients this hour", false),
            ("550 5.5.3 too many recipients", false),
        ] {
            assert_eq!(too_many_recipients(&reply(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_server_that_says_too_many_is_heard() {
        use Phase::{Content, Recipient, Sender, Session};
        for (phase, text, expected) in [
            (Session, "421 4.7.0 Too many connections from your host", true),
            (Sender, "421 4.7.28 Our system has detected an unusual rate of mail", true),
            (Recipient, "450 4.7.1 Rate limit exceeded", true),
            (Recipient, "451 4.7.1 Too many messages, slow down", true),
            (Content, "452 4.3.1 You are sending too fast", true),
            (Session, "421 4.3.2 shutting down", false),
            (Recipient, "450 4.2.0 Greylisted", false),
            (Recipient, "451 4.3.0 Temporary lookup failure", false),
        ] {
            let Outcome::Deferred { throttled, .. } = refusal(phase, &reply(text)) else { panic!("{text}") };
            assert_eq!(throttled, expected, "{phase:?} {text}");
        }
    }
}
