//! Protocols that publish over one connection that stays open, and answer each message: MQTT, NATS, AMQP, SMPP, IRC, XMPP. A parcel waits for
//! the connection, which is opened when the first one comes; its bytes go out beside those of others, and the acknowledgement that is
//! its own becomes its outcome (`conversation`). What a protocol says is a `Protocol` and its `Session`; the rest is the same for all.
//! Where the platform reports over the connection it is opened as soon as somebody listens, and again whenever it has ended.
//!
//! A parcel of which no byte was written is `Deferred` when the connection ends, one of which any was is `Unknown`. Nothing is sent
//! again from here: whether it may be is decided by whoever sends.

/// The driver of AMQP 0-9-1 brokers.
pub mod amqp;

mod conversation;

/// The driver of IRC networks.
pub mod irc;

/// The driver of MQTT brokers.
pub mod mqtt;

/// The driver of NATS servers.
pub mod nats;

/// The driver of SMS centres.
pub mod smpp;

mod target;

/// The driver of XMPP servers.
pub mod xmpp;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::sync::{Mutex as Turn, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::conversation::Lost;
use self::target::Line;
use super::{Driver, Fault, Holds, Outcome, Parcel, Report};
use crate::config::Secret;
use crate::id::BroadcastId;
use crate::quantity::Span;

/// What the operator set.
pub type Settings = BTreeMap<String, Secret>;

/// How long a broker may take to answer, where the operator says nothing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two connections that nobody waits for but to listen; twice as long after each that could not be opened.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What the numbers of messages under way must fit into, for every protocol.
const MOST_UNDER_WAY: usize = 1024;

/// How a connection comes to take messages.
trait Protocol: Send + Sync + 'static {
    type Session: Session;

    fn open(&self) -> impl Future<Output = Result<(Line, Self::Session), Outcome>> + Send;

    /// From now on reports go there; most protocols bring none.
    fn listen(&self, _: mpsc::Sender<Report>) {}

    /// Whether the connection is wanted while there is nothing to send.
    fn listens(&self) -> bool {
        false
    }
}

/// What is said on it: bytes in, bytes out, no socket and no clock.
trait Session: Send {
    /// Whether an answer that does not come says that the connection is of no more use.
    const SILENCE_ENDS: bool;

    /// Writes a message whose answer will carry `key`. An outcome: it can't be sent, and nothing was written.
    fn publish(&mut self, key: u64, letter: &Letter, out: &mut BytesMut) -> Result<(), Outcome>;

    /// Nobody waits for the answer to `key` any more.
    fn forget(&mut self, key: u64, out: &mut BytesMut);

    /// Whether no further message may be published for now.
    fn full(&self) -> bool {
        false
    }

    /// Whether there is room for what the other side reports.
    fn hears(&self) -> bool {
        true
    }

    /// Waits until a report has been kept, or could not be.
    fn kept(&mut self) -> impl Future<Output = Kept> + Send {
        std::future::pending()
    }

    /// Tells the other side so.
    fn acknowledge(&mut self, _: Kept, _: &mut BytesMut) {}

    /// Writes what the broker must answer if it is there.
    fn ping(&mut self, out: &mut BytesMut);

    /// Reads as much as came whole; what it answers goes into `answers`.
    fn read(
        &mut self,
        incoming: &mut BytesMut,
        out: &mut BytesMut,
        answers: &mut Vec<(u64, Outcome)>,
    ) -> Result<(), Lost>;
}

/// What became of a report, by its number on this connection.
struct Kept {
    number: u32,
    kept: bool,
}

/// What is published, and where.
struct Letter {
    id: String,
    broadcast: Option<BroadcastId>,
    to: Arc<str>,
    body: Bytes,
}

struct Job {
    letter: Letter,
    answer: oneshot::Sender<Outcome>,
}

struct Publisher<P> {
    protocol: Arc<P>,
    jobs: mpsc::Sender<Job>,
    waiting: Arc<Turn<mpsc::Receiver<Job>>>,
    under_way: usize,
    patience: Duration,
    /// What may appear in no outcome.
    secrets: Vec<String>,
    /// Dropped with the driver, and the connection with it: nobody is left then who could hear an outcome.
    worker: Mutex<JoinSet<()>>,
}

impl<P: Protocol> Publisher<P> {
    /// `concurrency` is the number of parcels that may be under way at one time; further ones wait.
    fn new(protocol: P, patience: Duration, concurrency: usize, secrets: Vec<String>) -> Publisher<P> {
        let under_way = concurrency.clamp(1, MOST_UNDER_WAY);
        let (jobs, waiting) = mpsc::channel(under_way);
        Publisher {
            protocol: Arc::new(protocol),
            jobs,
            waiting: Arc::new(Turn::new(waiting)),
            under_way,
            patience,
            secrets,
            worker: Mutex::default(),
        }
    }

    /// Sees to it that somebody takes what waits, also after a panic.
    fn work(&self) {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        while worker.try_join_next().is_some() {}
        if worker.is_empty() {
            worker.spawn(work(self.protocol.clone(), self.waiting.clone(), self.under_way, self.patience));
        }
    }
}

