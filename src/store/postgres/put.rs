//! Subscribers written, many in one transaction: what all of them need is read first, each is decided upon what those before it
//! left, and what has become of them is written last, a statement a table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ring::hmac;

use super::connection::Db;
use super::lock;
use super::rows::{all, next_id, next_ids, run};
use super::subscriber::{SUBSCRIBER, keep_past, read};
use super::value::{Row, values};
use crate::audience::Subscriber;
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::store::packed::{Kept, blind, pack_addresses, pack_interests, unpack_addresses};
use crate::store::settled::{Known, Wanted, blinds, gone, numbered, settle, taken, unchanged};
use crate::store::{Notice, Result, StoreError, SubscriberDraft, Upserted};

pub async fn upsert(db: &Db, key: &hmac::Key, drafts: &[SubscriberDraft], now: Time) -> Result<Vec<Upserted>> {
    let subscribers: Vec<&Subscriber> = drafts.iter().map(|draft| &draft.subscriber).collect();
    let ids = drafts.iter().filter_map(|draft| draft.id).collect();
    let mut batch = Batch::read(db, key, &subscribers, ids).await?;
    let mut upserted = Vec::with_capacity(drafts.len());
    for SubscriberDraft { id, subscriber } in drafts.iter().cloned() {
        let blinds = blinds(key, &subscriber);
        let owners = batch.owners(&blinds);
        let known = batch.find(id, subscriber.key.as_deref(), &owners);
        let version = known.as_ref().map(|known| known.subscriber.version);
        upserted.push(match id.is_some() && subscriber.version != 0 && version != Some(subscriber.version) {
            true => Upserted::Stale,
            false => batch.put(key, Wanted { subscriber, blinds, owners }, known)?,
        });
    }
    batch.write(db, now).await?;
    Ok(upserted)
}

/// Those whom a transaction may change, as they are by what it has decided.
pub struct Batch {
    people: HashMap<i64, Known>,
    by_key: HashMap<String, i64>,
    owners: HashMap<Vec<u8>, Option<i64>>,
    suppressed: HashSet<Vec<u8>>,
    numbers: std::vec::IntoIter<i64>,
    /// Who was there and is changed.
    past: BTreeSet<i64>,
    written: BTreeSet<i64>,
    addresses: BTreeMap<Vec<u8>, Option<(i64, u16)>>,
    /// By audience and subscriber: joined, or left.
    members: BTreeMap<(String, i64), bool>,
}

impl Batch {
    pub async fn read(db: &Db, key: &hmac::Key, subscribers: &[&Subscriber], ids: Vec<SubscriberId>) -> Result<Batch> {
        lock::subscribers(db).await?;
        let all_blinds: BTreeSet<Vec<u8>> = subscribers.iter().flat_map(|one| blinds(key, one)).collect();
        let all_blinds: Vec<Vec<u8>> = all_blinds.into_iter().collect();
        let sql = "SELECT blind, subscriber FROM address WHERE blind = ANY($1)";
        let owned = all(db, sql, values![all_blinds.clone()], |row| Ok((row.get::<Vec<u8>>(0)?, row.get::<i64>(1)?)));
        let mut owners: HashMap<Vec<u8>, Option<i64>> = all_blinds.iter().cloned().map(|blind| (blind, None)).collect();
        owners.extend(owned.await?.into_iter().map(|(blind, owner)| (blind, Some(owner))));
        let sql = "SELECT blind FROM suppression WHERE blind = ANY($1)";
        let suppressed = all(db, sql, values![all_blinds], |row| row.get(0)).await?.into_iter().collect();
        let keys: Vec<String> = subscribers.iter().filter_map(|one| one.key.clone()).collect();
        let ids: Vec<i64> = ids.iter().map(|id| id.0).chain(owners.values().flatten().copied()).collect();
        let sql = format!("{SUBSCRIBER} WHERE s.id = ANY($1) OR s.foreign_key = ANY($2)");
        let people: HashMap<i64, Known> = all(db, &sql, values![ids, keys], with_place).await?.into_iter().collect();
        let by_key = people.values().filter_map(|known| Some((known.subscriber.key.clone()?, known.subscriber.id.0)));
        Ok(Batch {
            by_key: by_key.collect(),
            people,
            owners,
            suppressed,
            numbers: next_ids(db, "subscriber", subscribers.len() as i64).await?.into_iter(),
            past: BTreeSet::new(),
            written: BTreeSet::new(),
            addresses: BTreeMap::new(),
            members: BTreeMap::new(),
        })
    }

