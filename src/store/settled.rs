//! What a subscriber who is written becomes, decided without asking the store: which places the addresses have, which stay as they
//! are, whether anything changes at all.

use std::sync::{Arc, Mutex, MutexGuard};

use ring::hmac;

use super::packed::{SHARDS, blind};
use super::{Result, Upserted};
use crate::audience::import::Seen;
use crate::audience::{Address, Subscriber};
use crate::id::SubscriberId;

/// A subscriber as they are to be, with the index and the owner of each address.
pub struct Wanted {
    pub subscriber: Subscriber,
    pub blinds: Vec<Vec<u8>>,
    pub owners: Vec<Option<i64>>,
}

/// A subscriber as they are, and the next free place.
pub struct Known {
    pub subscriber: Subscriber,
    pub next_place: u16,
}

pub fn blinds(key: &hmac::Key, subscriber: &Subscriber) -> Vec<Vec<u8>> {
    subscriber.addresses.iter().map(|a| blind(key, &a.kind, &a.value)).collect()
}

/// An address that belongs to somebody else.
pub fn taken(wanted: &Subscriber, owners: &[Option<i64>], own: Option<i64>) -> Option<Upserted> {
    let place = owners.iter().position(|owner| owner.is_some() && *owner != own)?;
    Some(Upserted::Taken { kind: wanted.addresses[place].kind.clone(), place })
}

/// Gives the addresses their places, known ones what is known of them; answers the next free place. `suppressed` is asked about
/// new ones, by their position.
pub fn settle(
    wanted: &mut Subscriber,
    known: Option<&Known>,
    mut suppressed: impl FnMut(usize) -> Result<bool>,
) -> Result<u16> {
    let mut next_place = known.map_or(1, |known| known.next_place);
    for (position, address) in wanted.addresses.iter_mut().enumerate() {
        let before = known
            .iter()
            .flat_map(|known| &known.subscriber.addresses)
            .find(|a| a.kind == address.kind && a.value == address.value);
        match before {
            Some(before) => {
                address.place = before.place;
                address.suppressed = before.suppressed;
                address.verified |= before.verified;
                if address.secrets.is_empty() {
                    address.secrets = before.secrets.clone();
                }
            }
            None => {
                address.place = next_place;
                next_place += 1;
                address.suppressed = suppressed(position)?;
            }
        }
    }
    Ok(next_place)
}

/// Whether all is as it was; else the next version is made.
pub fn unchanged(wanted: &mut Subscriber, known: &Subscriber) -> bool {
    if wanted.key.is_none() {
        wanted.key = known.key.clone();
    }
    (wanted.id, wanted.version) = (known.id, known.version);
    let same = wanted == known;
    wanted.version += i64::from(!same);
    same
}

/// Addresses that are no longer theirs.
pub fn gone<'a>(known: &'a Subscriber, wanted: &'a Subscriber) -> impl Iterator<Item = &'a Address> {
    known.addresses.iter().filter(|old| !wanted.addresses.iter().any(|new| new.place == old.place))
}

/// The id of the subscriber of that number: shards take turns.
pub fn numbered(n: i64) -> SubscriberId {
    SubscriberId((n % SHARDS) << 48 | n)
}

/// Who was seen in this file, and whom of them this job has noted.
pub struct Noted {
    pub seen: Arc<Mutex<Seen>>,
    pub by_this: Vec<SubscriberId>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Noted {
    pub fn new(seen: Arc<Mutex<Seen>>) -> Noted {
        Noted { seen, by_this: Vec::new() }
    }

    /// What the job wrote is undone: so is what it noted.
    pub fn undo(&mut self) {
        let mut seen = lock(&self.seen);
        self.by_this.drain(..).for_each(|id| seen.forget(id));
    }
}
