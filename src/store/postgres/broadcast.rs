//! Broadcasts: drawn, released, superseded, stopped; and the timers that concern them. Whoever changes one holds its incident.

use std::collections::BTreeMap;

use serde_json::json;

use super::connection::Db;
use super::rows::{all, digest, exists, first, json, next_id, parsed, run, word};
use super::value::{Row, values};
use super::{block, lock, query};
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::plan::{self, Draw, Held, Priority, Selection};
use crate::store::broadcast::ending;
use crate::store::drawn::{Drawn, inherit, remembered, reminder, runs_from};
use crate::store::{Broadcast, BroadcastState, Counts, Cursor, Notice, Result, Timer, TimerKind};

pub async fn insert(db: &Db, at: &Drawn<'_>, draw: &Draw) -> Result<Broadcast> {
    let id = BroadcastId(next_id(db, "broadcast").await?);
    block::make(db, id).await?;
    let audience = &draw.step.audience;
    let sql = "SELECT shards FROM audience WHERE name = $1";
    let shards: i64 = first(db, sql, values![audience], |row| row.get(0)).await?.unwrap_or(0);
    let code = unique_code(db, draw.code.clone(), id).await?;
    let mut broadcast = at.broadcast(draw, id, shards as u64, code);
    db.notice(Notice::Broadcasts(vec![id.0]));
    run(
        db,
        "INSERT INTO thread VALUES ($1, $2, 0, '[]', NULL, NULL) ON CONFLICT DO NOTHING",
        values![at.incident.0, audience],
    )
    .await?;
    match broadcast.held {
        Held::Not => release(db, &mut broadcast, at.now).await?,
        Held::Until(due) => {
            // What was held off before waits no longer for its own sake: this one says the newer thing at the same time.
            let held = "id < $3 AND held LIKE '{\"until\"%'";
            supersede_held(db, at.incident, audience, held, id.0, at.now).await?;
            set_timer(db, TimerKind::Release, id.0, due).await?;
        }
        Held::Approval => {}
    }
    if broadcast.state.live() {
        set_timer(db, TimerKind::Deadline, id.0, broadcast.deadline).await?;
    }
    run(
        db,
        "INSERT INTO broadcast (id, incident, audience, number, version, plan, step, purpose, occasion, priority, state, selection,
           held, created, released, ended, deadline, templates, facts, code, shards)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
        values![
            id.0,
            broadcast.incident.0,
            &broadcast.audience,
            broadcast.number,
            broadcast.version,
            &broadcast.plan,
            json(&broadcast.step)?,
            broadcast.purpose.word(),
            broadcast.occasion.word(),
            broadcast.priority.rank(),
            broadcast.state.number(),
            json(&broadcast.selection)?,
            json(&broadcast.held)?,
            broadcast.created.0,
            broadcast.released.map(|time| time.0),
            broadcast.ended.map(|time| time.0),
            broadcast.deadline.0,
            &broadcast.templates[..],
            json(&broadcast.facts)?,
            &broadcast.code,
            shards
        ],
    )
    .await?;
    Ok(broadcast)
}

/// The drawn code, or another while a live broadcast has it.
async fn unique_code(db: &Db, mut code: String, id: BroadcastId) -> Result<String> {
    let mut chance = fastrand::Rng::with_seed(id.0 as u64);
    for _ in 0..100 {
        if !exists(db, "SELECT 1 FROM broadcast WHERE state < 3 AND code = $1", values![&code]).await? {
            break;
        }
        code = plan::code(&mut chance);
    }
    Ok(code)
}

