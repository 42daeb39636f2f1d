//! What this node has told the others, until they have heard it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Notice;
use super::node::LEASE;
use super::settled::lock;
use crate::fault::{self, Fault};

/// What nodes say to each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Payload {
    /// `from` has written this; whoever hears it says so.
    Says { from: i64, sequence: i64, notices: Vec<Notice> },
    /// `by` obeys what `from` has said.
    Obeys { from: i64, sequence: i64, by: i64 },
}

#[derive(Default)]
pub struct Announced {
    last: AtomicI64,
    /// Whose answer is waited for, and since when.
    waiting: Mutex<BTreeMap<i64, (BTreeSet<i64>, Instant)>>,
    heard: Notify,
}

/// Whoever has not answered by then owns nothing any more: its lease is not extended while it does not hear.
const PATIENCE: Duration = LEASE.saturating_add(Duration::from_millis(500));

impl Announced {
    pub fn number(&self) -> i64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// About to be committed.
    pub fn said(&self, sequence: i64, to: BTreeSet<i64>) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|_, (_, since)| since.elapsed() < PATIENCE * 2);
        if !to.is_empty() {
            waiting.insert(sequence, (to, Instant::now()));
        }
    }

    /// It was not committed.
    pub fn taken_back(&self, sequence: i64) {
        lock(&self.waiting).remove(&sequence);
        self.heard.notify_waiters();
    }

    pub fn heard(&self, sequence: i64, by: i64) {
        let mut waiting = lock(&self.waiting);
        let all = waiting.get_mut(&sequence).is_some_and(|(left, _)| left.remove(&by) && left.is_empty());
        if all {
            waiting.remove(&sequence);
            drop(waiting);
            self.heard.notify_waiters();
        }
    }

    /// Waits until what has been said up to now is obeyed by everyone who owns something.
    pub async fn obeyed(&self) {
        let said: Vec<i64> = lock(&self.waiting).keys().copied().collect();
        if said.is_empty() || fault::on(Fault::AnsweredUnobeyed) {
            return;
        }
        let all = async {
            loop {
                let heard = self.heard.notified();
                if !said.iter().any(|sequence| lock(&self.waiting).contains_key(sequence)) {
                    return;
                }
                heard.await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            said.iter().for_each(|sequence| drop(lock(&self.waiting).remove(sequence)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_obeyed_when_everyone_has_said_so_or_their_leases_have_ended() {
        let announced = std::sync::Arc::new(Announced::default());
        announced.obeyed().await;
        let first = announced.number();
        announced.said(first, [7, 8].into());
        let waits = tokio::spawn({
            let announced = announced.clone();
            async move { announced.obeyed().await }
        });
        tokio::task::yield_now().await;
        announced.heard(first, 7);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished(), "one of two has heard");
        announced.heard(first, 8);
        waits.await.expect("no panic");

        let second = announced.number();
        announced.said(second, [7].into());
        let began = Instant::now();
        announced.obeyed().await;
        assert!(began.elapsed() >= LEASE, "{:?}", began.elapsed());
        announced.said(announced.number(), [].into());
        let third = announced.number();
        announced.said(third, [7].into());
        announced.taken_back(third);
        let began = Instant::now();
        announced.obeyed().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
