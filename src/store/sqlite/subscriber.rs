//! Subscribers, their addresses and memberships. Every change makes a new version; the one before stays readable while a
//! message may still be in flight for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ring::hmac;
use rusqlite::{Connection, Row};

use super::rows::{all, first, next_id, next_ids, run};
use super::writer::failed;
use crate::audience::{Address, Quiet, Subscriber};
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::incident::Severity;
use crate::store::pack::{Damaged, Packer, Unpacker};
use crate::store::{Result, StoreError, SubscriberDraft, Upserted};

pub const SUBSCRIBER: &str =
    "SELECT s.id, s.version, s.foreign_key, s.flags, s.name, s.locale, s.zone, s.quiet, s.severity,
  s.interests, s.addresses FROM subscriber s";

const SHARDS: i64 = 64;
const EXERCISES: i64 = 1;
const WITHDRAWN: i64 = 2;

/// The index under which an address is found without being readable in it.
pub fn blind(key: &hmac::Key, kind: &str, value: &str) -> Vec<u8> {
    let tag = hmac::sign(key, format!("{kind}:{value}").as_bytes());
    tag.as_ref()[..16].to_vec()
}

pub fn read(row: &Row<'_>) -> rusqlite::Result<Subscriber> {
    let blob = |column: usize| row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from);
    let damaged =
        |error: Damaged| rusqlite::Error::FromSqlConversionFailure(9, rusqlite::types::Type::Blob, Box::new(error));
    let flags: i64 = row.get(3)?;
    let quiet: i64 = row.get(7)?;
    let mut interests = Unpacker(blob(9)?);
    let (audiences, components, regions) =
        (|| Ok((interests.texts()?, interests.texts()?, interests.texts()?)))().map_err(damaged)?;
    let (_, addresses) = unpack_addresses(blob(10)?).map_err(damaged)?;
    Ok(Subscriber {
        id: SubscriberId(row.get(0)?),
        version: row.get(1)?,
        key: row.get(2)?,
        name: row.get(4)?,
        locale: row.get(5)?,
        zone: row.get(6)?,
        quiet: (quiet >= 0).then(|| Quiet { from: (quiet / 1440) as u16, to: (quiet % 1440) as u16 }),
        severity: Severity::ALL.get(usize::from(row.get::<_, u8>(8)?)).copied().unwrap_or(Severity::Info),
        exercises: flags & EXERCISES != 0,
        withdrawn: flags & WITHDRAWN != 0,
        audiences,
        components,
        regions,
        addresses,
    })
}

fn pack_interests(subscriber: &Subscriber) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.texts(subscriber.audiences.iter());
    packer.texts(subscriber.components.iter());
    packer.texts(subscriber.regions.iter());
    packer.0
}

/// The next free place, then each address: place, kind, flags, key number and bytes (key 0: plain), secrets.
fn pack_addresses(next_place: u16, addresses: &[Address]) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.number(next_place.into());
    for address in addresses {
        packer.number(address.place.into());
        packer.text(&address.kind);
        packer.number(u64::from(address.verified) | u64::from(address.suppressed) << 1);
        packer.number(0);
        packer.text(&address.value);
        packer.texts(address.secrets.iter());
    }
    packer.0
}

fn unpack_addresses(bytes: &[u8]) -> std::result::Result<(u16, Vec<Address>), Damaged> {
    let mut read = Unpacker(bytes);
    let small = |n: u64| u16::try_from(n).map_err(|_| Damaged);
    let next_place = small(read.number()?)?;
    let mut addresses = Vec::new();
    while !read.is_empty() {
        let place = small(read.number()?)?;
        let kind = read.text()?.to_string();
        let flags = read.number()?;
        if read.number()? != 0 {
            return Err(Damaged); // written by a newer program that encrypts
        }
        let value = read.text()?.to_string();
        let secrets = read.texts()?;
        addresses.push(Address { place, kind, value, verified: flags & 1 != 0, suppressed: flags & 2 != 0, secrets });
    }
    Ok((next_place, addresses))
}

pub fn one(db: &Connection, id: SubscriberId) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.id = ?1"), [id.0], read)
}

pub fn by_key(db: &Connection, key: &str) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} WHERE s.foreign_key = ?1"), [key], read)
}

pub fn by_blind(db: &Connection, blind: &[u8]) -> Result<Option<Subscriber>> {
    first(db, &format!("{SUBSCRIBER} JOIN address a ON a.subscriber = s.id WHERE a.blind = ?1"), [blind], read)
}

