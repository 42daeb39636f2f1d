//! One connection's work, from the first message to the end of the connection: messages out as they come and there is room for
//! them, answers in, in whatever order, each under a time limit. What is under way when it ends is told apart by whether the system
//! had taken any byte of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::target::Line;
use super::{Job, Kept, Session, deferred};
use crate::channel::Outcome;

/// So long nothing is heard before the broker is asked whether it is there. Twice this is what it may wait for us.
pub(super) const QUIET: Duration = Duration::from_secs(20);
/// Bytes that wait to be written; above them no further message is taken.
const WAITING: usize = 256 * 1024;
/// The longest thing that a broker says to someone who only publishes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Why a connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Closed,
    Timeout,
    Garbled,
    Failed(io::ErrorKind),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed => f.write_str("the server closed the connection"),
            Lost::Timeout => f.write_str("the server did not answer in time"),
            Lost::Garbled => f.write_str("the server's answer is not of its protocol"),
            Lost::Failed(kind) => write!(f, "the connection failed: {kind}"),
        }
    }
}

/// Returns when the connection has ended, and everything that was under way on it has its outcome.
pub(super) async fn converse<S: Session>(
    line: Line,
    session: S,
    first: Option<Job>,
    waiting: &mut mpsc::Receiver<Job>,
    room: usize,
    patience: Duration,
) {
    let (mut reader, mut writer) = tokio::io::split(line.stream);
    let mut talk = Talk::new(session, line.incoming, patience);
    if let Some(first) = first {
        talk.publish(first);
    }
    // What came with the last answer of the opening.
    let mut lost = talk.hear().err();
    while lost.is_none() {
        talk.incoming.reserve(8192);
        let wake = talk.wake();
        tokio::select! {
            job = waiting.recv(), if talk.under_way.len() < room && talk.out.len() < WAITING && !talk.session.full() => match job {
                Some(job) => talk.publish(job),
                None => return,
            },
            read = reader.read_buf(&mut talk.incoming), if talk.session.hears() => lost = match read {
                Ok(0) => Some(Lost::Closed),
                Ok(_) => talk.hear().err(),
                Err(error) => Some(Lost::Failed(error.kind())),
            },
            wrote = push(&mut writer, &talk.out), if talk.unsent => match wrote {
                Ok(count) => talk.wrote(count),
                Err(error) => lost = Some(Lost::Failed(error.kind())),
            },
            kept = talk.session.kept() => lost = talk.acknowledge(kept).err(),
            () = sleep_until(wake) => lost = talk.late().err(),
        }
    }
    if let Some(lost) = lost {
        talk.end(lost);
    }
}

/// Writes some of it, or what the stream still holds if there is nothing.
async fn push(writer: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> io::Result<usize> {
    match out.is_empty() {
        true => writer.flush().await.map(|()| 0),
        false => match writer.write(out).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        },
    }
}

/// A message whose answer has not come.
struct UnderWay {
    answer: oneshot::Sender<Outcome>,
    /// Where its bytes begin among all that is written on this connection.
    begins: u64,
    until: Instant,
}

struct Talk<S> {
    session: S,
    incoming: BytesMut,
    out: BytesMut,
    /// Whether bytes are to be written, or flushed.
    unsent: bool,
    written: u64,
    /// By a number that grows: the first has waited longest.
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
    answers: Vec<(u64, Outcome)>,
    patience: Duration,
    heard: Instant,
    asked: Option<Instant>,
}

impl<S: Session> Talk<S> {
    fn new(session: S, incoming: BytesMut, patience: Duration) -> Talk<S> {
        Talk {
            session,
            incoming,
            out: BytesMut::new(),
            unsent: false,
            written: 0,
            under_way: BTreeMap::new(),
            next: 0,
            answers: Vec::new(),
            patience,
            heard: Instant::now(),
            asked: None,
        }
    }

    fn publish(&mut self, job: Job) {
        // Whoever gave up while it waited is not told in secret.
        if job.answer.is_closed() {
            return;
        }
        let (key, begins) = (self.next, self.written + self.out.len() as u64);
        self.next += 1;
        match self.session.publish(key, &job.letter, &mut self.out) {
            Ok(()) => {
                self.unsent = true;
                let until = Instant::now() + self.patience;
                self.under_way.insert(key, UnderWay { answer: job.answer, begins, until });
            }
            Err(outcome) => drop(job.answer.send(outcome)),
        }
    }

    fn hear(&mut self) -> Result<(), Lost> {
        (self.heard, self.asked) = (Instant::now(), None);
        self.read()
    }

    fn read(&mut self) -> Result<(), Lost> {
        let read = self.session.read(&mut self.incoming, &mut self.out, &mut self.answers);
        self.unsent |= !self.out.is_empty();
        for (key, outcome) in self.answers.drain(..) {
            if let Some(one) = self.under_way.remove(&key) {
                let _ = one.answer.send(outcome);
            }
        }
        match self.incoming.len() > LONGEST_ANSWER {
            true => Err(Lost::Garbled),
            false => read,
        }
    }

    /// What was left unread meanwhile is read now.
    fn acknowledge(&mut self, kept: Kept) -> Result<(), Lost> {
        self.session.acknowledge(kept, &mut self.out);
        self.read()
    }

    fn wrote(&mut self, count: usize) {
        // A flush ends it: what was written may still lie in the TLS layer.
        self.unsent = count > 0;
        self.out.advance(count);
        self.written += count as u64;
    }

    fn wake(&self) -> Instant {
        let ask = self.asked.map_or(self.heard + QUIET, |asked| asked + self.patience);
        self.under_way.first_key_value().map_or(ask, |(_, oldest)| oldest.until.min(ask))
    }

    fn late(&mut self) -> Result<(), Lost> {
        let now = Instant::now();
        while let Some(oldest) = self.under_way.first_entry()
            && oldest.get().until <= now
        {
            if S::SILENCE_ENDS {
                return Err(Lost::Timeout);
            }
            let (key, one) = oldest.remove_entry();
            self.session.forget(key, &mut self.out);
            self.unsent |= !self.out.is_empty();
            let _ = one.answer.send(Outcome::Unknown { detail: Lost::Timeout.to_string() });
        }
        match self.asked {
            Some(asked) if asked + self.patience <= now => return Err(Lost::Timeout),
            None if self.heard + QUIET <= now => {
                self.session.ping(&mut self.out);
                (self.asked, self.unsent) = (Some(now), true);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(self, lost: Lost) {
        for one in self.under_way.into_values() {
            let detail = lost.to_string();
            let _ = one.answer.send(match one.begins < self.written {
                true => Outcome::Unknown { detail },
                false => deferred(detail),
            });
        }
    }
}
