//! Broadcasts: drawn, released, superseded, stopped; and the timers that concern them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row};
use serde_json::json;

use super::rows::{all, digest, first, from_json, journal, json, next_id, parsed, run, word};
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId};
use crate::plan::{self, Draw, Held, Priority, Selection};
use crate::store::{Broadcast, BroadcastState, Cursor, Result, Timer, TimerKind};

/// Releases of a thread that `at_most` looks back on.
const REMEMBERED_RELEASES: usize = 64;

pub fn insert(
    db: &Connection,
    incident: IncidentId,
    number: i64,
    version: i64,
    draw: Draw,
    templates: [u8; 32],
    now: Time,
) -> Result<BroadcastId> {
    let id = BroadcastId(next_id(db, "broadcast")?);
    let audience = &draw.step.audience;
    let shards: i64 =
        first(db, "SELECT shards FROM audience WHERE name = ?1", [audience], |row| row.get(0))?.unwrap_or(0);
    let code = unique_code(db, draw.code, id)?;
    run(
        db,
        "INSERT INTO broadcast (id, incident, audience, number, version, plan, step, purpose, occasion, priority, state, selection,
           held, created, deadline, templates, facts, code, shards)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        rusqlite::params![
            id.0,
            incident.0,
            audience,
            number,
            version,
            draw.plan,
            json(&draw.step)?,
            draw.purpose.word(),
            draw.occasion.word(),
            draw.step.priority.rank(),
            BroadcastState::Held.number(),
            json(&draw.selection)?,
            json(&draw.held)?,
            now.0,
            draw.deadline.0,
            &templates[..],
            json(&draw.facts)?,
            code,
            shards
        ],
    )?;
    run(db, "INSERT INTO thread VALUES (?1, ?2, 0, '[]', NULL, NULL) ON CONFLICT DO NOTHING", (incident.0, audience))?;
    set_timer(db, TimerKind::Deadline, id.0, draw.deadline, "")?;
    match draw.held {
        Held::Not => {
            release(db, id, now)?;
        }
        Held::Until(due) => {
            // What was held off before waits no longer for its own sake: this one says the newer thing at the same time.
            run(
                db,
                "UPDATE broadcast SET state = ?4, ended = ?5 WHERE incident = ?1 AND audience = ?2 AND id < ?3 AND state = 0
                 AND held LIKE '{\"until\"%'",
                (incident.0, audience, id.0, BroadcastState::Superseded.number(), now.0),
            )?;
            set_timer(db, TimerKind::Release, id.0, due, "")?;
        }
        Held::Approval => {}
    }
    Ok(id)
}

/// The drawn code, or another while a live broadcast has it.
fn unique_code(db: &Connection, mut code: String, id: BroadcastId) -> Result<String> {
    let mut chance = fastrand::Rng::with_seed(id.0 as u64);
    for _ in 0..100 {
        let taken = first(db, "SELECT 1 FROM broadcast WHERE state < 3 AND code = ?1", [&code], |_| Ok(()))?;
        if taken.is_none() {
            break;
        }
        code = plan::code(&mut chance);
    }
    Ok(code)
}