pub fn list(
    db: &Connection,
    after: Option<SubscriberId>,
    audience: Option<&str>,
    limit: usize,
) -> Result<Vec<Subscriber>> {
    let after = after.map_or(-1, |id| id.0);
    match audience {
        Some(audience) => all(
            db,
            &format!(
                "{SUBSCRIBER} JOIN member m ON m.subscriber = s.id
                 WHERE m.audience = (SELECT id FROM audience WHERE name = ?1) AND m.subscriber > ?2 ORDER BY m.subscriber LIMIT ?3"
            ),
            (audience, after, limit as i64),
            read,
        ),
        None => all(db, &format!("{SUBSCRIBER} WHERE s.id > ?1 ORDER BY s.id LIMIT ?2"), (after, limit as i64), read),
    }
}

/// The subscriber as they were when a decision was made for them; one who is gone and forgotten keeps only the id.
pub fn as_of(db: &Connection, id: SubscriberId, version: i64) -> Result<Subscriber> {
    let current = one(db, id)?;
    if let Some(current) = current.as_ref().filter(|current| current.version == version) {
        return Ok(current.clone());
    }
    let past = first(
        db,
        "SELECT name, locale, zone, addresses FROM subscriber_past WHERE id = ?1 AND version = ?2",
        (id.0, version),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, Vec<u8>>(3)?)),
    )?;
    let (name, locale, zone, addresses) = past.unwrap_or_default();
    let (_, addresses) = match addresses.is_empty() {
        true => (1, Vec::new()),
        false => unpack_addresses(&addresses).map_err(|error| StoreError::Failed(error.to_string()))?,
    };
    Ok(Subscriber {
        id,
        version,
        key: None,
        name,
        locale,
        zone,
        quiet: None,
        severity: Severity::Info,
        exercises: current.as_ref().is_some_and(|current| current.exercises),
        withdrawn: current.is_none(),
        audiences: BTreeSet::new(),
        components: BTreeSet::new(),
        regions: BTreeSet::new(),
        addresses,
    })
}

pub fn upsert(db: &Connection, key: &hmac::Key, drafts: Vec<SubscriberDraft>, now: Time) -> Result<Vec<Upserted>> {
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
    drafts.into_iter().map(one).collect()
}

/// A subscriber as they are to be, with the index and the owner of each address.
pub struct Wanted {
    pub subscriber: Subscriber,
    pub blinds: Vec<Vec<u8>>,
    pub owners: Vec<Option<i64>>,
}

/// A subscriber as they are, and the next free place.
pub struct Known {
    pub subscriber: Subscriber,
    next_place: u16,
}

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
    addresses: Option<BTreeMap<Vec<u8>, Option<(i64, u16)>>>,
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

