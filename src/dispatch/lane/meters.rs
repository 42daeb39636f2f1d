//! A lane's metrics, looked up once: to find a series by its labels costs more than to count in it.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::channel::Outcome;
use crate::plan::Priority;

pub struct Meters {
    /// By rank of priority.
    wait: [Histogram; 4],
    send: Histogram,
    /// In the order of `Outcome::WORDS`.
    attempts: [Counter; 4],
}

impl Meters {
    pub fn new(channel: &str) -> Meters {
        let wait = |rank| {
            let priority = Priority::from_rank(rank).word();
            metrics::histogram!("loudhailer_wait_seconds", "channel" => channel.to_string(), "priority" => priority)
        };
        Meters {
            wait: [0, 1, 2, 3].map(wait),
            send: metrics::histogram!("loudhailer_send_seconds", "channel" => channel.to_string()),
            attempts: Outcome::WORDS.map(|word| {
                metrics::counter!("loudhailer_attempts_total", "channel" => channel.to_string(), "outcome" => word)
            }),
        }
    }

    /// An attempt has ended, after so long in the lane and so long on the wire.
    pub fn attempt(&self, priority: Priority, outcome: &Outcome, waited: Duration, took: Duration) {
        self.wait[usize::from(priority.rank())].record(waited);
        self.send.record(took);
        self.attempts[outcome.number()].increment(1);
    }
}