/// Held to running, in memory; its own row is the caller's to write. What is older in its thread ends superseded, and whom that
/// left untold this one inherits.
async fn release(db: &Db, broadcast: &mut Broadcast, now: Time) -> Result<()> {
    let id = broadcast.id;
    let older = all(
        db,
        "SELECT id, selection, priority FROM broadcast
         WHERE incident = $1 AND audience = $2 AND state IN (1, 2) AND version < $3 AND id <> $4 ORDER BY id",
        values![broadcast.incident.0, &broadcast.audience, broadcast.version, id.0],
        |row| Ok((row.get::<i64>(0)?, parsed::<Selection>(row, 1)?, row.get::<u8>(2)?)),
    )
    .await?;
    for (old, inherited, rank) in older {
        inherit(broadcast, &inherited, rank);
        end(db, BroadcastId(old), BroadcastState::Superseded, now, NEWER).await?;
    }
    // What was held before a newer word of the same thread was released would say the older thing.
    supersede_held(db, broadcast.incident, &broadcast.audience, "version < $3", broadcast.version, now).await?;
    runs_from(broadcast, now);
    let before: Option<Vec<Time>> = first(
        db,
        "SELECT released FROM thread WHERE incident = $1 AND audience = $2",
        values![broadcast.incident.0, &broadcast.audience],
        |row| parsed(row, 0),
    )
    .await?;
    run(
        db,
        "UPDATE thread SET latest = greatest(latest, $3), released = $4, status = $5, severity = $6
         WHERE incident = $1 AND audience = $2",
        values![
            broadcast.incident.0,
            &broadcast.audience,
            broadcast.version,
            json(&remembered(now, before.unwrap_or_default()))?,
            broadcast.facts.status.map(|word| word.word()),
            broadcast.facts.severity.map(|word| word.word())
        ],
    )
    .await?;
    if let Some(due) = reminder(broadcast, now) {
        set_timer(db, TimerKind::Reminder, id.0, due).await?;
    }
    db.journal(
        now,
        "broadcast",
        &json!({ "broadcast": id, "incident": broadcast.incident, "audience": broadcast.audience, "state": broadcast.state }),
    )
}

pub async fn release_held(db: &Db, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>> {
    lock::incident_of(db, id).await?;
    let held = one(db, id).await?.filter(|broadcast| broadcast.state == BroadcastState::Held);
    let Some(mut broadcast) = held else { return Ok(None) };
    db.notice(Notice::Broadcasts(vec![id.0]));
    release(db, &mut broadcast, now).await?;
    run(
        db,
        "UPDATE broadcast SET state = $2, released = $3, ended = $4, selection = $5, priority = $6 WHERE id = $1",
        values![
            id.0,
            broadcast.state.number(),
            now.0,
            broadcast.ended.map(|time| time.0),
            json(&broadcast.selection)?,
            broadcast.priority.rank()
        ],
    )
    .await?;
    clear_timer(db, TimerKind::Release, id.0).await?;
    if !broadcast.state.live() {
        clear_timer(db, TimerKind::Deadline, id.0).await?;
    }
    db.journal(now, "released", &json!({ "broadcast": id, "by": by }))?;
    Ok(Some(broadcast))
}

pub async fn change_state(
    db: &Db,
    id: BroadcastId,
    from: &[BroadcastState],
    to: BroadcastState,
    now: Time,
    by: &str,
) -> Result<Option<Broadcast>> {
    lock::incident_of(db, id).await?;
    let state = first(db, "SELECT state FROM broadcast WHERE id = $1", values![id.0], |row| row.get::<i64>(0)).await?;
    if !state.is_some_and(|state| from.contains(&BroadcastState::from_number(state))) {
        return Ok(None);
    }
    db.notice(Notice::Broadcasts(vec![id.0]));
    match to.live() {
        true => {
            run(db, "UPDATE broadcast SET state = $2 WHERE id = $1", values![id.0, to.number()]).await?;
            db.journal(now, "broadcast", &json!({ "broadcast": id, "state": to, "by": by }))?;
        }
        false => end(db, id, to, now, by).await?,
    }
    one(db, id).await
}

/// Asked by every node when all of its own shards have come to an end: the last of them to ask sees what the others have written.
pub async fn complete(db: &Db, id: BroadcastId, now: Time) -> Result<bool> {
    lock::incident_of(db, id).await?;
    let sql =
        "SELECT state, shards = 0 AND NOT EXISTS (SELECT 1 FROM progress p WHERE p.broadcast = b.id AND p.selected <>
           p.told + p.unknown + p.unreachable + p.skipped + p.superseded + p.cancelled + p.expired - p.told_open)
         FROM broadcast b WHERE id = $1";
    let read = |row: &Row| Ok((BroadcastState::from_number(row.get(0)?), row.get::<bool>(1)?));
    match first(db, sql, values![id.0], read).await? {
        Some((BroadcastState::Running, true)) => {
            let (from, to) = ([BroadcastState::Running], BroadcastState::Done);
            change_state(db, id, &from, to, now, "engine").await.map(|changed| changed.is_some())
        }
        Some((state, _)) => Ok(state == BroadcastState::Done),
        None => Ok(false),
    }
}

