//! Rows of an import, in one transaction: who is meant, what stays as it is, who was seen before in the same file.

use ring::hmac;

use super::connection::Db;
use super::put::Batch;
use crate::audience::Subscriber;
use crate::audience::import::Row;
use crate::clock::Time;
use crate::store::settled::{Noted, Wanted, blinds, lock};
use crate::store::{Imported, Result, Upserted};

pub async fn import(
    db: &Db,
    key: &hmac::Key,
    rows: &[Row],
    noted: &std::sync::Mutex<Noted>,
    now: Time,
) -> Result<Vec<Imported>> {
    // What was noted by a try before this one was not written.
    lock(noted).undo();
    let subscribers: Vec<&Subscriber> = rows.iter().map(|row| &row.subscriber).collect();
    let mut batch = Batch::read(db, key, &subscribers, Vec::new()).await?;
    let imported = decide(key, rows, &mut lock(noted), &mut batch)?;
    batch.write(db, now).await?;
    Ok(imported)
}

fn decide(key: &hmac::Key, rows: &[Row], noted: &mut Noted, batch: &mut Batch) -> Result<Vec<Imported>> {
    let Noted { seen, by_this } = noted;
    let mut seen = lock(seen);
    let mut imported = Vec::with_capacity(rows.len());
    for mut row in rows.iter().cloned() {
        let mut wanted_blinds = blinds(key, &row.subscriber);
        let mut owners = batch.owners(&wanted_blinds);
        let known = batch.find(None, row.subscriber.key.as_deref(), &owners);
        let before = known.as_ref().map(|known| (known.subscriber.id, known.subscriber.version));
        if let Some(known) = &known {
            let before = row.subscriber.addresses.clone();
            row.over(&known.subscriber);
            if row.subscriber.addresses != before {
                wanted_blinds = blinds(key, &row.subscriber);
                // What was not asked for is what they have already.
                let kept = |blind: &Vec<u8>| batch.owner(blind).unwrap_or(Some(known.subscriber.id.0));
                owners = wanted_blinds.iter().map(kept).collect();
            }
        }
        if before.is_some_and(|(id, _)| seen.has(id)) {
            imported.push(Imported::Twice);
            continue;
        }
        let wanted = Wanted { subscriber: row.subscriber, blinds: wanted_blinds, owners };
        let (id, one) = match batch.put(key, wanted, known)? {
            Upserted::Created(id) => (id, Imported::Created(id)),
            Upserted::Unchanged(id) => (id, Imported::Unchanged(id)),
            Upserted::Updated(id) => (id, Imported::Updated(id, before.map_or(1, |(_, version)| version + 1))),
            Upserted::Taken { kind, .. } => {
                imported.push(Imported::Taken { kind });
                continue;
            }
            Upserted::Stale => {
                imported.push(Imported::Twice); // never: a row names no version
                continue;
            }
        };
        seen.note(id);
        by_this.push(id);
        imported.push(one);
    }
    Ok(imported)
}
