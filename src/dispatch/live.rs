//! A broadcast that is held, running or paused, as the engine has it in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::confirm::Confirmed;
use super::feeds::Feeds;
use super::lock;
use super::pace::Pace;
use crate::channel::Follows;
use crate::clock::{Instant, Time};
use crate::id::{DeliveryId, SubscriberId};
use crate::render::message::Message;
use crate::store::{Broadcast, BroadcastState, Cursor, ManifestKey, WordingKey};

pub struct Live {
    pub broadcast: Broadcast,
    state: AtomicU8,
    /// Shards still to page, and how far each has come.
    pub(super) pages: Mutex<Pages>,
    /// Recipients in our shards that are selected and not yet at an end. The store knows it, and says when nobody is left on any node.
    outstanding: AtomicI64,
    pub(super) words: Mutex<BTreeMap<WordingKey, Arc<Message>>>,
    pace: Mutex<Pace>,
    pub(super) feeds: Mutex<Feeds>,
    pub(super) confirmed: Mutex<Confirmed>,
}

pub(super) struct Pages {
    pub mask: u64,
    pub cursors: BTreeMap<u8, Cursor>,
}

impl Pages {
    /// Of our own shards those to page next, lowest first, and where each stands: one that may have been begun, and those after it
    /// that have not, so that few members need but one page.
    fn next(&self, own: u64) -> Vec<(u8, Cursor)> {
        let mut shards: Vec<(u8, Cursor)> = Vec::new();
        for shard in (0..64u8).filter(|shard| self.mask & 1 << shard != 0) {
            if own & 1 << shard == 0 {
                // Another node's members are not read on the way.
                match shards.is_empty() {
                    true => continue,
                    false => break,
                }
            }
            match self.cursors.get(&shard) {
                None => shards.push((shard, Cursor::default())),
                Some(cursor) if shards.is_empty() => shards.push((shard, *cursor)),
                Some(_) => break,
            }
        }
        shards
    }

    fn decided(&mut self, shard: u8, cursor: Cursor, end: bool) {
        self.cursors.insert(shard, cursor);
        if end {
            self.mask &= !(1 << shard);
        }
    }
}

/// A manifest whose recipients do not all have a row yet.
pub struct OpenManifest {
    pub key: ManifestKey,
    pub remaining: AtomicU32,
}

/// One broadcast to one address, on its way.
pub struct Delivery {
    pub live: Arc<Live>,
    pub subscriber: SubscriberId,
    pub version: i64,
    /// Under which its shard was ours when it was decided: under another one it is not sent.
    pub epoch: i64,
    pub overflows: u64,
    /// As many had confirmed late when it was decided; `None` where that does not matter.
    pub confirmations: Option<u64>,
    pub place: u16,
    pub to: Arc<str>,
    pub secrets: Box<[String]>,
    pub name: Option<Box<str>>,
    pub message: Arc<Message>,
    /// The earlier message that it follows; `None`: a message of its own.
    pub follows: Option<Box<Follows>>,
    /// Tries that ended before.
    pub tries: u32,
    /// From then on its recipient wants quiet.
    pub quiet_from: Option<Time>,
    /// When its broadcast was released: part of the bytes, the same at every try.
    pub at: Time,
    pub queued: std::time::Duration,
    /// First tries decided in a page have no row yet.
    pub manifest: Option<Arc<OpenManifest>>,
    /// What was found open after a crash goes out even if superseded meanwhile … as `unknown`.
    pub recovered: bool,
}

impl Delivery {
    pub fn id(&self) -> DeliveryId {
        DeliveryId { broadcast: self.live.broadcast.id, subscriber: self.subscriber, place: self.place }
    }
}

impl Live {
    /// `own`: our shards.
    pub fn new(broadcast: Broadcast, own: u64) -> Live {
        Live {
            state: AtomicU8::new(broadcast.state as u8),
            pages: Mutex::new(Pages { mask: broadcast.shards, cursors: broadcast.progress.clone() }),
            outstanding: AtomicI64::new(outstanding(&broadcast, own)),
            words: Mutex::default(),
            pace: Mutex::default(),
            feeds: Mutex::default(),
            confirmed: Mutex::default(),
            broadcast,
        }
    }