pub fn blinds(key: &hmac::Key, subscriber: &Subscriber) -> Vec<Vec<u8>> {
    subscriber.addresses.iter().map(|a| blind(key, &a.kind, &a.value)).collect()
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
    if let Some(place) = owners.iter().position(|owner| owner.is_some() && *owner != own) {
        return Ok(Upserted::Taken { kind: wanted.addresses[place].kind.clone(), place });
    }
    let mut next_place = known.as_ref().map_or(1, |known| known.next_place);
    for (address, blind) in wanted.addresses.iter_mut().zip(&blinds) {
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
                address.suppressed = batch.suppressed(db, blind)?;
            }
        }
    }
    match known {
        Some(Known { subscriber: known, .. }) => {
            if wanted.key.is_none() {
                wanted.key = known.key.clone();
            }
            (wanted.id, wanted.version) = (known.id, known.version);
            if wanted == known {
                return Ok(Upserted::Unchanged(known.id));
            }
            wanted.version += 1;
            keep_past(db, known.id, now)?;
            for gone in known.addresses.iter().filter(|old| !wanted.addresses.iter().any(|new| new.place == old.place))
            {
                batch.address(db, &blind(key, &gone.kind, &gone.value), None)?;
            }
            write(db, batch, &wanted, next_place, &blinds)?;
            memberships(db, batch, wanted.id, &known.audiences, &wanted.audiences, now)?;
            Ok(Upserted::Updated(wanted.id))
        }
        None => {
            let n = batch.number(db)?;
            (wanted.id, wanted.version) = (SubscriberId((n % SHARDS) << 48 | n), 1);
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
    let flags = i64::from(subscriber.exercises) * EXERCISES + i64::from(subscriber.withdrawn) * WITHDRAWN;
    let quiet = subscriber.quiet.map_or(-1, |quiet| i64::from(quiet.from) * 1440 + i64::from(quiet.to));
    run(
        db,
        "INSERT INTO subscriber VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, foreign_key = excluded.foreign_key, flags = excluded.flags,
           name = excluded.name, locale = excluded.locale, zone = excluded.zone, quiet = excluded.quiet,
           severity = excluded.severity, interests = excluded.interests, addresses = excluded.addresses",
        rusqlite::params![
            subscriber.id.0,
            subscriber.version,
            subscriber.key,
            flags,
            subscriber.name,
            subscriber.locale,
            subscriber.zone,
            quiet,
            subscriber.severity as i64,
            pack_interests(subscriber),
            pack_addresses(next_place, &subscriber.addresses)
        ],
    )?;
    for (address, blind) in subscriber.addresses.iter().zip(blinds) {
        batch.address(db, blind, Some((subscriber.id.0, address.place)))?;
    }
    Ok(())
}

fn keep_past(db: &Connection, id: SubscriberId, now: Time) -> Result<()> {
    run(
        db,
        "INSERT OR REPLACE INTO subscriber_past SELECT id, version, name, locale, zone, addresses, ?2 FROM subscriber WHERE id = ?1",
        (id.0, now.0),
    )
    .map(drop)
}

fn memberships(
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

pub fn remove(db: &Connection, key: &hmac::Key, id: SubscriberId, now: Time) -> Result<bool> {
    let Some(subscriber) = one(db, id)? else { return Ok(false) };
    keep_past(db, id, now)?;
    memberships(db, &mut Batch::new(1), id, &subscriber.audiences, &BTreeSet::new(), now)?;
    for address in &subscriber.addresses {
        run(db, "DELETE FROM address WHERE blind = ?1", [blind(key, &address.kind, &address.value)])?;
    }
    run(db, "DELETE FROM subscriber WHERE id = ?1", [id.0])?;
    Ok(true)
}

/// Suppression outlives the subscriber: the same address imported again stays silent.
pub fn suppress(db: &Connection, blind: &[u8], reason: &str, now: Time) -> Result<Option<SubscriberId>> {
    run(db, "INSERT INTO suppression VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", (blind, reason, now.0))?;
    mark(db, blind, true, now)
}

pub fn unsuppress(db: &Connection, blind: &[u8]) -> Result<Option<SubscriberId>> {
    run(db, "DELETE FROM suppression WHERE blind = ?1", [blind])?;
    mark(db, blind, false, Time(0))
}

pub fn suppress_place(
    db: &Connection,
    key: &hmac::Key,
    id: SubscriberId,
    place: u16,
    reason: &str,
    now: Time,
) -> Result<()> {
    let Some(subscriber) = one(db, id)? else { return Ok(()) };
    match subscriber.addresses.iter().find(|address| address.place == place) {
        Some(address) => suppress(db, &blind(key, &address.kind, &address.value), reason, now).map(drop),
        None => Ok(()),
    }
}

fn mark(db: &Connection, blind: &[u8], suppressed: bool, now: Time) -> Result<Option<SubscriberId>> {
    let found = first(db, "SELECT subscriber, place FROM address WHERE blind = ?1", [blind], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u16>(1)?))
    })?;
    let Some((id, place)) = found else { return Ok(None) };
    let bytes = first(db, "SELECT addresses FROM subscriber WHERE id = ?1", [id], |row| row.get::<_, Vec<u8>>(0))?;
    let Some(bytes) = bytes else { return Ok(None) };
    let (next_place, mut addresses) =
        unpack_addresses(&bytes).map_err(|error| StoreError::Failed(error.to_string()))?;
    let changed = addresses.iter_mut().find(|address| address.place == place && address.suppressed != suppressed);
    if let Some(address) = changed {
        address.suppressed = suppressed;
        keep_past(db, SubscriberId(id), now)?;
        run(
            db,
            "UPDATE subscriber SET version = version + 1, addresses = ?2 WHERE id = ?1",
            (id, pack_addresses(next_place, &addresses)),
        )?;
    }
    Ok(Some(SubscriberId(id)))
}

pub fn audiences(db: &Connection) -> Result<Vec<(String, i64)>> {
    db.prepare_cached(
        "SELECT a.name, (SELECT count(*) FROM member m WHERE m.audience = a.id) FROM audience a ORDER BY a.name",
    )
    .and_then(|mut statement| {
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<Vec<_>>>()
    })
    .map_err(failed)
}
