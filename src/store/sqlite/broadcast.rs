//! Broadcasts: drawn, released, superseded, stopped; and the timers that concern them.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};
use serde_json::json;

use super::query;
use super::rows::{all, digest, first, journal, json, parsed, run, word};
use super::writing::Writing;
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::plan::{self, Draw, Held, Priority, Selection, Thread};
use crate::store::broadcast::ending;
use crate::store::drawn::{Drawn, inherit, remembered, reminder, runs_from};
use crate::store::{Broadcast, BroadcastState, Cursor, Result, Timer, TimerKind};

pub fn insert(db: &Writing, at: &Drawn<'_>, draw: &Draw, threads: &mut Vec<Thread>) -> Result<Broadcast> {
    let id = BroadcastId(db.next_id("broadcast")?);
    let (shards, code) = audience_and_code(db, &draw.step.audience, draw.code.clone(), id)?;
    let mut broadcast = at.broadcast(draw, id, shards as u64, code);
    let known = threads.iter().position(|thread| thread.audience == broadcast.audience);
    let thread = known.unwrap_or_else(|| {
        threads.push(Thread { audience: broadcast.audience.clone(), ..Thread::default() });
        threads.len() - 1
    });
    let thread = &mut threads[thread];
    match broadcast.held {
        Held::Not => release(db, &mut broadcast, thread, at.now)?,
        Held::Until(_) | Held::Approval if known.is_none() => begin(db, at.incident, thread)?,
        Held::Until(_) | Held::Approval => {}
    }
    if let Held::Until(due) = broadcast.held {
        // What was held off before waits no longer for its own sake: this one says the newer thing at the same time.
        for older in unended(db, &broadcast)? {
            if matches!((older.state, older.held), (BroadcastState::Held, Held::Until(_))) {
                supersede_held(db, older.id, at.now)?;
            }
        }
        set_timer(db, TimerKind::Release, id.0, due, "")?;
    }
    if broadcast.state.live() {
        set_timer(db, TimerKind::Deadline, id.0, broadcast.deadline, "")?;
    }
    run(
        db,
        "INSERT INTO broadcast (id, incident, audience, number, version, plan, step, purpose, occasion, priority, state, selection,
           held, created, released, ended, deadline, templates, facts, code, shards)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        rusqlite::params![
            id.0,
            broadcast.incident.0,
            broadcast.audience,
            broadcast.number,
            broadcast.version,
            broadcast.plan,
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
            broadcast.code,
            shards
        ],
    )?;
    Ok(broadcast)
}

/// The drawn code, or another while a live broadcast has it; and which shards of the audience have members.
fn audience_and_code(db: &Connection, audience: &str, mut code: String, id: BroadcastId) -> Result<(i64, String)> {
    let sql = "SELECT coalesce((SELECT shards FROM audience WHERE name = ?1), 0),
       EXISTS (SELECT 1 FROM broadcast WHERE state < 3 AND code = ?2)";
    let mut chance = fastrand::Rng::with_seed(id.0 as u64);
    let mut shards = 0;
    for _ in 0..100 {
        let found = first(db, sql, (audience, &code), |row| Ok((row.get(0)?, row.get::<_, bool>(1)?)))?;
        let (audience, taken) = found.unwrap_or_default();
        shards = audience;
        if !taken {
            break;
        }
        code = plan::code(&mut chance);
    }
    Ok((shards, code))
}

/// A broadcast of a thread that has not ended.
struct Unended {
    id: BroadcastId,
    version: i64,
    state: BroadcastState,
    held: Held,
    selection: Selection,
    rank: u8,
}

/// What of its thread has not ended, but for itself.
fn unended(db: &Connection, broadcast: &Broadcast) -> Result<Vec<Unended>> {
    all(
        db,
        "SELECT id, version, state, held, selection, priority FROM broadcast
         WHERE incident = ?1 AND audience = ?2 AND state < 3 AND id <> ?3",
        (broadcast.incident.0, &broadcast.audience, broadcast.id.0),
        |row| {
            Ok(Unended {
                id: BroadcastId(row.get(0)?),
                version: row.get(1)?,
                state: BroadcastState::from_number(row.get(2)?),
                held: parsed(row, 3)?,
                selection: parsed(row, 4)?,
                rank: row.get(5)?,
            })
        },
    )
}