    pub fn owners(&self, blinds: &[Vec<u8>]) -> Vec<Option<i64>> {
        blinds.iter().map(|blind| self.owner(blind).flatten()).collect()
    }

    /// Whose an address is; `None`: it was not asked for.
    pub fn owner(&self, blind: &[u8]) -> Option<Option<i64>> {
        self.owners.get(blind).copied()
    }

    /// The subscriber that is meant: by id, else by key, else by an address.
    pub fn find(&self, id: Option<SubscriberId>, key: Option<&str>, owners: &[Option<i64>]) -> Option<Known> {
        let one = |id: &i64| self.people.get(id).map(copy);
        if let Some(id) = id {
            return one(&id.0);
        }
        let by_key = key.and_then(|key| self.by_key.get(key)).and_then(one);
        by_key.or_else(|| {
            let owner = owners.iter().flatten().next()?;
            one(owner).filter(|found| key.is_none() || found.subscriber.key.is_none())
        })
    }

    pub fn put(&mut self, key: &hmac::Key, wanted: Wanted, known: Option<Known>) -> Result<Upserted> {
        let Wanted { subscriber: mut wanted, blinds, owners } = wanted;
        let own = known.as_ref().map(|known| known.subscriber.id.0);
        if let Some(taken) = taken(&wanted, &owners, own) {
            return Ok(taken);
        }
        let next_place = settle(&mut wanted, known.as_ref(), |place| Ok(self.suppressed.contains(&blinds[place])))?;
        let before = known.map(|known| known.subscriber);
        match &before {
            Some(before) => {
                if unchanged(&mut wanted, before) {
                    return Ok(Upserted::Unchanged(before.id));
                }
                if !self.written.contains(&before.id.0) {
                    self.past.insert(before.id.0);
                }
                for gone in gone(before, &wanted) {
                    self.own(blind(key, &gone.kind, &gone.value), None);
                }
            }
            None => {
                let number = self.numbers.next().ok_or_else(|| StoreError::Failed("no number is left".into()))?;
                (wanted.id, wanted.version) = (numbered(number), 1);
            }
        }
        let id = wanted.id;
        for (address, blind) in wanted.addresses.iter().zip(blinds) {
            self.own(blind, Some((id.0, address.place)));
        }
        let none = BTreeSet::new();
        let audiences = before.as_ref().map_or(&none, |before| &before.audiences);
        for left in audiences.difference(&wanted.audiences) {
            self.members.insert((left.clone(), id.0), false);
        }
        for joined in wanted.audiences.difference(audiences) {
            self.members.insert((joined.clone(), id.0), true);
        }
        if let Some(key) = before.as_ref().and_then(|before| before.key.as_ref()) {
            self.by_key.remove(key);
        }
        if let Some(key) = &wanted.key {
            self.by_key.insert(key.clone(), id.0);
        }
        self.people.insert(id.0, Known { subscriber: wanted, next_place });
        self.written.insert(id.0);
        Ok(if before.is_some() { Upserted::Updated(id) } else { Upserted::Created(id) })
    }

    fn own(&mut self, blind: Vec<u8>, owner: Option<(i64, u16)>) {
        self.owners.insert(blind.clone(), owner.map(|(id, _)| id));
        self.addresses.insert(blind, owner);
    }

    pub async fn write(self, db: &Db, now: Time) -> Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        changed(db, &self.past);
        keep_past(db, self.past.iter().copied().collect(), now).await?;
        let people: Vec<&Known> = self.written.iter().filter_map(|id| self.people.get(id)).collect();
        write_people(db, &people).await?;
        let gone: Vec<Vec<u8>> = self.addresses.iter().filter(|(_, o)| o.is_none()).map(|(b, _)| b.clone()).collect();
        run(db, "DELETE FROM address WHERE blind = ANY($1)", values![gone]).await?;
        let owned = || self.addresses.iter().filter_map(|(blind, owner)| Some((blind, (*owner)?)));
        run(
            db,
            "INSERT INTO address SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[])
             ON CONFLICT (blind) DO UPDATE SET subscriber = excluded.subscriber, place = excluded.place",
            values![
                owned().map(|(blind, _)| blind.clone()).collect::<Vec<Vec<u8>>>(),
                owned().map(|(_, (id, _))| id).collect::<Vec<i64>>(),
                owned().map(|(_, (_, place))| i64::from(place)).collect::<Vec<i64>>()
            ],
        )
        .await?;
        memberships(db, &self.members, now).await
    }
}