/// Ends what was drawn for an update and is still held; answers it.
pub async fn end_held(
    db: &Db,
    incident: IncidentId,
    number: i64,
    state: BroadcastState,
    now: Time,
) -> Result<Vec<Broadcast>> {
    let sql = format!("{BROADCAST} WHERE b.incident = $1 AND b.number = $2 AND b.state = 0 ORDER BY b.id");
    let held = all(db, &sql, values![incident.0, number], read).await?;
    for broadcast in &held {
        db.notice(Notice::Broadcasts(vec![broadcast.id.0]));
        end(db, broadcast.id, state, now, "a correction").await?;
    }
    Ok(held.into_iter().map(|broadcast| Broadcast { state, ended: Some(now), ..broadcast }).collect())
}

/// By what is older of its thread ends.
const NEWER: &str = "a newer broadcast";

/// Ends what is held of a thread, as far as `which` says by `than`. Their timers end when they are due.
async fn supersede_held(
    db: &Db,
    incident: IncidentId,
    audience: &str,
    which: &str,
    than: i64,
    now: Time,
) -> Result<()> {
    let superseded = BroadcastState::Superseded;
    let sql = format!(
        "UPDATE broadcast SET state = $4, ended = $5 WHERE incident = $1 AND audience = $2 AND state = 0 AND {which} RETURNING id"
    );
    let values = values![incident.0, audience, than, superseded.number(), now.0];
    for id in all(db, &sql, values, |row| row.get::<i64>(0)).await? {
        let row = ending(BroadcastId(id), incident, audience, superseded, Counts::default(), NEWER);
        db.journal(now, "broadcast", &row)?;
    }
    Ok(())
}

/// Ending costs one write: what is open or unread derives its state from this one.
async fn end(db: &Db, id: BroadcastId, state: BroadcastState, now: Time, by: &str) -> Result<()> {
    let sql = "UPDATE broadcast SET state = $2, ended = $3 WHERE id = $1 RETURNING incident, audience";
    let of = first(db, sql, values![id.0, state.number(), now.0], |row| Ok((row.get(0)?, row.get::<String>(1)?)));
    if let Some((incident, audience)) = of.await? {
        let counts = query::counts(db, id).await?;
        db.journal(now, "broadcast", &ending(id, IncidentId(incident), &audience, state, counts, by))?;
    }
    for kind in [TimerKind::Release, TimerKind::Deadline] {
        clear_timer(db, kind, id.0).await?;
    }
    if matches!(state, BroadcastState::Superseded | BroadcastState::Cancelled) {
        clear_timer(db, TimerKind::Reminder, id.0).await?;
    }
    Ok(())
}

/// Done to running: somebody is to be told anew.
pub async fn run_again(db: &Db, id: BroadcastId, deadline: Time, now: Time, by: &str) -> Result<()> {
    let running = BroadcastState::Running;
    db.notice(Notice::Broadcasts(vec![id.0]));
    run(db, "UPDATE broadcast SET state = $2, ended = NULL WHERE id = $1", values![id.0, running.number()]).await?;
    db.journal(now, "broadcast", &json!({ "broadcast": id, "state": running, "by": by }))?;
    set_timer(db, TimerKind::Deadline, id.0, deadline).await
}

pub const BROADCAST: &str = "SELECT b.id, b.incident, i.key, b.audience, b.number, b.version, b.plan, b.step, b.purpose, b.occasion,
  b.priority, b.state, b.selection, b.held, b.created, b.released, b.ended, b.deadline, b.templates, b.facts, b.code, b.shards
  FROM broadcast b JOIN incident i ON i.id = b.incident";

