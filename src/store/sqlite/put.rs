//! Subscribers written: found by id, key or address, given places and numbers, made members. Many in one job look up once what
//! they share.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ring::hmac;
use rusqlite::{Connection, Row};

use super::rows::{first, next_id, next_ids, run};
use super::subscriber::{SUBSCRIBER, keep_past, read};
use crate::audience::Subscriber;
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::store::packed::{Kept, blind, pack_addresses, pack_interests, unpack_addresses};
use crate::store::settled::{Known, Wanted, blinds, gone, numbered, settle, taken, unchanged};
use crate::store::{Result, StoreError, SubscriberDraft, Upserted};

pub fn upsert(db: &Connection, key: &hmac::Key, drafts: &[SubscriberDraft], now: Time) -> Result<Vec<Upserted>> {
    let mut batch = Batch::new(drafts.len());
    let one = |SubscriberDraft { id, subscriber }| {
        let blinds = blinds(key, &subscriber);
        let owners = owners(db, &blinds)?;
        let known = find(db, id, subscriber.key.as_deref(), &owners)?;
        let version = known.as_ref().map(|known| known.subscriber.version);
        if id.is_some() && subscriber.version != 0 && version != Some(subscriber.version) {
            return Ok(Upserted::Stale);
        }
        put(db, key, &mut batch, Wanted { subscriber, blinds, owners }, known, now)
    };
    drafts.iter().cloned().map(one).collect()
}

/// Of the index of addresses: subscriber and place; `None`: taken out of it.
type Entry = Option<(i64, u16)>;

/// What a job on many subscribers looks up or takes once.
pub struct Batch {
    /// By name: the number, and the shards that have members.
    audiences: HashMap<String, (i64, i64)>,
    /// Whether there is any suppression at all.
    suppressions: Option<bool>,
    numbers: std::ops::Range<i64>,
    left: usize,
    /// Where many are written: what becomes of the index of addresses, written at the end in its own order, so that each of
    /// its pages is touched once in a job however many addresses fall on it.
    addresses: Option<BTreeMap<Vec<u8>, Entry>>,
}

impl Batch {
    pub fn new(size: usize) -> Batch {
        Batch { audiences: HashMap::new(), suppressions: None, numbers: 0..0, left: size, addresses: None }
    }

    /// One whose `end` has to be called.
    pub fn ordered(size: usize) -> Batch {
        Batch { addresses: Some(BTreeMap::new()), ..Batch::new(size) }
    }

    /// Whose an address is by what this job has decided; `None`: it has decided nothing.
    pub fn owner(&self, blind: &[u8]) -> Option<Option<i64>> {
        Some(self.addresses.as_ref()?.get(blind)?.map(|(owner, _)| owner))
    }

    fn address(&mut self, db: &Connection, blind: &[u8], owner: Option<(i64, u16)>) -> Result<()> {
        match &mut self.addresses {
            Some(addresses) => drop(addresses.insert(blind.to_vec(), owner)),
            None => index(db, blind, owner)?,
        }
        Ok(())
    }

    pub fn end(self, db: &Connection) -> Result<()> {
        self.addresses.unwrap_or_default().into_iter().try_for_each(|(blind, owner)| index(db, &blind, owner))
    }

    /// The number of a new subscriber; taken from the store for this one and all that may still come in the job.
    fn number(&mut self, db: &Connection) -> Result<i64> {
        if self.numbers.is_empty() {
            self.numbers = next_ids(db, "subscriber", self.left as i64 + 1)?;
        }
        self.numbers.next().ok_or_else(|| StoreError::Failed("id_block gave no id".into()))
    }

    fn suppressed(&mut self, db: &Connection, blind: &[u8]) -> Result<bool> {
        let any = match self.suppressions {
            Some(any) => any,
            None => {
                *self.suppressions.insert(first(db, "SELECT 1 FROM suppression LIMIT 1", [], |_| Ok(()))?.is_some())
            }
        };
        Ok(any && first(db, "SELECT 1 FROM suppression WHERE blind = ?1", [blind], |_| Ok(()))?.is_some())
    }
}

fn index(db: &Connection, blind: &[u8], owner: Option<(i64, u16)>) -> Result<()> {
    match owner {
        Some((id, place)) => {
            run(db, "INSERT OR REPLACE INTO address VALUES (?1, ?2, ?3)", (blind, id, place)).map(drop)
        }
        None => run(db, "DELETE FROM address WHERE blind = ?1", [blind]).map(drop),
    }
}

pub fn owners(db: &Connection, blinds: &[Vec<u8>]) -> Result<Vec<Option<i64>>> {
    let owner = |blind| first(db, "SELECT subscriber FROM address WHERE blind = ?1", [blind], |row| row.get(0));
    blinds.iter().map(owner).collect()
}

