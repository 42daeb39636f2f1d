//! Confirmations that are waited for: told rows in the lane `CONFIRMS`, until a receipt comes or they are due. Who is told stays
//! told, whatever comes of the next route.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::delivery::{count, ending};
use super::rows::{all, first, run};
use super::shard::OWN;
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};
use crate::plan::Priority;
use crate::store::Result;
use crate::store::tally::{Tally, moved};

struct Due {
    broadcast: BroadcastId,
    who: SubscriberId,
    place: u16,
}

pub fn lapse(
    db: &Connection,
    node: i64,
    priority: Priority,
    now: Time,
    limit: usize,
) -> Result<BTreeMap<BroadcastId, i64>> {
    let due = all(
        db,
        &format!(
            "SELECT broadcast, subscriber, place FROM delivery WHERE lane = 65535 AND priority = ?2 AND due <= ?3 AND {OWN}
             ORDER BY due, broadcast, subscriber LIMIT ?4"
        ),
        (node, priority.rank(), now.0, limit as i64),
        |row| Ok(Due { broadcast: BroadcastId(row.get(0)?), who: SubscriberId(row.get(1)?), place: row.get(2)? }),
    )?;
    let mut tally = Tally::new();
    for Due { broadcast, who, place } in &due {
        let before = ending(db, *broadcast, *who)?;
        let at = (broadcast.0, who.0, *place);
        run(
            db,
            "INSERT OR REPLACE INTO attempt SELECT broadcast, subscriber, place, began, 0, channel, 'unconfirmed', NULL, NULL, ref
             FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
            at,
        )?;
        run(
            db,
            "UPDATE delivery SET lane = channel, receipt = coalesce(receipt, 'unconfirmed')
             WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
            at,
        )?;
        if current(db, *broadcast)? && !settled(db, *broadcast, *who)? {
            run(
                db,
                "INSERT INTO delivery VALUES (?1, ?2, 0, 0, 0, ?3, ?3, 0, NULL, NULL, NULL, ?4, 0, ?3, 0)
                 ON CONFLICT DO UPDATE SET state = 0, due = excluded.due, lane = 0",
                (broadcast.0, who.0, now.0, priority.rank()),
            )?;
        }
        moved(&mut tally, *broadcast, *who, before, ending(db, *broadcast, *who)?);
    }
    count(db, &tally)
}

/// Whether a broadcast still tells anybody.
fn current(db: &Connection, id: BroadcastId) -> Result<bool> {
    Ok(first(db, "SELECT 1 FROM broadcast WHERE id = ?1 AND state IN (1, 2)", [id.0], |_| Ok(()))?.is_some())
}

/// Whether a recipient has been confirmed by another way, or another confirmation is still waited for.
fn settled(db: &Connection, id: BroadcastId, who: SubscriberId) -> Result<bool> {
    let found = first(
        db,
        "SELECT 1 FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 AND (lane = 65535 OR receipt IN ('delivered', 'read'))
         LIMIT 1",
        (id.0, who.0),
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// A receipt has come: nobody waits for another any more, and what was to be told by the next route is not.
pub fn confirmed(db: &Connection, id: BroadcastId, who: SubscriberId) -> Result<()> {
    run(
        db,
        "UPDATE delivery SET lane = channel WHERE broadcast = ?1 AND subscriber = ?2 AND lane = 65535",
        (id.0, who.0),
    )?;
    run(
        db,
        "UPDATE delivery SET state = 1 WHERE broadcast = ?1 AND subscriber = ?2 AND place = 0 AND state = 0 AND EXISTS
           (SELECT 1 FROM attempt a WHERE a.broadcast = ?1 AND a.subscriber = ?2 AND a.outcome = 'unconfirmed')",
        (id.0, who.0),
    )
    .map(drop)
}

/// Whether a confirmation of theirs did not come in time.
pub fn given_up(db: &Connection, id: BroadcastId, who: SubscriberId) -> Result<bool> {
    let found = first(
        db,
        "SELECT 1 FROM attempt WHERE broadcast = ?1 AND subscriber = ?2 AND outcome = 'unconfirmed' LIMIT 1",
        (id.0, who.0),
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

pub fn next(db: &Connection, node: i64, priority: Priority) -> Result<Option<Time>> {
    let sql = format!("SELECT due FROM delivery WHERE lane = 65535 AND priority = ?2 AND {OWN} ORDER BY due LIMIT 1");
    first(db, &sql, (node, priority.rank()), |row| row.get(0).map(Time))
}