pub fn read(row: &Row) -> Result<Broadcast> {
    Ok(Broadcast {
        id: BroadcastId(row.get(0)?),
        incident: IncidentId(row.get(1)?),
        incident_key: row.get(2)?,
        audience: row.get(3)?,
        number: row.get(4)?,
        version: row.get(5)?,
        plan: row.get(6)?,
        step: parsed(row, 7)?,
        purpose: word(row, 8)?,
        occasion: word(row, 9)?,
        priority: Priority::from_rank(row.get(10)?),
        state: BroadcastState::from_number(row.get(11)?),
        selection: parsed(row, 12)?,
        held: parsed(row, 13)?,
        created: Time(row.get(14)?),
        released: row.get::<Option<i64>>(15)?.map(Time),
        ended: row.get::<Option<i64>>(16)?.map(Time),
        deadline: Time(row.get(17)?),
        templates: digest(row, 18)?,
        facts: parsed(row, 19)?,
        code: row.get(20)?,
        shards: row.get::<i64>(21)? as u64,
        progress: BTreeMap::new(),
    })
}

async fn with_progress(db: &Db, mut broadcasts: Vec<Broadcast>) -> Result<Vec<Broadcast>> {
    let ids: Vec<i64> = broadcasts.iter().map(|broadcast| broadcast.id.0).collect();
    let rows = all(
        db,
        "SELECT p.broadcast, p.shard, p.cursor, p.selected,
           p.told + p.unknown + p.unreachable + p.skipped + p.superseded + p.cancelled + p.expired - p.told_open,
           (SELECT count(*) FROM manifest m WHERE m.broadcast = p.broadcast AND m.shard = p.shard)
         FROM progress p WHERE p.broadcast = ANY($1)",
        values![ids],
        |row| {
            let cursor =
                Cursor { after: row.get(2)?, selected: row.get(3)?, ended: row.get(4)?, manifests: row.get(5)? };
            Ok((BroadcastId(row.get(0)?), row.get::<u8>(1)?, cursor))
        },
    )
    .await?;
    for (id, shard, cursor) in rows {
        if let Some(broadcast) = broadcasts.iter_mut().find(|broadcast| broadcast.id == id) {
            broadcast.progress.insert(shard, cursor);
        }
    }
    Ok(broadcasts)
}

pub async fn one(db: &Db, id: BroadcastId) -> Result<Option<Broadcast>> {
    match first(db, &format!("{BROADCAST} WHERE b.id = $1"), values![id.0], read).await? {
        Some(broadcast) => Ok(with_progress(db, vec![broadcast]).await?.pop()),
        None => Ok(None),
    }
}

pub async fn live(db: &Db) -> Result<Vec<Broadcast>> {
    let sql = format!("{BROADCAST} WHERE b.state < 3 ORDER BY b.priority, b.id");
    let live = all(db, &sql, values![], read).await?;
    with_progress(db, live).await
}

pub async fn set_timer(db: &Db, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
    run(
        db,
        "INSERT INTO timer VALUES ($1, $2, $3, '') ON CONFLICT (kind, subject) DO UPDATE SET due = excluded.due, body = ''",
        values![kind.word(), subject, due.0],
    )
    .await
    .map(drop)
}

pub async fn clear_timer(db: &Db, kind: TimerKind, subject: i64) -> Result<()> {
    run(db, "DELETE FROM timer WHERE kind = $1 AND subject = $2", values![kind.word(), subject]).await.map(drop)
}

/// Ends a timer that has been seen to; one that was set anew meanwhile stays.
pub async fn end_timer(db: &Db, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
    let sql = "DELETE FROM timer WHERE kind = $1 AND subject = $2 AND due = $3";
    run(db, sql, values![kind.word(), subject, due.0]).await.map(drop)
}

/// The timers due, youngest subject first (the newest of two held broadcasts is the one to release), and the next one's time.
pub async fn due_timers(db: &Db, now: Time) -> Result<(Vec<Timer>, Option<Time>)> {
    let due = all(
        db,
        "SELECT kind, subject, due, body FROM timer WHERE due <= $1 ORDER BY subject DESC LIMIT 256",
        values![now.0],
        |row| Ok(Timer { kind: word(row, 0)?, subject: row.get(1)?, due: Time(row.get(2)?), body: row.get(3)? }),
    )
    .await?;
    let sql = "SELECT min(due) FROM timer WHERE due > $1";
    let next = first(db, sql, values![now.0], |row| row.get::<Option<i64>>(0)).await?;
    Ok((due, next.flatten().map(Time)))
}
