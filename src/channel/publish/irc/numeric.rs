//! What a refusal means, by its number: RFC 2812, section 5.2, and <https://modern.ircdocs.horse/#numerics>. Only a name that no server
//! would take ends an address for ever: nobody may have a nick now and somebody in an hour, and the operators of a channel let in whom
//! they kept out.

use crate::channel::{Fault, Holds, Outcome};

/// What a PRIVMSG, or the JOIN before it, was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Of the channel: we are not in it. The message may be taken all the same.
    Join,
    /// Of a line.
    Line,
}

pub(super) fn refusal(numeric: u16) -> Option<Refusal> {
    match numeric {
        // 403 answers either; without such a channel no line is taken, and is answered itself.
        405 | 437 | 470 | 471 | 473 | 474 | 475 | 476 | 477 | 479 | 480 | 485 | 489 | 520 => Some(Refusal::Join),
        263 | 401 | 402 | 403 | 404 | 407 | 411..=415 | 417 | 421 | 439 | 442 | 486 | 492 | 531 | 707 | 716 => {
            Some(Refusal::Line)
        }
        _ => None,
    }
}

fn words(numeric: u16) -> &'static str {
    match numeric {
        263 => "the server is busy",
        401 => "nobody has this nick now",
        402 | 403 => "there is no such channel",
        404 => "the channel takes nothing from us",
        405 => "we are in as many channels as the server allows",
        407 | 439 | 707 => "we write to too many",
        413..=415 => "not a name that can be written to",
        417 => "a line is too long",
        437 => "the channel cannot be joined for a while",
        442 => "we are not in the channel",
        471 => "the channel is full",
        473 => "the channel is for who was invited",
        474 => "we are banned from the channel",
        475 => "the channel has a key",
        476 | 479 => "not a channel's name",
        477 | 486 => "for who is logged in; see account and password",
        480 | 489 | 520 => "for who comes over TLS, or may",
        492 | 531 | 716 => "who has this nick takes nothing from us",
        _ => "refused",
    }
}

/// Of a message all of whose lines were refused so.
pub(super) fn outcome(numeric: u16, join: Option<u16>) -> Outcome {
    let mut detail = format!("{numeric}: {}", words(numeric));
    if let Some(join) = join.filter(|join| *join != numeric) {
        detail.push_str(&format!("; {join}: {}", words(join)));
    }
    let later = |holds, throttled| Outcome::Deferred { after: None, holds, throttled, detail: detail.clone() };
    match (numeric, join) {
        (407 | 439 | 707, _) => later(Holds::Channel, true),
        (263, _) => later(Holds::Channel, false),
        (_, Some(437)) => later(Holds::Address, false),
        (402 | 403 | 413..=415, _) | (_, Some(476 | 479)) => Outcome::Rejected { fault: Fault::Address, detail },
        _ => Outcome::Rejected { fault: Fault::Message, detail },
    }
}
