//! SMTP. A parcel becomes a mail (`mail`), waits for a connection (`queue`), is sent in a conversation of our own (`connection`,
//! `conversation`), and what the server says becomes its outcome (`verdict`). Each parcel gets the outcome that is its own, also
//! where several are under way on one connection. Those who wait for the very same mail share a transaction.
//!
//! Connections are opened as mails wait for them, as many as the time that the server's answers take gives work to (`size`). At
//! most there is one for each attempt at one time, or half as many where the server offers PIPELINING, since each then has two
//! mails under way. They close after a minute without mail, after 500 mails, and after five minutes.

mod connection;
mod conversation;
mod dkim;
mod encode;
mod form;
mod mail;
mod maildir;
mod queue;
mod reply;
#[cfg(test)]
mod script;
mod settings;
mod size;
#[cfg(test)]
mod tests;
mod token;
mod transcript;
mod verdict;

pub(crate) use reply::attacked;
pub(crate) use verdict::reported;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::connection::Connection;
use self::mail::Head;
use self::queue::{Job, Queue, Serving};
use self::settings::Settings;
use self::transcript::Transcript;
use super::exchange::Exchange;
use super::{Driver, Outcome, Parcel, Report};
use crate::clock::Clock;
use crate::config::{Secret, Sender};

pub struct Smtp {
    settings: Arc<Settings>,
    head: Head,
    queue: Arc<Queue>,
    room: Semaphore,
    /// Dropped with the driver, and all connections with it: nobody is left then who could hear an outcome.
    workers: Mutex<JoinSet<()>>,
}

impl Smtp {
    /// `concurrency` is the number of parcels that may be under way at one time; further ones wait. An error names the setting.
    pub fn new(
        settings: &BTreeMap<String, Secret>,
        sender: &Sender,
        concurrency: usize,
        clock: Arc<Clock>,
    ) -> Result<Smtp, String> {
        let settings = Settings::read(settings, sender)?;
        Ok(Smtp {
            head: Head::new(&settings),
            settings: Arc::new(settings),
            queue: Arc::new(Queue::new(concurrency, clock)),
            room: Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            workers: Mutex::default(),
        })
    }
}

#[async_trait]
impl Driver for Smtp {
    fn writes_unsubscribe(&self) -> bool {
        true
    }

    fn listen(&self, reports: mpsc::Sender<Report>) {
        if let Some(folder) = &self.settings.maildir {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            workers.spawn(maildir::watch(folder.clone(), reports, self.queue.clock.clone()));
        }
    }

    async fn send(&self, parcel: Parcel) -> Outcome {
        let mail = match self.head.mail(&parcel) {
            Ok(mail) => mail,
            Err(outcome) => return outcome,
        };
        // Never closed; and without room the mail has not begun.
        let _room = self.room.acquire().await;
        let (job, outcome) = Job::new(mail, parcel.urgent);
        if self.queue.push(job) {
            let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            while workers.try_join_next().is_some() {}
            workers.spawn(work(self.settings.clone(), self.queue.clone(), None));
        }
        outcome.await.unwrap_or_else(|_| broken_off())
    }

    /// On a connection of its own, which ends with it.
    async fn send_shown(&self, parcel: Parcel, shown: &mut Exchange) -> Outcome {
        let mail = match self.head.mail(&parcel) {
            Ok(mail) => mail,
            Err(outcome) => return outcome,
        };
        let (transcript, queue) = (Transcript::default(), Arc::new(Queue::new(1, self.queue.clock.clone())));
        let (job, mut outcome) = Job::new(mail, parcel.urgent);
        queue.push(job);
        let answered = tokio::select! {
            biased;
            answered = &mut outcome => answered.ok(),
            () = work(self.settings.clone(), queue, Some(transcript.clone())) => None,
        };
        let answered = answered.or_else(|| outcome.try_recv().ok());
        shown.conversation = transcript.lines();
        answered.unwrap_or_else(broken_off)
    }
}

fn broken_off() -> Outcome {
    Outcome::Unknown { detail: "the conversation broke off".into() }
}

/// One connection after the other, as long as mail waits.
async fn work(settings: Arc<Settings>, queue: Arc<Queue>, transcript: Option<Transcript>) {
    let mut place = Place { queue: &queue, serving: Serving::Nothing, connected: false, left: false };
    while let Some(job) = queue.take_or_leave(&mut place.serving) {
        match Connection::open(&settings, transcript.clone()).await {
            Ok(connection) => {
                queue.connected(connection.offers.pipelining);
                place.connected = true;
                conversation::converse(connection, job, &mut place.serving, &settings, &queue).await;
                queue.disconnected();
                place.connected = false;
            }
            Err(outcome) => {
                if queue.unreachable(job, outcome, &mut place.serving) {
                    break;
                }
            }
        }
    }
    place.left = true;
}

/// What the queue counts for a worker, given back also if it panics.
struct Place<'a> {
    queue: &'a Queue,
    serving: Serving,
    connected: bool,
    left: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.connected {
            self.queue.disconnected();
        }
        if !self.left {
            self.queue.abandoned(self.serving);
        }
    }
}
