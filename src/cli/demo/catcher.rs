//! Counterparties for the demo, all on loopback: a mail server, an HTTP receiver for webhooks and chats, an SMS gateway. What
//! they take lies in one basket, counted by its id, and can be looked at under `/messages`. They prove nothing by trust: a
//! signature is checked, an id seen twice is a duplicate.

mod http;
mod smtp;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::channel::webhook::SigningKey;

/// Messages that can be looked at; all are counted.
const KEPT: usize = 20_000;

/// One message, as whoever got it would see it.
#[derive(Debug, Clone, Serialize)]
pub struct Caught {
    pub number: u64,
    /// `email sms webhook slack telegram whatsapp ntfy`.
    pub by: &'static str,
    pub to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub text: String,
}

#[derive(Default)]
struct Inner {
    ids: HashSet<String>,
    kept: VecDeque<Caught>,
    taken: u64,
    duplicates: u64,
    whatsapp_attempts: u64,
    /// First and last arrival at each address since the last `arrivals`.
    arrivals: HashMap<(&'static str, String), (Instant, Instant)>,
    keys: HashMap<String, Vec<SigningKey>>,
    complaints: Vec<String>,
}

/// What all catchers throw into.
#[derive(Clone, Default)]
pub struct Basket(Arc<Mutex<Inner>>, Arc<Notify>);

impl Basket {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `id`: the sender's own, or `None` where the platform has no place for one; then the same words to the same address are
    /// the same message.
    fn take(&self, by: &'static str, id: Option<&str>, to: &str, subject: Option<String>, text: String) {
        let id = id.map_or_else(|| format!("{by} {to} {text}"), str::to_string);
        let now = Instant::now();
        let mut inner = self.lock();
        inner.arrivals.entry((by, to.to_string())).or_insert((now, now)).1 = now;
        inner.taken += 1;
        if !inner.ids.insert(id) {
            inner.duplicates += 1;
        }
        if inner.kept.len() == KEPT {
            inner.kept.pop_front();
        }
        let number = inner.taken;
        inner.kept.push_back(Caught { number, by, to: to.into(), subject, text });
        self.1.notify_waiters();
    }

    /// The next message after this call.
    fn came(&self) -> tokio::sync::futures::OwnedNotified {
        self.1.clone().notified_owned()
    }

    /// Something that no honest sender does.
    fn complain(&self, what: String) {
        let mut inner = self.lock();
        if inner.complaints.len() < 100 {
            inner.complaints.push(what);
        }
    }

    pub fn distinct(&self) -> u64 {
        self.lock().ids.len() as u64
    }

    pub fn duplicates(&self) -> u64 {
        self.lock().duplicates
    }

    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    /// Requests at the WhatsApp endpoint, whatever they were answered.
    pub fn whatsapp_attempts(&self) -> u64 {
        self.lock().whatsapp_attempts
    }

    /// The secret that a receiver was given for its path.
    pub fn trust(&self, path: &str, secret: &str) -> anyhow::Result<()> {
        let key = SigningKey::parse(secret).map_err(anyhow::Error::msg).context("a webhook's secret")?;
        self.lock().keys.entry(path.into()).or_default().push(key);
        Ok(())
    }

    /// When the first and the last message came to each address since this was last asked.
    pub fn arrivals(&self) -> HashMap<(&'static str, String), (Instant, Instant)> {
        std::mem::take(&mut self.lock().arrivals)
    }

    /// The newest messages with these words in them.
    fn newest(&self, contains: &str, limit: usize) -> Vec<Caught> {
        let fits = |caught: &&Caught| {
            let Caught { to, subject, text, .. } = caught;
            contains.is_empty()
                || [text, to].iter().any(|t| t.contains(contains))
                || subject.as_ref().is_some_and(|subject| subject.contains(contains))
        };
        self.lock().kept.iter().rev().filter(fits).take(limit).cloned().collect()
    }

    fn number(&self, number: u64) -> Option<Caught> {
        self.lock().kept.iter().find(|caught| caught.number == number).cloned()
    }
}

/// The catchers, listening.
pub struct Catchers {
    pub basket: Basket,
    pub smtp: SocketAddr,
    pub http: SocketAddr,
    pub sms: SocketAddr,
}

impl Catchers {
    /// `ports` are those of mail, HTTP and SMS; 0 is any that is free.
    pub async fn start([smtp, http, sms]: [u16; 3], stop: CancellationToken) -> anyhow::Result<Catchers> {
        let basket = Basket::default();
        let (smtp, http, sms) = (listen(smtp)?, listen(http)?, listen(sms)?);
        let places = (smtp.local_addr()?, http.local_addr()?, sms.local_addr()?);
        tokio::spawn(http::receiver(http, basket.clone())?);
        tokio::spawn(http::gateway(sms, basket.clone())?);
        smtp.set_nonblocking(true)?;
        let smtp = tokio::net::TcpListener::from_std(smtp)?;
        tokio::spawn(smtp::serve(smtp, basket.clone(), stop));
        Ok(Catchers { basket, smtp: places.0, http: places.1, sms: places.2 })
    }
}

/// Listens on a port of loopback, or on any where that one is taken.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let at = |port| TcpListener::bind(("127.0.0.1", port));
    at(port).or_else(|_| at(0)).context("no port of 127.0.0.1 can be listened on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_a_duplicate_by_its_id_or_its_words() {
        let basket = Basket::default();
        basket.take("email", Some("dlv_1"), "a@b", None, "words".into());
        basket.take("email", Some("dlv_1"), "a@b", None, "other words".into());
        basket.take("slack", None, "U1", None, "words".into());
        basket.take("slack", None, "U1", None, "words".into());
        basket.take("slack", None, "U2", None, "words".into());
        assert_eq!((basket.distinct(), basket.duplicates()), (3, 2));
        let newest: Vec<u64> = basket.newest("other", 9).iter().map(|caught| caught.number).collect();
        assert_eq!(newest, [2]);
        assert_eq!(basket.number(5).map(|caught| caught.to), Some("U2".into()));
    }
}
