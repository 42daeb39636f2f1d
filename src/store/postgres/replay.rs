//! A dead letter opened again by a person's wish.

use serde_json::json;

use super::connection::Db;
use super::delivery::{count, ending};
use super::rows::{first, run};
use super::value::values;
use super::{broadcast, lock, query};
use crate::clock::Time;
use crate::id::DeliveryId;
use crate::store::tally::{Ending, Tally, moved};
use crate::store::{BroadcastState, DeliveryState, Notice, Replayed, Result};

pub async fn replay(db: &Db, id: DeliveryId, due: Time, now: Time, by: &str) -> Result<Replayed> {
    lock::incident_of(db, id.broadcast).await?;
    lock::recipients(db, [(id.broadcast, id.subscriber.shard())]).await?;
    let Some((row, _)) = query::delivery(db, id).await? else { return Ok(Replayed::NotThere) };
    let Some(of) = broadcast::one(db, id.broadcast).await? else { return Ok(Replayed::NotThere) };
    let sql = "SELECT latest FROM thread WHERE incident = $1 AND audience = $2";
    let latest = first(db, sql, values![of.incident.0, &of.audience], |row| row.get::<i64>(0)).await?;
    if let Some(why) = Replayed::refused(row.state, &of, latest, now) {
        return Ok(Replayed::Refused(why));
    }
    let before = ending(db, id.broadcast, id.subscriber).await?;
    let (who, place) = (id.subscriber.0, id.place);
    // The try that ended it may have no row of its own yet; and what was tried before `replayed` no longer stands in the way.
    let tried = if row.state == DeliveryState::Rejected { "rejected" } else { "unknown" };
    let attempt = "INSERT INTO attempt (broadcast, subscriber, place, began, node, channel, outcome, detail, ref)
         VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    if row.tries > 0 && row.state != DeliveryState::Expired {
        let values =
            values![id.broadcast.0, who, place, row.began.0, row.channel.0, tried, &row.detail, &row.reference];
        run(db, attempt, values).await?;
    }
    let at = now.0.max(row.began.0 + 1);
    run(db, attempt, values![id.broadcast.0, who, place, at, row.channel.0, "replayed", by, None::<&str>]).await?;
    run(
        db,
        "UPDATE delivery SET state = 0, lane = channel, due = $4, receipt = NULL WHERE broadcast = $1 AND subscriber = $2 AND place = $3",
        values![id.broadcast.0, who, place, due.0],
    )
    .await?;
    db.notice(Notice::Rows);
    let mut tally = Tally::new();
    let after = ending(db, id.broadcast, id.subscriber).await?;
    moved(&mut tally, id.broadcast, id.subscriber, before, after);
    let reopened = count(db, &tally).await?.values().sum::<i64>() < 0;
    if of.state == BroadcastState::Done {
        broadcast::run_again(db, id.broadcast, of.deadline, now, by).await?;
    }
    db.journal(
        now,
        "replayed",
        &json!({ "broadcast": id.broadcast, "subscriber": id.subscriber, "place": id.place,
            "recipient": Ending::changed(before, after), "by": by }),
    )?;
    Ok(Replayed::Open { channel: row.channel, priority: of.priority, reopened })
}
