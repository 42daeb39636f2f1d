//! What addresses got by a channel in the broadcasts of a thread, for a message that follows an earlier one.

use rusqlite::{Connection, OptionalExtension};

use super::manifest::For;
use super::rows::all;
use crate::audience::route::ChannelId;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{Earlier, Result};

pub fn earlier(
    db: &Connection,
    of: &For,
    channel: ChannelId,
    who: &[(SubscriberId, u16)],
) -> Result<Vec<Vec<Earlier>>> {
    // One transaction: each statement on its own would lock and unlock the file.
    let _reading = db.unchecked_transaction().map_err(super::failed)?;
    let mut thread = all(
        db,
        "SELECT id FROM broadcast WHERE incident = ?1 AND audience = ?2 AND released IS NOT NULL
           AND version < (SELECT version FROM broadcast WHERE id = ?3) ORDER BY version, id",
        (of.incident.0, &of.audience, of.id.0),
        |row| row.get::<_, i64>(0),
    )?;
    thread.push(of.id.0);
    let mut row = db
        .prepare_cached(
            "SELECT CASE channel WHEN ?4 THEN ref END, EXISTS (SELECT 1 FROM attempt
               WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3 AND channel = ?4 AND fault = 'gone')
             FROM delivery WHERE broadcast = ?1 AND subscriber = ?2 AND place = ?3",
        )
        .map_err(super::failed)?;
    let mut found = Vec::with_capacity(who.len());
    for (subscriber, place) in who {
        let mut got = Vec::new();
        for broadcast in &thread {
            let read = row.query_row((broadcast, subscriber.0, place, channel.0), |row| Ok((row.get(0)?, row.get(1)?)));
            if let Some((reference, gone)) = read.optional().map_err(super::failed)? {
                got.push(Earlier { broadcast: BroadcastId(*broadcast), reference, gone });
            }
        }
        found.push(got);
    }
    Ok(found)
}