/// Held to running. What is older in its thread ends superseded, and whom that left untold this one inherits.
fn release(db: &Connection, id: BroadcastId, now: Time) -> Result<()> {
    let Some(broadcast) = one(db, id)? else { return Ok(()) };
    let older = all(
        db,
        "SELECT id, selection, priority FROM broadcast
         WHERE incident = ?1 AND audience = ?2 AND state IN (1, 2) AND version < ?3 AND id <> ?4",
        (broadcast.incident.0, &broadcast.audience, broadcast.version, id.0),
        |row| Ok((row.get::<_, i64>(0)?, parsed::<Selection>(row, 1)?, row.get::<_, u8>(2)?)),
    )?;
    let mut selection = broadcast.selection.clone();
    let mut rank = broadcast.priority.rank();
    for (old, inherited, priority) in older {
        if selection.told_by.is_empty() && inherited.told_by.is_empty() {
            inherit(&mut selection, &inherited);
            rank = rank.min(priority);
        }
        end(db, BroadcastId(old), BroadcastState::Superseded, now)?;
    }
    // What was held before a newer word of the same thread was released would say the older thing.
    run(
        db,
        "UPDATE broadcast SET state = ?4, ended = ?5 WHERE incident = ?1 AND audience = ?2 AND version < ?3 AND state = 0",
        (broadcast.incident.0, &broadcast.audience, broadcast.version, BroadcastState::Superseded.number(), now.0),
    )?;
    let empty = broadcast.shards == 0;
    let state = if empty { BroadcastState::Done } else { BroadcastState::Running };
    run(
        db,
        "UPDATE broadcast SET state = ?2, released = ?3, ended = ?4, selection = ?5, priority = ?6 WHERE id = ?1",
        (id.0, state.number(), now.0, empty.then_some(now.0), json(&selection)?, rank),
    )?;
    let released: Vec<Time> = first(
        db,
        "SELECT released FROM thread WHERE incident = ?1 AND audience = ?2",
        (broadcast.incident.0, &broadcast.audience),
        |row| row.get::<_, String>(0),
    )?
    .map(|text| from_json(&text))
    .transpose()?
    .unwrap_or_default();
    let released: Vec<Time> = std::iter::once(now).chain(released).take(REMEMBERED_RELEASES).collect();
    run(
        db,
        "UPDATE thread SET latest = max(latest, ?3), released = ?4, status = ?5, severity = ?6 WHERE incident = ?1 AND audience = ?2",
        (
            broadcast.incident.0,
            &broadcast.audience,
            broadcast.version,
            json(&released)?,
            broadcast.facts.status.map(|word| word.word()),
            broadcast.facts.severity.map(|word| word.word()),
        ),
    )?;
    clear_timer(db, TimerKind::Release, id.0)?;
    if empty {
        clear_timer(db, TimerKind::Deadline, id.0)?;
    }
    if let Some(span) = broadcast.step.at_least {
        let open = broadcast.facts.status.is_some_and(|status| !status.ended());
        if open {
            set_timer(db, TimerKind::Reminder, id.0, now.plus(span.0), "")?;
        }
    }
    journal(
        db,
        now,
        "broadcast",
        &json!({ "broadcast": id, "incident": broadcast.incident, "audience": broadcast.audience, "state": state }),
    )
}

/// Filters united: whoever the older one was still to tell is told by this one.
fn inherit(selection: &mut Selection, older: &Selection) {
    let unite = |own: &mut BTreeSet<String>, older: &BTreeSet<String>| match own.is_empty() || older.is_empty() {
        true => own.clear(), // empty means everyone
        false => own.extend(older.iter().cloned()),
    };
    unite(&mut selection.components, &older.components);
    unite(&mut selection.regions, &older.regions);
    selection.severity = selection.severity.max(older.severity);
}

pub fn release_held(db: &Connection, id: BroadcastId, now: Time, by: &str) -> Result<bool> {
    let held = first(db, "SELECT 1 FROM broadcast WHERE id = ?1 AND state = 0", [id.0], |_| Ok(()))?.is_some();
    if held {
        release(db, id, now)?;
        journal(db, now, "released", &json!({ "broadcast": id, "by": by }))?;
    }
    Ok(held)
}

pub fn change_state(
    db: &Connection,
    id: BroadcastId,
    from: &[BroadcastState],
    to: BroadcastState,
    now: Time,
    by: &str,
) -> Result<bool> {
    let state = first(db, "SELECT state FROM broadcast WHERE id = ?1", [id.0], |row| row.get::<_, i64>(0))?;
    if !state.is_some_and(|state| from.contains(&BroadcastState::from_number(state))) {
        return Ok(false);
    }
    match to.live() {
        true => run(db, "UPDATE broadcast SET state = ?2 WHERE id = ?1", (id.0, to.number())).map(drop)?,
        false => end(db, id, to, now)?,
    }
    journal(db, now, "broadcast", &json!({ "broadcast": id, "state": to, "by": by }))?;
    Ok(true)
}

/// Ending costs one write: what is open or unread derives its state from this one.
fn end(db: &Connection, id: BroadcastId, state: BroadcastState, now: Time) -> Result<()> {
    run(db, "UPDATE broadcast SET state = ?2, ended = ?3 WHERE id = ?1", (id.0, state.number(), now.0))?;
    for kind in [TimerKind::Release, TimerKind::Deadline] {
        clear_timer(db, kind, id.0)?;
    }
    if matches!(state, BroadcastState::Superseded | BroadcastState::Cancelled) {
        clear_timer(db, TimerKind::Reminder, id.0)?;
    }
    Ok(())
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
        "SELECT p.shard, p.cursor, p.selected, p.told + p.unknown + p.unreachable + p.skipped + p.superseded + p.cancelled + p.expired,
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