    pub fn state(&self) -> BroadcastState {
        BroadcastState::from_number(self.state.load(Ordering::Acquire).into())
    }

    pub fn set_state(&self, state: BroadcastState) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Where a change could not be written, and nobody has changed it since.
    pub fn set_back(&self, from: BroadcastState, to: BroadcastState) {
        let _ = self.state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn next_shards(&self, own: u64) -> Vec<(u8, Cursor)> {
        lock(&self.pages).next(own)
    }

    /// Reads anew how far our own shards have come, as where others had them before.
    pub(super) fn read_anew(&self, written: &Broadcast, own: u64) {
        let mut pages = lock(&self.pages);
        pages.mask = pages.mask & !own | written.shards & own;
        for shard in (0..64u8).filter(|shard| own & 1 << shard != 0) {
            match written.progress.get(&shard) {
                Some(cursor) => drop(pages.cursors.insert(shard, *cursor)),
                None => drop(pages.cursors.remove(&shard)),
            }
        }
        self.outstanding.store(outstanding(written, own), Ordering::Release);
    }

    pub(super) fn page_decided(&self, shard: u8, cursor: Cursor, end: bool) {
        lock(&self.pages).decided(shard, cursor, end);
    }

    pub(super) fn decided(&self, outstanding: i64) {
        self.outstanding.fetch_add(outstanding, Ordering::AcqRel);
    }

    pub fn paged(&self, own: u64) -> bool {
        lock(&self.pages).mask & own == 0
    }

    pub fn outstanding(&self) -> i64 {
        self.outstanding.load(Ordering::Acquire)
    }

    pub(super) fn ended(&self, recipients: i64) {
        self.outstanding.fetch_sub(recipients, Ordering::AcqRel);
    }

    pub(super) fn keeps_pace(&self, recipients: i64, now: Instant) {
        lock(&self.pace).ended(recipients, now);
    }

    /// Recipients that end a second, as of late.
    pub fn rate(&self, now: Instant) -> f64 {
        lock(&self.pace).rate(now)
    }

    /// Everyone in our shards has been decided and has come to an end.
    pub fn complete(&self, own: u64) -> bool {
        self.paged(own) && self.outstanding() == 0
    }
}

fn outstanding(broadcast: &Broadcast, own: u64) -> i64 {
    let ours = broadcast.progress.iter().filter(|(shard, _)| own & 1 << **shard != 0);
    ours.map(|(_, cursor)| cursor.selected - cursor.ended).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_a_shard_was_left_and_through_those_that_nobody_has_begun() {
        let at = |after| Cursor { after, manifests: 1, ..Cursor::default() };
        let mut pages = Pages { mask: 0b10_1101, cursors: BTreeMap::new() };
        let shards = |pages: &Pages| {
            pages.next(u64::MAX).iter().map(|(shard, cursor)| (*shard, cursor.after)).collect::<Vec<_>>()
        };
        assert_eq!(shards(&pages), [(0, 0), (2, 0), (3, 0), (5, 0)]);
        pages.decided(0, at(7), true);
        pages.decided(2, at(9), false);
        assert_eq!(shards(&pages), [(2, 9), (3, 0), (5, 0)]);
        // As after a crash between two pages of an earlier program, which began them one by one.
        pages.decided(5, at(4), false);
        assert_eq!(shards(&pages), [(2, 9), (3, 0)]);
        for shard in [2, 3, 5] {
            pages.decided(shard, at(0), true);
        }
        assert_eq!(shards(&pages), []);
    }

    #[test]
    fn a_page_stays_within_the_shards_of_its_node() {
        let pages = Pages { mask: 0b110_1101, cursors: BTreeMap::new() };
        let shards = |own| pages.next(own).into_iter().map(|(shard, _)| shard).collect::<Vec<_>>();
        assert_eq!(shards(0b110_1100), [2, 3, 5, 6], "where nobody is there is nothing to pass over");
        assert_eq!(shards(0b100_1101), [0, 2, 3], "another node's shard lies between");
        assert_eq!(shards(0b100_0000), [6]);
        assert!(shards(0b010).is_empty());
    }
}