/// The subscriber that is meant: by id, else by key, else by an address.
pub fn find(
    db: &Connection,
    id: Option<SubscriberId>,
    key: Option<&str>,
    owners: &[Option<i64>],
) -> Result<Option<Known>> {
    let with_place = |row: &Row<'_>| {
        let (next_place, _) = unpack_addresses(row.get_ref(10)?.as_blob()?).unwrap_or((1, Vec::new()));
        Ok(Known { subscriber: read(row)?, next_place })
    };
    let (by_id, by_key) = (format!("{SUBSCRIBER} WHERE s.id = ?1"), format!("{SUBSCRIBER} WHERE s.foreign_key = ?1"));
    let one = |id: i64| first(db, &by_id, [id], with_place);
    let known = match (id, key) {
        (Some(id), _) => return one(id.0),
        (None, Some(key)) => first(db, &by_key, [key], with_place)?,
        (None, None) => None,
    };
    match (known, owners.iter().flatten().next()) {
        (None, Some(owner)) => Ok(one(*owner)?.filter(|found| key.is_none() || found.subscriber.key.is_none())),
        (known, _) => Ok(known),
    }
}

pub fn put(
    db: &Connection,
    key: &hmac::Key,
    batch: &mut Batch,
    wanted: Wanted,
    known: Option<Known>,
    now: Time,
) -> Result<Upserted> {
    let Wanted { subscriber: mut wanted, blinds, owners } = wanted;
    batch.left = batch.left.saturating_sub(1);
    let own = known.as_ref().map(|known| known.subscriber.id.0);
    if let Some(taken) = taken(&wanted, &owners, own) {
        return Ok(taken);
    }
    let next_place = settle(&mut wanted, known.as_ref(), |place| batch.suppressed(db, &blinds[place]))?;
    match known {
        Some(Known { subscriber: known, .. }) => {
            if unchanged(&mut wanted, &known) {
                return Ok(Upserted::Unchanged(known.id));
            }
            keep_past(db, known.id, now)?;
            for gone in gone(&known, &wanted) {
                batch.address(db, &blind(key, &gone.kind, &gone.value), None)?;
            }
            write(db, batch, &wanted, next_place, &blinds)?;
            memberships(db, batch, wanted.id, &known.audiences, &wanted.audiences, now)?;
            Ok(Upserted::Updated(wanted.id))
        }
        None => {
            (wanted.id, wanted.version) = (numbered(batch.number(db)?), 1);
            write(db, batch, &wanted, next_place, &blinds)?;
            memberships(db, batch, wanted.id, &BTreeSet::new(), &wanted.audiences, now)?;
            Ok(Upserted::Created(wanted.id))
        }
    }
}

fn write(
    db: &Connection,
    batch: &mut Batch,
    subscriber: &Subscriber,
    next_place: u16,
    blinds: &[Vec<u8>],
) -> Result<()> {
    let kept = Kept::of(subscriber);
    run(
        db,
        "INSERT INTO subscriber VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, foreign_key = excluded.foreign_key, flags = excluded.flags,
           name = excluded.name, locale = excluded.locale, zone = excluded.zone, quiet = excluded.quiet,
           severity = excluded.severity, interests = excluded.interests, addresses = excluded.addresses",
        rusqlite::params![
            kept.id,
            kept.version,
            kept.key,
            kept.flags,
            kept.name,
            kept.locale,
            kept.zone,
            kept.quiet,
            kept.severity,
            pack_interests(subscriber),
            pack_addresses(next_place, &subscriber.addresses)
        ],
    )?;
    for (address, blind) in subscriber.addresses.iter().zip(blinds) {
        batch.address(db, blind, Some((subscriber.id.0, address.place)))?;
    }
    Ok(())
}

pub fn memberships(
    db: &Connection,
    batch: &mut Batch,
    id: SubscriberId,
    before: &BTreeSet<String>,
    after: &BTreeSet<String>,
    now: Time,
) -> Result<()> {
    for left in before.difference(after) {
        run(
            db,
            "DELETE FROM member WHERE audience = (SELECT id FROM audience WHERE name = ?1) AND subscriber = ?2",
            (left, id.0),
        )?;
    }
    for joined in after.difference(before) {
        let (audience, shards) = match batch.audiences.get(joined) {
            Some(known) => *known,
            None => audience(db, joined)?,
        };
        run(db, "INSERT OR IGNORE INTO member VALUES (?1, ?2, ?3)", (audience, id.0, now.0))?;
        let bit = 1i64 << id.shard();
        if shards & bit == 0 {
            run(db, "UPDATE audience SET shards = shards | ?2 WHERE id = ?1", (audience, bit))?;
        }
        batch.audiences.insert(joined.clone(), (audience, shards | bit));
    }
    Ok(())
}

/// The audience of that name, made at first need.
fn audience(db: &Connection, name: &str) -> Result<(i64, i64)> {
    let known =
        first(db, "SELECT id, shards FROM audience WHERE name = ?1", [name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match known {
        Some(known) => Ok(known),
        None => {
            let audience = next_id(db, "audience")?;
            run(db, "INSERT INTO audience VALUES (?1, ?2, 0)", (audience, name))?;
            Ok((audience, 0))
        }
    }
}