/// Its timers end when they are due: they find that it is not held any more.
fn supersede_held(db: &Connection, id: BroadcastId, now: Time) -> Result<()> {
    ends(db, id, BroadcastState::Superseded, now, NEWER)
}

/// A thread of which nothing has been released.
fn begin(db: &Connection, incident: IncidentId, thread: &Thread) -> Result<()> {
    run(
        db,
        "INSERT INTO thread VALUES (?1, ?2, 0, '[]', NULL, NULL) ON CONFLICT DO NOTHING",
        (incident.0, &thread.audience),
    )
    .map(drop)
}

/// Held to running, in memory, as is its thread; its own row is the caller's to write. What is older in the thread ends
/// superseded, and whom that left untold this one inherits.
fn release(db: &Connection, broadcast: &mut Broadcast, thread: &mut Thread, now: Time) -> Result<()> {
    let id = broadcast.id;
    let version = broadcast.version;
    for older in unended(db, broadcast)?.into_iter().filter(|older| older.version < version) {
        match older.state {
            // It would say the older thing.
            BroadcastState::Held => supersede_held(db, older.id, now)?,
            _ => {
                inherit(broadcast, &older.selection, older.rank);
                end(db, older.id, BroadcastState::Superseded, now, NEWER)?;
            }
        }
    }
    runs_from(broadcast, now);
    thread.released = remembered(now, std::mem::take(&mut thread.released));
    (thread.status, thread.severity) = (broadcast.facts.status, broadcast.facts.severity);
    run(
        db,
        "INSERT INTO thread VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET
           latest = max(latest, excluded.latest), released = excluded.released, status = excluded.status, severity = excluded.severity",
        (
            broadcast.incident.0,
            &broadcast.audience,
            broadcast.version,
            json(&thread.released)?,
            thread.status.map(|word| word.word()),
            thread.severity.map(|word| word.word()),
        ),
    )?;
    if let Some(due) = reminder(broadcast, now) {
        set_timer(db, TimerKind::Reminder, id.0, due, "")?;
    }
    journal(
        db,
        now,
        "broadcast",
        &json!({ "broadcast": id, "incident": broadcast.incident, "audience": broadcast.audience, "state": broadcast.state }),
    )
}

pub fn release_held(db: &Connection, id: BroadcastId, now: Time, by: &str) -> Result<Option<Broadcast>> {
    let held = one(db, id)?.filter(|broadcast| broadcast.state == BroadcastState::Held);
    let Some(mut broadcast) = held else { return Ok(None) };
    let mut threads = threads(db, broadcast.incident)?;
    threads.retain(|thread| thread.audience == broadcast.audience);
    release(db, &mut broadcast, &mut threads.pop().unwrap_or_default(), now)?;
    run(
        db,
        "UPDATE broadcast SET state = ?2, released = ?3, ended = ?4, selection = ?5, priority = ?6 WHERE id = ?1",
        (
            id.0,
            broadcast.state.number(),
            now.0,
            broadcast.ended.map(|time| time.0),
            json(&broadcast.selection)?,
            broadcast.priority.rank(),
        ),
    )?;
    clear_timer(db, TimerKind::Release, id.0)?;
    if !broadcast.state.live() {
        clear_timer(db, TimerKind::Deadline, id.0)?;
    }
    journal(db, now, "released", &json!({ "broadcast": id, "by": by }))?;
    Ok(Some(broadcast))
}

pub fn change_state(
    db: &Connection,
    id: BroadcastId,
    from: &[BroadcastState],
    to: BroadcastState,
    now: Time,
    by: &str,
) -> Result<Option<Broadcast>> {
    let state = first(db, "SELECT state FROM broadcast WHERE id = ?1", [id.0], |row| row.get::<_, i64>(0))?;
    if !state.is_some_and(|state| from.contains(&BroadcastState::from_number(state))) {
        return Ok(None);
    }
    match to.live() {
        true => {
            run(db, "UPDATE broadcast SET state = ?2 WHERE id = ?1", (id.0, to.number()))?;
            journal(db, now, "broadcast", &json!({ "broadcast": id, "state": to, "by": by }))?;
        }
        false => end(db, id, to, now, by)?,
    }
    one(db, id)
}

