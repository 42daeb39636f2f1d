//! Platforms and channels, and what they answer. A *platform* is a file in `channels/`; a *channel* is a platform that the
//! operator has set up. A driver sends one parcel and says what came of it; it decides nothing else.

/// A platform as a file.
pub mod file;

/// The platforms at hand.
pub mod platforms;

/// `{{x}}` of those files.
pub mod template;

/// JSON Pointers.
pub mod pointer;

/// Examples of a file, which are its tests.
pub mod example;

/// Runs them.
pub mod kit;

/// The channels that the operator has set up.
pub mod registry;

/// Their secrets, by digests.
pub mod credentials;

/// From a parcel to its HTTP request.
pub mod request;

/// The requests that follow an earlier message.
pub mod follow;

/// Where it goes.
pub mod place;

/// Its body and query.
pub mod body;

/// A request's parts: bytes that never change, values that do.
pub mod pieces;

/// The alphabet of SMS.
pub mod gsm7;

/// How a request says who sends it.
pub mod auth;

/// OAuth 1.0a.
pub mod oauth1;

/// Tokens that platforms give, and that end.
pub mod token;

/// Sealed for a browser.
pub mod webpush;

/// Signatures of AWS.
pub mod sigv4;

/// Signatures of webhooks.
pub mod webhook;

/// The driver of every HTTP API.
pub mod http;

/// What goes over the wire, for a person to see.
pub mod exchange;

/// Without the secrets in it.
pub mod veil;

/// Warm connections.
pub mod pool;

/// Their TLS.
pub mod tls;

/// Which addresses a webhook may reach.
pub mod guard;

/// What an answer means.
pub mod answer;

/// The driver that keeps messages where they are.
pub mod outbox;

/// The SMTP driver.
pub mod smtp;

/// The drivers of MQTT, NATS, AMQP, SMPP, IRC and XMPP.
pub mod publish;

/// The Kafka driver.
pub mod kafka;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use self::exchange::Exchange;
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::incident::words;
use crate::render::message::{Fields, Filled, Message};

words!(
    /// What a rejection ends: this address, this message on this channel, or the channel until it is mended. `Gone`: nothing but
    /// that it follows an earlier message, which is there no more.
    Fault { Address = "address", Message = "message", Channel = "channel", Gone = "gone" }
);
words!(
    /// What must wait after a `Deferred`.
    Holds { Channel = "channel", Account = "account", Host = "host", Address = "address" }
);

/// The earlier message that one follows, by the platform's reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    /// Posted under it.
    Reply(String),
    /// Stands in its place.
    Edit(String),
}

impl Follows {
    pub fn reference(&self) -> &str {
        let (Follows::Reply(reference) | Follows::Edit(reference)) = self;
        reference
    }
}

/// How a platform lets a message follow an earlier one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Following {
    pub reply: bool,
    pub edit: bool,
}

/// One thing to send. The same id and the same bytes at every try.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The delivery's public id, `dlv_…`; it travels as `webhook-id`, `Idempotency-Key`, `Message-ID`.
    pub id: String,
    /// What the mails that its recipients share are known by; `None` for what belongs to no broadcast.
    pub broadcast: Option<BroadcastId>,
    /// What it is about; `None` for what is about no incident.
    pub incident: Option<IncidentId>,
    /// The address, of the platform's kind.
    pub to: Arc<str>,
    /// The secret of a webhook address (`whsec_…`), one or, during rotation, two; empty otherwise.
    pub secrets: Vec<String>,
    /// Its words, and what of the recipient stands in them.
    pub message: Arc<Message>,
    pub name: Option<Box<str>>,
    /// Where a person unsubscribes (RFC 8058); `None` where the message has no such place.
    pub unsubscribe_url: Option<String>,
    pub urgent: bool,
    /// `None`: a message of its own.
    pub follows: Option<Follows>,
    /// When the delivery was decided: the date of a mail, the same at every try.
    pub at: Time,
}

impl Parcel {
    pub fn fields(&self) -> Fields<'_> {
        Fields { delivery: &self.id, name: self.name.as_deref(), unsubscribe_url: self.unsubscribe_url.as_deref() }
    }

    pub fn filled(&self) -> Filled {
        self.message.fill(&self.fields())
    }
}

/// What a channel answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Accepted {
        reference: Option<String>,
    },
    Deferred {
        after: Option<Duration>,
        holds: Holds,
        /// It was one too many: what holds is to be tried more slowly.
        throttled: bool,
        detail: String,
    },
    Rejected {
        fault: Fault,
        detail: String,
    },
    /// Neither success nor failure is known: a timeout, a cut answer, a connection lost after the last byte.
    Unknown {
        detail: String,
    },
}

impl Outcome {
    pub const WORDS: [&'static str; 4] = ["accepted", "deferred", "rejected", "unknown"];

    /// Its place among `WORDS`.
    pub fn number(&self) -> usize {
        match self {
            Outcome::Accepted { .. } => 0,
            Outcome::Deferred { .. } => 1,
            Outcome::Rejected { .. } => 2,
            Outcome::Unknown { .. } => 3,
        }
    }

    pub fn word(&self) -> &'static str {
        Outcome::WORDS[self.number()]
    }

    /// The last line of defence: a platform that echoes a secret or the address in what it answers is not repeated.
    pub(crate) fn scrub<'a>(&mut self, private: impl Iterator<Item = &'a str>) {
        let (Outcome::Deferred { detail, .. } | Outcome::Rejected { detail, .. } | Outcome::Unknown { detail }) = self
        else {
            return;
        };
        for text in private.filter(|text| text.len() > 3) {
            if detail.contains(text) {
                *detail = detail.replace(text, "…");
            }
        }
    }
}

/// How a platform is talked to. `detail` in an outcome is short, without secrets and without the address.
#[async_trait]
pub trait Driver: Send + Sync {
    async fn send(&self, parcel: Parcel) -> Outcome;

    /// As `send`, and notes what went over the wire, for a person who tries a channel.
    async fn send_shown(&self, parcel: Parcel, shown: &mut Exchange) -> Outcome {
        shown.unseen = true;
        self.send(parcel).await
    }

    /// The host that a parcel to this address goes to, where each address may have its own (webhooks): limits and breakers
    /// by host use it.
    fn host<'a>(&self, _to: &'a str) -> Option<&'a str> {
        None
    }

    /// From now on what the platform reports over the connection goes there; most report nothing, or by requests to us.
    fn listen(&self, _reports: mpsc::Sender<Report>) {}

    /// Whether it can post under an earlier message, and whether it can change the words of one.
    fn follows(&self) -> Following {
        Following::default()
    }

    /// Whether it writes a parcel's unsubscribe link itself, as mail does in a header, wherever the words have none.
    fn writes_unsubscribe(&self) -> bool {
        false
    }
}

/// What a platform reports over the connection by which it takes messages, for `[receipts]` of its file to read.
pub struct Report {
    pub said: Value,
    /// Whether it was kept: the platform repeats what was not.
    pub kept: oneshot::Sender<bool>,
}

words!(
    /// What a platform says later.
    ReceiptStatus { Delivered = "delivered", Bounced = "bounced", Read = "read", Complained = "complained" }
);

/// Whether the platform drops an id that it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeat {
    Safe,
    Unsafe,
}