/// Other nodes may have something for them in memory.
fn changed(db: &Db, ids: &BTreeSet<i64>) {
    match ids.len() {
        0 => {}
        1..=100 => db.notice(Notice::Subscribers(ids.iter().copied().collect())),
        _ => db.notice(Notice::Everyone),
    }
}

fn copy(known: &Known) -> Known {
    Known { subscriber: known.subscriber.clone(), next_place: known.next_place }
}

fn with_place(row: &Row) -> Result<(i64, Known)> {
    let (next_place, _) = unpack_addresses(row.bytes(10)?)?;
    Ok((row.get(0)?, Known { subscriber: read(row)?, next_place }))
}

async fn write_people(db: &Db, people: &[&Known]) -> Result<()> {
    let kept: Vec<Kept> = people.iter().map(|known| Kept::of(&known.subscriber)).collect();
    let each = |of: &dyn Fn(&Kept) -> i64| -> Vec<i64> { kept.iter().map(of).collect() };
    let texts = |of: &dyn Fn(&Kept) -> Option<String>| -> Vec<Option<String>> { kept.iter().map(of).collect() };
    run(
        db,
        "INSERT INTO subscriber SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[],
           $7::text[], $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[])
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, foreign_key = excluded.foreign_key, flags = excluded.flags,
           name = excluded.name, locale = excluded.locale, zone = excluded.zone, quiet = excluded.quiet,
           severity = excluded.severity, interests = excluded.interests, addresses = excluded.addresses",
        values![
            each(&|kept| kept.id),
            each(&|kept| kept.version),
            texts(&|kept| kept.key.clone()),
            each(&|kept| kept.flags),
            texts(&|kept| kept.name.clone()),
            texts(&|kept| Some(kept.locale.clone())),
            texts(&|kept| Some(kept.zone.clone())),
            each(&|kept| kept.quiet),
            each(&|kept| kept.severity.into()),
            people.iter().map(|known| pack_interests(&known.subscriber)).collect::<Vec<Vec<u8>>>(),
            people
                .iter()
                .map(|known| pack_addresses(known.next_place, &known.subscriber.addresses))
                .collect::<Vec<Vec<u8>>>()
        ],
    )
    .await
    .map(drop)
}

async fn memberships(db: &Db, members: &BTreeMap<(String, i64), bool>, now: Time) -> Result<()> {
    let names: BTreeSet<&String> = members.keys().map(|(name, _)| name).collect();
    for name in names {
        let of = |joined: bool| -> Vec<i64> {
            members.iter().filter(|((of, _), is)| of == name && **is == joined).map(|((_, id), _)| *id).collect()
        };
        let (left, joined) = (of(false), of(true));
        let sql =
            "DELETE FROM member WHERE audience = (SELECT id FROM audience WHERE name = $1) AND subscriber = ANY($2)";
        if !left.is_empty() {
            run(db, sql, values![name, left]).await?;
        }
        if !joined.is_empty() {
            let shards = joined.iter().fold(0, |shards, id| shards | 1i64 << SubscriberId(*id).shard());
            let audience = audience(db, name, shards).await?;
            let sql = "INSERT INTO member SELECT $1, id, $3 FROM unnest($2::bigint[]) AS id ON CONFLICT DO NOTHING";
            run(db, sql, values![audience, joined, now.0]).await?;
        }
    }
    Ok(())
}

/// The audience of that name, made at first need, with members in these shards.
async fn audience(db: &Db, name: &str, shards: i64) -> Result<i64> {
    let known = all(db, "SELECT id, shards FROM audience WHERE name = $1", values![name], |row| {
        Ok((row.get::<i64>(0)?, row.get::<i64>(1)?))
    });
    match known.await?.first() {
        Some((id, known)) if known | shards == *known => Ok(*id),
        Some((id, _)) => {
            let sql = "UPDATE audience SET shards = shards | $2::bigint WHERE id = $1";
            run(db, sql, values![*id, shards]).await.map(|_| *id)
        }
        None => {
            let id = next_id(db, "audience").await?;
            run(db, "INSERT INTO audience VALUES ($1, $2, $3)", values![id, name, shards]).await.map(|_| id)
        }
    }
}
