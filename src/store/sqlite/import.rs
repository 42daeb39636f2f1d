//! Rows of an import, in one job of the writer: who is meant, what stays as it is, who was seen before in the same file.

use std::sync::Mutex;

use ring::hmac;
use rusqlite::Connection;

use super::subscriber::{Batch, Wanted, blinds, find, owners, put};
use crate::audience::import::{Row, Seen};
use crate::clock::Time;
use crate::store::{Imported, Result, StoreError, Upserted};

pub fn import(
    db: &Connection,
    key: &hmac::Key,
    rows: Vec<Row>,
    seen: &Mutex<Seen>,
    now: Time,
) -> Result<Vec<Imported>> {
    let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut batch = Batch::new(rows.len());
    let one = |mut row: Row| {
        let mut wanted_blinds = blinds(key, &row.subscriber);
        let mut wanted_owners = owners(db, &wanted_blinds)?;
        let known = find(db, None, row.subscriber.key.as_deref(), &wanted_owners)?;
        let before = known.as_ref().map(|known| (known.subscriber.id, known.subscriber.version));
        if let Some(known) = &known {
            let before = row.subscriber.addresses.clone();
            row.over(&known.subscriber);
            if row.subscriber.addresses != before {
                wanted_blinds = blinds(key, &row.subscriber);
                wanted_owners = owners(db, &wanted_blinds)?;
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
            // It was read in this very transaction.
            Upserted::Stale => return Err(StoreError::Failed("a subscriber changed within one transaction".into())),
        };
        if let Imported::Created(id) | Imported::Unchanged(id) | Imported::Updated(id, _) = imported {
            seen.note(id);
        }
        Ok(imported)
    };
    rows.into_iter().map(one).collect()
}
