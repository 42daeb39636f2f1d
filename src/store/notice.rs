//! What nodes tell each other of what they have written, and how one waits until the others have heard it. A node tells it with the
//! commit, so that what was not written is not told; whoever was away hears that it has missed something.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// These are in another state than before, or there are more of them.
    Broadcasts(Vec<i64>),
    /// What an incident says is down may be something else.
    Incident(i64),
    /// They have changed.
    Subscribers(Vec<i64>),
    /// So many have changed that everything in memory is to be decided afresh.
    Everyone,
    /// Somebody has put a hand on it, or its breaker has changed.
    Channel(u16),
    /// A confirmation of this broadcast to this subscriber has come after it was given up.
    Confirmed(i64, i64),
    /// Rows are open that are due.
    Rows,
    /// Rows are open that a former owner has left: how long they wait was decided without their owner.
    Inherited,
    /// A setting that was changed while everything runs, by its name in the store.
    Setting(String),
    /// Shards are to be had.
    Shards,
    /// There were notices that did not come through: everything may be something else.
    Missed,
}

/// A notice that has come, and what is told to whoever waits for it.
pub struct Heard {
    pub notice: Notice,
    done: oneshot::Sender<()>,
}

impl Heard {
    pub(super) fn new(notice: Notice) -> (Heard, oneshot::Receiver<()>) {
        let (done, obeyed) = oneshot::channel();
        (Heard { notice, done }, obeyed)
    }

    /// From here on nothing begins on this node that the notice forbids.
    pub fn obeyed(self) {
        let _ = self.done.send(());
    }
}

pub type Notices = mpsc::Receiver<Heard>;