#[async_trait]
impl<P: Protocol> Driver for Publisher<P> {
    async fn send(&self, parcel: Parcel) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let body = parcel.filled().text.into();
        let letter = Letter { body, id: parcel.id, broadcast: parcel.broadcast, to: parcel.to.clone() };
        self.work();
        // The other end is the driver's own.
        if self.jobs.send(Job { letter, answer }).await.is_err() {
            return deferred("the connection is not served");
        }
        let mut outcome =
            outcome.await.unwrap_or_else(|_| Outcome::Unknown { detail: "the conversation broke off".into() });
        outcome.scrub(self.secrets.iter().map(String::as_str).chain([&*parcel.to]));
        outcome
    }

    fn listen(&self, reports: mpsc::Sender<Report>) {
        self.protocol.listen(reports);
        if self.protocol.listens() {
            self.work();
        }
    }
}

/// One connection after the other, each opened when somebody waits for it, or listens.
async fn work<P: Protocol>(
    protocol: Arc<P>,
    waiting: Arc<Turn<mpsc::Receiver<Job>>>,
    under_way: usize,
    patience: Duration,
) {
    let mut waiting = waiting.lock().await;
    let mut pause = Duration::ZERO;
    loop {
        let job = tokio::select! {
            biased;
            job = waiting.recv() => match job {
                Some(job) => Some(job),
                None => return,
            },
            () = sleep(pause), if protocol.listens() => None,
        };
        match timeout(patience, protocol.open()).await {
            Ok(Ok((line, session))) => {
                conversation::converse(line, session, job, &mut waiting, under_way, patience).await;
                pause = SHORTEST_PAUSE;
            }
            failed => {
                let outcome = match failed {
                    Ok(Err(outcome)) => outcome,
                    _ => deferred("the server did not answer in time"),
                };
                if job.is_none() {
                    tracing::warn!(?outcome, "no connection over which a platform could report");
                }
                pause = (pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                // Whoever waits with it would hear the same, one long wait after the other.
                let mut jobs = job;
                while let Some(job) = jobs {
                    let _ = job.answer.send(outcome.clone());
                    jobs = waiting.try_recv().ok();
                }
            }
        }
    }
}

fn deferred(detail: impl Into<String>) -> Outcome {
    Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail: detail.into() }
}

fn rejected(detail: impl Into<String>) -> Outcome {
    Outcome::Rejected { fault: Fault::Channel, detail: detail.into() }
}

/// A setting that is there and not empty.
pub(super) fn setting<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.get(name).map(Secret::expose).filter(|value| !value.is_empty())
}

pub(super) fn patience(settings: &Settings) -> Result<Duration, String> {
    match setting(settings, "timeout") {
        Some(span) => Ok(span.parse::<Span>().map_err(|error| format!("timeout: {error}"))?.0),
        None => Ok(PATIENCE),
    }
}

/// What must hold for any bytes of a broker: see `fuzz::replies`.
pub(crate) fn attacked(bytes: &[u8]) {
    fn read<'a, S: Session>(
        mut session: S,
        to: &str,
        packets: impl Iterator<Item = &'a [u8]>,
    ) -> (Vec<(u64, Outcome)>, bool) {
        let (mut incoming, mut out, mut answers) = (BytesMut::new(), BytesMut::new(), Vec::new());
        for key in 0..4 {
            let letter = Letter { id: format!("dlv_{key}"), broadcast: None, to: to.into(), body: "{}".into() };
            session.publish(key, &letter, &mut out).expect("a letter that can be sent");
        }
        for packet in packets {
            incoming.extend_from_slice(packet);
            if session.read(&mut incoming, &mut out, &mut answers).is_err() {
                return (answers, false);
            }
        }
        (answers, true)
    }
    fn held<S: Session>(session: impl Fn() -> S, to: &str, bytes: &[u8]) {
        let (answers, whole) = read(session(), to, std::iter::once(bytes));
        let small = read(session(), to, bytes.chunks(1 + bytes.len() / 4096));
        assert_eq!(small, (answers.clone(), whole), "the same in small packets");
        for (at, (key, outcome)) in answers.iter().enumerate() {
            assert!(answers[..at].iter().all(|(before, _)| before != key), "one answer each");
            if let Outcome::Deferred { detail, .. } | Outcome::Rejected { detail, .. } | Outcome::Unknown { detail } =
                outcome
            {
                assert!(detail.len() <= 500 && !detail.contains(char::is_control), "{detail:?}");
            }
        }
    }
    held(mqtt::session, "a.b", bytes);
    held(|| nats::begun("_INBOX.x.".into(), 1024), "a.b", bytes);
    held(|| amqp::begun("".into(), 4096), "a.b", bytes);
    held(smpp::session, "a.b", bytes);
    held(|| irc::begun("us".into()), "#a", bytes);
    held(|| xmpp::begun("a.b".into(), "us".into()), "c@a.b", bytes);
    held(|| xmpp::begun("a.b".into(), "us".into()), "r@a.b?join", bytes);
}
