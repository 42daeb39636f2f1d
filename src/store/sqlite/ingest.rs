//! An event's transaction: everything it changes, written with it.

use rusqlite::{Connection, Row};

use super::broadcast::{self, threads};
use super::rows::{all, digest, first, journal, json, parsed, run, word};
use super::writing::Writing;
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId, UpdateId};
use crate::incident::{Change, Incident};
use crate::ingest::Ingested;
use crate::ingest::event::Event;
use crate::plan::{Draw, Thread, Wrong};
use crate::store::drawn::Drawn;
use crate::store::taken::{Said, answered, by_audience, noted, promised, withdrawn};
use crate::store::{Applied, Apply, Broadcast, BroadcastState, Committed, Known, Result, Tick, TimerKind, UpdateRow};

pub fn known(db: &Connection, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known> {
    let seen = seen(db, source, id)?;
    let incident = by_key(db, key)?;
    let mut known = Known { seen, incident, ..Known::default() };
    if let Some(incident) = &known.incident {
        known.threads = threads(db, incident.id)?;
        if let Some(number) = corrects {
            known.wrong = wrong(db, incident.id, number)?;
        }
    }
    Ok(known)
}

fn seen(db: &Connection, source: &str, id: &str) -> Result<Option<([u8; 32], Ingested)>> {
    first(
        db,
        "SELECT e.digest, e.incident, e.number, e.broadcasts, i.key, u.late FROM event e JOIN incident i ON i.id = e.incident
         JOIN incident_update u ON u.incident = e.incident AND u.number = e.number WHERE e.source = ?1 AND e.id = ?2",
        [source, id],
        |row| {
            let incident = IncidentId(row.get(1)?);
            let broadcasts: Vec<BroadcastId> = parsed(row, 3)?;
            let ingested = Ingested {
                incident,
                key: row.get(4)?,
                update: Some(UpdateId { incident, number: row.get(2)? }),
                broadcasts,
                duplicate: true,
                late: row.get(5)?,
            };
            Ok((digest(row, 0)?, ingested))
        },
    )
}

pub fn latest_event(db: &Connection, source: &str, incident: IncidentId) -> Result<Option<String>> {
    first(
        db,
        "SELECT id FROM event WHERE source = ?1 AND incident = ?2 ORDER BY number DESC LIMIT 1",
        (source, incident.0),
        |row| row.get(0),
    )
}

pub const INCIDENT: &str =
    "SELECT i.id, i.key, i.version, i.mode, i.state, i.opened, i.closed, i.last_number FROM incident i";

pub fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    Ok(Incident {
        id: IncidentId(row.get(0)?),
        key: row.get(1)?,
        version: row.get(2)?,
        mode: word(row, 3)?,
        state: parsed(row, 4)?,
        opened: Time(row.get(5)?),
        closed: row.get::<_, Option<i64>>(6)?.map(Time),
        last_number: row.get(7)?,
    })
}

pub fn by_key(db: &Connection, key: &str) -> Result<Option<Incident>> {
    first(db, &format!("{INCIDENT} JOIN incident_alias a ON a.incident = i.id WHERE a.name = ?1"), [key], read_incident)
}