pub fn complete(db: &Connection, id: BroadcastId, now: Time) -> Result<bool> {
    let sql =
        "SELECT state, shards = 0 AND NOT EXISTS (SELECT 1 FROM progress p WHERE p.broadcast = b.id AND p.selected <>
           p.told + p.unknown + p.unreachable + p.skipped + p.superseded + p.cancelled + p.expired - p.told_open)
         FROM broadcast b WHERE id = ?1";
    let found = first(db, sql, [id.0], |row| Ok((BroadcastState::from_number(row.get(0)?), row.get::<_, bool>(1)?)))?;
    match found {
        Some((BroadcastState::Running, true)) => {
            let (from, to) = ([BroadcastState::Running], BroadcastState::Done);
            change_state(db, id, &from, to, now, "engine").map(|changed| changed.is_some())
        }
        Some((state, _)) => Ok(state == BroadcastState::Done),
        None => Ok(false),
    }
}

/// Ends what was drawn for an update and is still held; answers it.
pub fn end_held(
    db: &Connection,
    incident: IncidentId,
    number: i64,
    state: BroadcastState,
    now: Time,
) -> Result<Vec<Broadcast>> {
    let held = all(
        db,
        &format!("{BROADCAST} WHERE b.incident = ?1 AND b.number = ?2 AND b.state = 0 ORDER BY b.id"),
        (incident.0, number),
        read,
    )?;
    for broadcast in &held {
        end(db, broadcast.id, state, now, "a correction")?;
    }
    Ok(held.into_iter().map(|broadcast| Broadcast { state, ended: Some(now), ..broadcast }).collect())
}

/// By what is older of its thread ends.
const NEWER: &str = "a newer broadcast";

/// Ending costs one write: what is open or unread derives its state from this one.
fn ends(db: &Connection, id: BroadcastId, state: BroadcastState, now: Time, by: &str) -> Result<()> {
    let sql = "UPDATE broadcast SET state = ?2, ended = ?3 WHERE id = ?1 RETURNING incident, audience";
    let of = first(db, sql, (id.0, state.number(), now.0), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let Some((incident, audience)) = of else { return Ok(()) };
    let counts = query::counts(db, id)?;
    journal(db, now, "broadcast", &ending(id, IncidentId(incident), &audience, state, counts, by))
}

fn end(db: &Connection, id: BroadcastId, state: BroadcastState, now: Time, by: &str) -> Result<()> {
    ends(db, id, state, now, by)?;
    let reminds = !matches!(state, BroadcastState::Superseded | BroadcastState::Cancelled);
    let last = if reminds { TimerKind::Deadline } else { TimerKind::Reminder };
    let kinds = [TimerKind::Release, TimerKind::Deadline, last].map(TimerKind::word);
    let sql = "DELETE FROM timer WHERE kind IN (?2, ?3, ?4) AND subject = ?1";
    run(db, sql, (id.0, kinds[0], kinds[1], kinds[2])).map(drop)
}

/// Done to running: somebody is to be told anew.
pub fn run_again(db: &Connection, id: BroadcastId, deadline: Time, now: Time, by: &str) -> Result<()> {
    let running = BroadcastState::Running;
    run(db, "UPDATE broadcast SET state = ?2, ended = NULL WHERE id = ?1", (id.0, running.number()))?;
    set_timer(db, TimerKind::Deadline, id.0, deadline, "")?;
    journal(db, now, "broadcast", &json!({ "broadcast": id, "state": running, "by": by }))
}

pub fn threads(db: &Connection, incident: IncidentId) -> Result<Vec<Thread>> {
    all(
        db,
        "SELECT audience, released, status, severity FROM thread WHERE incident = ?1 ORDER BY audience",
        [incident.0],
        |row| {
            Ok(Thread {
                audience: row.get(0)?,
                released: parsed(row, 1)?,
                status: row.get::<_, Option<String>>(2)?.and_then(|word| word.parse().ok()),
                severity: row.get::<_, Option<String>>(3)?.and_then(|word| word.parse().ok()),
            })
        },
    )
}

pub const BROADCAST: &str = "SELECT b.id, b.incident, i.key, b.audience, b.number, b.version, b.plan, b.step, b.purpose, b.occasion,
  b.priority, b.state, b.selection, b.held, b.created, b.released, b.ended, b.deadline, b.templates, b.facts, b.code, b.shards
  FROM broadcast b JOIN incident i ON i.id = b.incident";

pub fn read(row: &Row<'_>) -> rusqlite::Result<Broadcast> {
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
        released: row.get::<_, Option<i64>>(15)?.map(Time),
        ended: row.get::<_, Option<i64>>(16)?.map(Time),
        deadline: Time(row.get(17)?),
        templates: digest(row, 18)?,
        facts: parsed(row, 19)?,
        code: row.get(20)?,
        shards: row.get::<_, i64>(21)? as u64,
        progress: BTreeMap::new(),
    })
}

