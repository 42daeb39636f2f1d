//! What addresses got by a channel in the broadcasts of a thread, for a message that follows an earlier one.

use super::connection::Db;
use super::rows::all;
use super::value::values;
use crate::audience::route::ChannelId;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{Broadcast, Earlier, Result};

pub async fn earlier(
    db: &Db,
    of: &Broadcast,
    channel: ChannelId,
    who: &[(SubscriberId, u16)],
) -> Result<Vec<Vec<Earlier>>> {
    let thread = all(
        db,
        "SELECT id FROM broadcast WHERE incident = $1 AND audience = $2 AND released IS NOT NULL AND version < $3
         ORDER BY version, id",
        values![of.incident.0, &of.audience, of.version],
        |row| row.get::<i64>(0),
    );
    let thread = thread.await?.into_iter().chain([of.id.0]);
    let mut found = vec![Vec::new(); who.len()];
    let subscribers: Vec<i64> = who.iter().map(|(subscriber, _)| subscriber.0).collect();
    let places: Vec<i64> = who.iter().map(|(_, place)| i64::from(*place)).collect();
    // One partition each.
    for broadcast in thread {
        let got = all(
            db,
            "SELECT w.n, CASE d.channel WHEN $4 THEN d.ref END, EXISTS (SELECT 1 FROM attempt a WHERE a.broadcast = $1
               AND a.subscriber = d.subscriber AND a.place = d.place AND a.channel = $4 AND a.fault = 'gone')
             FROM unnest($2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (subscriber, place, n)
             JOIN delivery d ON d.broadcast = $1 AND d.subscriber = w.subscriber AND d.place = w.place",
            values![broadcast, subscribers.clone(), places.clone(), i64::from(channel.0)],
            |row| Ok((row.get::<i64>(0)?, row.get(1)?, row.get(2)?)),
        );
        for (n, reference, gone) in got.await? {
            if let Some(of) = usize::try_from(n - 1).ok().and_then(|n| found.get_mut(n)) {
                of.push(Earlier { broadcast: BroadcastId(broadcast), reference, gone });
            }
        }
    }
    Ok(found)
}
