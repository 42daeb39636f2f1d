//! The one driver of every platform that is an HTTP API, webhooks included. A parcel comes in, one request goes out over a warm
//! connection, an outcome comes back. Redirects are not followed. What is not known is said to be unknown.

use std::sync::Arc;

use async_trait::async_trait;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::answer::{self, Answer};
use super::exchange::{Answered, Exchange, Sent};
use super::file::Platform;
use super::follow::{Requests, settled};
use super::pool::{Failure, Pool};
use super::token::Tokens;
use super::{Driver, Fault, Following, Holds, Outcome, Parcel, webhook};
use crate::clock::Clock;

pub struct Http {
    platform: Arc<Platform>,
    requests: Requests,
    tokens: Option<Tokens>,
    pool: Pool,
    clock: Arc<Clock>,
    /// What may appear in no outcome.
    secrets: Vec<String>,
}

impl Http {
    pub fn new(
        platform: Arc<Platform>,
        requests: Requests,
        tokens: Option<Tokens>,
        pool: Pool,
        clock: Arc<Clock>,
        secrets: Vec<String>,
    ) -> Http {
        Http { platform, requests, tokens, pool, clock, secrets }
    }

    /// What waits when the other side is busy.
    fn wide(&self) -> Holds {
        if self.requests.send.is_per_host() { Holds::Host } else { Holds::Channel }
    }

    /// Once more with another token where the first is refused: such a message was not taken.
    async fn exchange(&self, parcel: &Parcel, mut shown: Option<&mut Exchange>) -> Outcome {
        let Some(tokens) = &self.tokens else { return self.attempt(parcel, None, shown).await };
        let mut refused = false;
        loop {
            let token = match tokens.get(&self.pool, self.clock.calendar()).await {
                Ok(token) => token,
                Err(outcome) => return outcome,
            };
            let mut seen = Exchange::default();
            let outcome = self.attempt(parcel, Some(&token), Some(&mut seen)).await;
            let unauthorized = seen.answer.as_ref().is_some_and(|answer| answer.status == 401);
            if unauthorized {
                tokens.refused(&token).await;
            }
            if unauthorized && !std::mem::replace(&mut refused, true) {
                continue;
            }
            if let Some(shown) = &mut shown {
                **shown = seen;
            }
            return outcome;
        }
    }

    /// `shown` is for a person who looks on; nobody does where there is much to send.
    async fn attempt(&self, parcel: &Parcel, token: Option<&HeaderValue>, mut shown: Option<&mut Exchange>) -> Outcome {
        let (request, follows) = self.requests.of(parcel);
        let mut built = match request.build(parcel, self.clock.calendar()) {
            Ok(built) => built,
            // What does not fit into the other message may do as one of its own.
            Err(Outcome::Rejected { fault: Fault::Message, detail }) if follows.is_some() => {
                return Outcome::Rejected { fault: Fault::Gone, detail };
            }
            Err(outcome) => return outcome,
        };
        if let Some(token) = token {
            built.request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        if let Some(shown) = &mut shown {
            shown.request = Some(Sent::of(&built, self.requests.send.is_per_host()));
        }
        // Whoever else has an answer to read, or a request to build, goes first; then all write one after the other, which wakes the
        // other side once for all of them, and not once for each: a fifth of the processor time of a webhook.
        tokio::task::yield_now().await;
        match self.pool.exchange(&built.origin, built.request).await {
            Ok(received) => {
                let answer = Answer { status: received.status, headers: &received.headers, body: &received.body };
                let (rules, now) = (&self.platform.answers, self.clock.calendar());
                let (outcome, rule) = answer::read(rules, &answer, follows.is_some(), self.wide(), now);
                if let Some(shown) = shown {
                    (shown.answer, shown.rule) = (Some(Answered::of(&answer, rules)), rule);
                }
                settled(outcome, follows)
            }
            Err(Failure::NotSent(reason)) => {
                Outcome::Deferred { after: None, holds: self.wide(), throttled: false, detail: reason.into() }
            }
            Err(Failure::Forbidden(reason)) => Outcome::Rejected {
                fault: Fault::Address,
                detail: format!("the target is {reason}, which this channel does not allow"),
            },
            Err(Failure::Lost(reason)) => Outcome::Unknown { detail: reason.into() },
        }
    }
}

#[async_trait]
impl Driver for Http {
    async fn send(&self, parcel: Parcel) -> Outcome {
        let outcome = self.exchange(&parcel, None).await;
        self.scrubbed(&parcel, outcome)
    }

    async fn send_shown(&self, parcel: Parcel, shown: &mut Exchange) -> Outcome {
        let outcome = self.exchange(&parcel, Some(shown)).await;
        self.scrubbed(&parcel, outcome)
    }

    fn follows(&self) -> Following {
        self.requests.following()
    }

    fn writes_unsubscribe(&self) -> bool {
        self.requests.send.unsubscribes()
    }

    fn host<'a>(&self, to: &'a str) -> Option<&'a str> {
        if self.requests.send.is_per_host() { webhook::host(to) } else { None }
    }
}

impl Http {
    fn scrubbed(&self, parcel: &Parcel, mut outcome: Outcome) -> Outcome {
        outcome.scrub(self.secrets.iter().map(String::as_str).chain([&*parcel.to]));
        outcome
    }
}
