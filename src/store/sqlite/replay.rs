//! A dead letter opened again by a person's wish.

use rusqlite::Connection;
use serde_json::json;

use super::delivery::{count, ending};
use super::rows::{first, journal, run};
use super::{broadcast, query};
use crate::clock::Time;
use crate::id::DeliveryId;
use crate::store::tally::{Ending, Tally, moved};
use crate::store::{BroadcastState, DeliveryState, Replayed, Result};

pub fn replay(db: &Connection, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
    let Some((row, _)) = query::delivery(db, id)? else { return Ok(Replayed::NotThere) };
    let Some(of) = broadcast::one(db, id.broadcast)? else { return Ok(Replayed::NotThere) };
    let latest = first(
        db,
        "SELECT latest FROM thread WHERE incident = ?1 AND audience = ?2",
        (of.incident.0, &of.audience),
        |row| row.get::<_, i64>(0),
    )?;
    if let Some(why) = Replayed::refused(row.state, &of, latest, now) {
        return Ok(Replayed::Refused(why));
    }
    let before = ending(db, id.broadcast, id.subscriber)?;
    let at = (id.broadcast.0, id.subscriber.0, id.place);
    // The try that ended it may have no row of its own yet; and what was tried before `replayed` no longer stands in the way.
    let tried = if row.state == DeliveryState::Rejected { "rejected" } else { "unknown" };
    if row.tries > 0 && row.state != DeliveryState::Expired {
        run(
            db,
            "INSERT OR IGNORE INTO attempt VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, NULL, ?7, ?8)",
            (at.0, at.1, at.2, row.began.0, row.channel.0, tried, &row.detail, &row.reference),
        )?;
    }
    run(
        db,
        "INSERT OR IGNORE INTO attempt VALUES (?1, ?2, ?3, ?4, 0, ?5, 'replayed', NULL, ?6, NULL)",
        (at.0, at.1, at.2, now.0.max(row.began.0 + 1), row.channel.0, by),
    )?;
    run(
        db,
        "UPDATE delivery SET state = 0, lane = channel, due = ?4, receipt = NULL WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
        (at.0, at.1, at.2, due.0),
    )?;
    let mut tally = Tally::new();
    let after = ending(db, id.broadcast, id.subscriber)?;
    moved(&mut tally, id.broadcast, id.subscriber, before, after);
    let reopened = count(db, &tally)?.values().sum::<i64>() < 0;
    if of.state == BroadcastState::Done {
        broadcast::run_again(db, id.broadcast, of.deadline, now, by)?;
    }
    journal(
        db,
        now,
        "replayed",
        &json!({ "broadcast": id.broadcast, "subscriber": id.subscriber, "place": id.place,
            "recipient": Ending::changed(before, after), "by": by }),
    )?;
    Ok(Replayed::Open { channel: row.channel, priority: of.priority, reopened })
}