pub fn incident(db: &Connection, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>> {
    match first(db, &format!("{INCIDENT} WHERE i.id = ?1"), [id.0], read_incident)? {
        Some(incident) => Ok(Some((incident, threads(db, id)?))),
        None => Ok(None),
    }
}

pub fn updates(db: &Connection, incident: IncidentId) -> Result<Vec<UpdateRow>> {
    all(
        db,
        "SELECT number, source, at, taken, late, occasion, said_by, corrects, facts FROM incident_update
         WHERE incident = ?1 ORDER BY number",
        [incident.0],
        |row| {
            Ok(UpdateRow {
                number: row.get(0)?,
                source: row.get(1)?,
                at: Time(row.get(2)?),
                taken: Time(row.get(3)?),
                late: row.get(4)?,
                occasion: word(row, 5)?,
                said_by: row.get(6)?,
                corrects: row.get(7)?,
                facts: parsed(row, 8)?,
            })
        },
    )
}

pub fn open_incidents(db: &Connection) -> Result<Vec<Incident>> {
    all(db, &format!("{INCIDENT} WHERE i.closed IS NULL ORDER BY i.id"), [], read_incident)
}

/// What was said of an update, one entry an audience.
fn wrong(db: &Connection, incident: IncidentId, number: i64) -> Result<Vec<Wrong>> {
    let rows = all(
        db,
        "SELECT id, plan, step, selection, state, held FROM broadcast
         WHERE incident = ?1 AND number = ?2 AND (released IS NOT NULL OR state = 0) ORDER BY id",
        (incident.0, number),
        |row| {
            let state = BroadcastState::from_number(row.get(4)?);
            Ok(Said {
                id: row.get(0)?,
                plan: row.get(1)?,
                step: parsed(row, 2)?,
                selection: parsed(row, 3)?,
                state,
                held: parsed(row, 5)?,
            })
        },
    )?;
    Ok(by_audience(rows))
}

/// Reads what is known, applies the event to it, and writes what follows.
pub fn ingest(db: &Writing, event: &Event, apply: &Apply) -> Result<Committed> {
    let known = known(db, &event.source, &event.id, &event.incident, event.corrects)?;
    if let Some((digest, ingested)) = known.seen {
        return Ok(Committed::Seen { digest, ingested });
    }
    let mut threads = known.threads.clone();
    let Applied { change, draws, templates } = match apply(known) {
        Ok(applied) => applied,
        Err(refused) => return Ok(Committed::Refused(refused)),
    };
    let incident = write_incident(db, &change)?;
    let version = change.incident.version + 1;
    let update = &change.update;
    let number = update.number;
    run(
        db,
        "INSERT INTO incident_update VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        rusqlite::params![
            incident.0,
            number,
            update.source,
            update.sequence,
            update.at.0,
            change.at.0,
            update.late,
            json(&update.says)?,
            json(&change.after)?,
            change.occasion.word(),
            update.by,
            update.corrects
        ],
    )?;
    let key = &change.incident.key;
    let ended = match withdrawn(&change) {
        Some((wrong, state)) => broadcast::end_held(db, incident, wrong, state, change.at)?,
        None => Vec::new(),
    };
    let mut drawn =
        write_draws(db, &Drawn { incident, key, number, version, templates, now: change.at }, &draws, &mut threads)?;
    let broadcasts: Vec<BroadcastId> = drawn.iter().map(|broadcast| broadcast.id).collect();
    run(
        db,
        "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (&event.source, &event.id, &event.digest[..], incident.0, number, json(&broadcasts)?, change.at.0),
    )?;
    commitment(db, incident, &change)?;
    journal(db, change.at, "update", &noted(&change, incident, &broadcasts))?;
    drawn.extend(ended);
    let ingested = answered(&change, incident, broadcasts);
    Ok(Committed::Done { ingested, drawn, change: Box::new(change) })
}

fn write_incident(db: &Writing, change: &Change) -> Result<IncidentId> {
    let incident = &change.incident;
    let closed = incident.closed.map(|time| time.0);
    if incident.version > 0 {
        run(
            db,
            "UPDATE incident SET version = version + 1, state = ?2, last_number = ?3, closed = ?4 WHERE id = ?1",
            (incident.id.0, json(&incident.state)?, incident.last_number, closed),
        )?;
        return Ok(incident.id);
    }
    let id = IncidentId(db.next_id("incident")?);
    run(
        db,
        "INSERT INTO incident VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7)",
        (
            id.0,
            &incident.key,
            incident.mode.word(),
            json(&incident.state)?,
            incident.last_number,
            incident.opened.0,
            closed,
        ),
    )?;
    run(db, "INSERT INTO incident_alias VALUES (?1, ?2)", (&incident.key, id.0))?;
    Ok(id)
}

/// "Next update by": kept when the next update comes before it, broken when its timer fires.
fn commitment(db: &Connection, incident: IncidentId, change: &Change) -> Result<()> {
    if change.update.late {
        return Ok(());
    }
    match promised(change) {
        Some(due) => broadcast::set_timer(db, TimerKind::Commitment, incident.0, due, ""),
        None => broadcast::clear_timer(db, TimerKind::Commitment, incident.0),
    }
}

/// As they stand when all are written: a later one of the same thread may supersede an earlier one. `threads`: of the incident.
fn write_draws(db: &Writing, at: &Drawn<'_>, draws: &[Draw], threads: &mut Vec<Thread>) -> Result<Vec<Broadcast>> {
    let mut drawn: Vec<Broadcast> = Vec::with_capacity(draws.len());
    for draw in draws {
        let broadcast = broadcast::insert(db, at, draw, threads)?;
        for earlier in drawn.iter_mut().filter(|earlier| earlier.audience == broadcast.audience) {
            if let Some(written) = broadcast::one(db, earlier.id)? {
                *earlier = written;
            }
        }
        drawn.push(broadcast);
    }
    Ok(drawn)
}

/// Broadcasts that the clock calls for: reminders.
pub fn tick(db: &Writing, tick: &Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>> {
    let written = run(
        db,
        "UPDATE incident SET version = version + 1 WHERE id = ?1 AND version = ?2",
        (tick.incident.0, tick.version),
    )?;
    if written == 0 {
        return Ok(None);
    }
    let found = first(db, "SELECT last_number, key FROM incident WHERE id = ?1", [tick.incident.0], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?))
    })?;
    let Some((number, key)) = found else { return Ok(None) };
    let at = Drawn { incident: tick.incident, key: &key, number, version: tick.version + 1, templates, now };
    write_draws(db, &at, &tick.draws, &mut threads(db, tick.incident)?).map(Some)
}