fn with_progress(db: &Connection, mut broadcast: Broadcast) -> Result<Broadcast> {
    let rows = all(
        db,
        "SELECT p.shard, p.cursor, p.selected, p.told + p.unknown + p.unreachable + p.skipped + p.superseded + p.cancelled + p.expired
             - p.told_open,
           (SELECT count(*) FROM manifest m WHERE m.broadcast = p.broadcast AND m.shard = p.shard)
         FROM progress p WHERE p.broadcast = ?1",
        [broadcast.id.0],
        |row| {
            let cursor =
                Cursor { after: row.get(1)?, selected: row.get(2)?, ended: row.get(3)?, manifests: row.get(4)? };
            Ok((row.get::<_, u8>(0)?, cursor))
        },
    )?;
    broadcast.progress = rows.into_iter().collect();
    Ok(broadcast)
}

pub fn one(db: &Connection, id: BroadcastId) -> Result<Option<Broadcast>> {
    first(db, &format!("{BROADCAST} WHERE b.id = ?1"), [id.0], read)?.map(|b| with_progress(db, b)).transpose()
}

pub fn live(db: &Connection) -> Result<Vec<Broadcast>> {
    let found = all(db, &format!("{BROADCAST} WHERE b.state < 3 ORDER BY b.priority, b.id"), [], read)?;
    found.into_iter().map(|broadcast| with_progress(db, broadcast)).collect()
}

pub fn set_timer(db: &Connection, kind: TimerKind, subject: i64, due: Time, body: &str) -> Result<()> {
    run(db, "INSERT OR REPLACE INTO timer VALUES (?1, ?2, ?3, ?4)", (kind.word(), subject, due.0, body)).map(drop)
}

pub fn clear_timer(db: &Connection, kind: TimerKind, subject: i64) -> Result<()> {
    run(db, "DELETE FROM timer WHERE kind = ?1 AND subject = ?2", (kind.word(), subject)).map(drop)
}

/// Ends a timer that has been seen to; one that was set anew meanwhile stays.
pub fn end_timer(db: &Connection, kind: TimerKind, subject: i64, due: Time) -> Result<()> {
    run(db, "DELETE FROM timer WHERE kind = ?1 AND subject = ?2 AND due = ?3", (kind.word(), subject, due.0)).map(drop)
}

/// The timers due, youngest subject first (the newest of two held broadcasts is the one to release), and the next one's time.
pub fn due_timers(db: &Connection, now: Time) -> Result<(Vec<Timer>, Option<Time>)> {
    let due = all(
        db,
        "SELECT kind, subject, due, body FROM timer WHERE due <= ?1 ORDER BY subject DESC LIMIT 256",
        [now.0],
        |row| Ok(Timer { kind: word(row, 0)?, subject: row.get(1)?, due: Time(row.get(2)?), body: row.get(3)? }),
    )?;
    let next = first(db, "SELECT min(due) FROM timer WHERE due > ?1", [now.0], |row| row.get::<_, Option<i64>>(0))?;
    Ok((due, next.flatten().map(Time)))
}
