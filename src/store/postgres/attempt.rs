//! Attempts: the tries of deliveries, written in any order by whoever made them, many in one statement.

use std::collections::BTreeMap;

use super::connection::Db;
use super::rows::{all, run};
use super::value::{Row, values};
use crate::audience::route::ChannelId;
use crate::clock::Time;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{AttemptRow, Fact, Result, Try};

/// The first tries of facts about as many recipients, then the second ones: what is written in one statement does not see itself.
pub async fn written(db: &Db, facts: &[&Fact]) -> Result<()> {
    let mut tries: Vec<_> = facts.iter().map(|fact| (*fact, Try::of(fact))).collect();
    loop {
        let next: Vec<(&Fact, Try<'_>)> = tries.iter_mut().filter_map(|(fact, of)| Some((*fact, of.next()?))).collect();
        if next.is_empty() {
            return Ok(());
        }
        insert(db, &next).await?;
    }
}

async fn insert(db: &Db, tries: &[(&Fact, Try<'_>)]) -> Result<()> {
    let each = |of: &dyn Fn(&Fact, &Try<'_>) -> i64| tries.iter().map(|(fact, one)| of(fact, one)).collect::<Vec<_>>();
    let texts = |of: &dyn for<'a> Fn(&'a Try<'_>) -> Option<&'a str>| {
        tries.iter().map(|(_, one)| of(one).map(str::to_string)).collect::<Vec<_>>()
    };
    run(
        db,
        // Where the calendar stands still, two attempts would begin at one time: the later one is the later one.
        "INSERT INTO attempt (broadcast, subscriber, place, began, node, channel, outcome, fault, detail, ref)
         SELECT n.broadcast, n.subscriber, n.place, greatest(n.began, (SELECT max(a.began) + 1 FROM attempt a
             WHERE a.broadcast = n.broadcast AND a.subscriber = n.subscriber AND a.place = n.place)),
           0, n.channel, n.outcome, n.fault, n.detail, n.ref
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[],
           $9::text[]) AS n (broadcast, subscriber, place, began, channel, outcome, fault, detail, ref)
         ON CONFLICT DO NOTHING",
        values![
            each(&|fact, _| fact.delivery.broadcast.0),
            each(&|fact, _| fact.delivery.subscriber.0),
            each(&|fact, _| fact.delivery.place.into()),
            each(&|fact, _| fact.began.0),
            each(&|_, one| one.channel.0.into()),
            texts(&|one| Some(one.outcome)),
            texts(&|one| one.fault),
            texts(&|one| one.detail),
            texts(&|one| one.reference)
        ],
    )
    .await
    .map(drop)
}

const ATTEMPT: &str = "SELECT place, channel, began, outcome, fault, detail, ref";

fn read(row: &Row) -> Result<AttemptRow> {
    Ok(AttemptRow {
        place: row.get(0)?,
        channel: ChannelId(row.get(1)?),
        began: Time(row.get(2)?),
        outcome: row.get(3)?,
        fault: row.get(4)?,
        detail: row.get(5)?,
        reference: row.get(6)?,
    })
}

pub async fn of(db: &Db, broadcast: BroadcastId, subscriber: SubscriberId) -> Result<Vec<AttemptRow>> {
    let sql = format!("{ATTEMPT} FROM attempt WHERE broadcast = $1 AND subscriber = $2 ORDER BY place, began");
    all(db, &sql, values![broadcast.0, subscriber.0], read).await
}

/// Of each of these recipients, by their numbers.
pub async fn of_many(db: &Db, broadcast: BroadcastId, who: Vec<i64>) -> Result<BTreeMap<i64, Vec<AttemptRow>>> {
    let sql = format!(
        "{ATTEMPT}, subscriber FROM attempt WHERE broadcast = $1 AND subscriber = ANY($2) ORDER BY place, began"
    );
    let tried = all(db, &sql, values![broadcast.0, who], |row| Ok((row.get::<i64>(7)?, read(row)?)));
    let mut attempts: BTreeMap<i64, Vec<AttemptRow>> = BTreeMap::new();
    for (subscriber, attempt) in tried.await? {
        attempts.entry(subscriber).or_default().push(attempt);
    }
    Ok(attempts)
}
