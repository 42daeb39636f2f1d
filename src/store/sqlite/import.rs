//! Rows of an import, in one job of the writer: who is meant, what stays as it is, who was seen before in the same file.

use std::collections::{BTreeSet, HashMap};

use ring::hmac;
use rusqlite::Connection;

use super::put::{Batch, find, owners, put};
use crate::audience::import::Row;
use crate::clock::Time;
use crate::store::settled::{Noted, Wanted, blinds, lock};
use crate::store::{Imported, Result, Upserted};

pub fn import(db: &Connection, key: &hmac::Key, rows: &[Row], noted: &mut Noted, now: Time) -> Result<Vec<Imported>> {
    let mut seen = lock(&noted.seen);
    let mut batch = Batch::ordered(rows.len());
    let all: Vec<Vec<Vec<u8>>> = rows.iter().map(|row| blinds(key, &row.subscriber)).collect();
    let known_owners = sorted(db, &all)?;
    let mut one = |(mut row, mut wanted_blinds): (Row, Vec<Vec<u8>>)| {
        let owner = |blind: &Vec<u8>| batch.owner(blind).unwrap_or_else(|| known_owners.get(blind).copied().flatten());
        let mut wanted_owners: Vec<Option<i64>> = wanted_blinds.iter().map(owner).collect();
        let known = find(db, None, row.subscriber.key.as_deref(), &wanted_owners)?;
        let before = known.as_ref().map(|known| (known.subscriber.id, known.subscriber.version));
        if let Some(known) = &known {
            let before = row.subscriber.addresses.clone();
            row.over(&known.subscriber);
            if row.subscriber.addresses != before {
                wanted_blinds = blinds(key, &row.subscriber);
                let kept = |blind: &Vec<u8>| match batch.owner(blind) {
                    Some(owner) => owner,
                    None => known_owners.get(blind).copied().unwrap_or(Some(known.subscriber.id.0)),
                };
                wanted_owners = wanted_blinds.iter().map(kept).collect();
            }
        }
        let wanted = Wanted { subscriber: row.subscriber, blinds: wanted_blinds, owners: wanted_owners };
        if before.is_some_and(|(id, _)| seen.has(id)) {
            return Ok(Imported::Twice);
        }
        let imported = match put(db, key, &mut batch, wanted, known, now)? {
            Upserted::Created(id) => Imported::Created(id),
            Upserted::Unchanged(id) => Imported::Unchanged(id),
            Upserted::Updated(id) => Imported::Updated(id, before.map_or(1, |(_, version)| version + 1)),
            Upserted::Taken { kind, .. } => return Ok(Imported::Taken { kind }),
            Upserted::Stale => return Ok(Imported::Twice), // never: a row names no version
        };
        if let Imported::Created(id) | Imported::Unchanged(id) | Imported::Updated(id, _) = imported {
            seen.note(id);
            noted.by_this.push(id);
        }
        Ok(imported)
    };
    let imported = rows.iter().cloned().zip(all).map(&mut one).collect();
    batch.end(db)?;
    imported
}

/// Whose the addresses are, looked up in the order of the index, so that each of its pages is read once.
fn sorted(db: &Connection, blinds: &[Vec<Vec<u8>>]) -> Result<HashMap<Vec<u8>, Option<i64>>> {
    let sorted: BTreeSet<&Vec<u8>> = blinds.iter().flatten().collect();
    let owner =
        |blind: &Vec<u8>| Ok((blind.clone(), owners(db, std::slice::from_ref(blind))?.into_iter().next().flatten()));
    sorted.into_iter().map(owner).collect()
}
