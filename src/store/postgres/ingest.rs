//! An event's transaction: everything it changes, written with it.

use super::connection::Db;
use super::rows::{all, digest, first, json, next_id, parsed, run, word};
use super::value::{Row, values};
use super::{broadcast, lock};
use crate::clock::Time;
use crate::id::{BroadcastId, IncidentId, UpdateId};
use crate::incident::{Change, Incident, Mode};
use crate::ingest::Ingested;
use crate::ingest::event::Event;
use crate::plan::{Draw, Thread, Wrong};
use crate::store::drawn::Drawn;
use crate::store::taken::{Said, answered, by_audience, noted, promised, withdrawn};
use crate::store::{
    Applied, Apply, Broadcast, BroadcastState, Committed, Known, Notice, Result, Tick, TimerKind, UpdateRow,
};

pub async fn known(db: &Db, source: &str, id: &str, key: &str, corrects: Option<i64>) -> Result<Known> {
    let mut known = Known { seen: seen(db, source, id).await?, incident: by_key(db, key).await?, ..Known::default() };
    if let Some(incident) = known.incident.as_ref().map(|incident| incident.id) {
        known.threads = threads(db, incident).await?;
        if let Some(number) = corrects {
            known.wrong = wrong(db, incident, number).await?;
        }
    }
    Ok(known)
}

async fn seen(db: &Db, source: &str, id: &str) -> Result<Option<([u8; 32], Ingested)>> {
    first(
        db,
        "SELECT e.digest, e.incident, e.number, e.broadcasts, i.key, u.late FROM event e JOIN incident i ON i.id = e.incident
         JOIN incident_update u ON u.incident = e.incident AND u.number = e.number WHERE e.source = $1 AND e.id = $2",
        values![source, id],
        |row| {
            let incident = IncidentId(row.get(1)?);
            let ingested = Ingested {
                incident,
                key: row.get(4)?,
                update: Some(UpdateId { incident, number: row.get(2)? }),
                broadcasts: parsed(row, 3)?,
                duplicate: true,
                late: row.get(5)?,
            };
            Ok((digest(row, 0)?, ingested))
        },
    )
    .await
}

pub async fn latest_event(db: &Db, source: &str, incident: IncidentId) -> Result<Option<String>> {
    let sql = "SELECT id FROM event WHERE source = $1 AND incident = $2 ORDER BY number DESC LIMIT 1";
    first(db, sql, values![source, incident.0], |row| row.get(0)).await
}

pub const INCIDENT: &str =
    "SELECT i.id, i.key, i.version, i.mode, i.state, i.opened, i.closed, i.last_number FROM incident i";

pub fn read_incident(row: &Row) -> Result<Incident> {
    Ok(Incident {
        id: IncidentId(row.get(0)?),
        key: row.get(1)?,
        version: row.get(2)?,
        mode: word(row, 3)?,
        state: parsed(row, 4)?,
        opened: Time(row.get(5)?),
        closed: row.get::<Option<i64>>(6)?.map(Time),
        last_number: row.get(7)?,
    })
}

pub async fn by_key(db: &Db, key: &str) -> Result<Option<Incident>> {
    let sql = format!("{INCIDENT} JOIN incident_alias a ON a.incident = i.id WHERE a.name = $1");
    first(db, &sql, values![key], read_incident).await
}

pub async fn incident(db: &Db, id: IncidentId) -> Result<Option<(Incident, Vec<Thread>)>> {
    match first(db, &format!("{INCIDENT} WHERE i.id = $1"), values![id.0], read_incident).await? {
        Some(incident) => Ok(Some((incident, threads(db, id).await?))),
        None => Ok(None),
    }
}

pub async fn updates(db: &Db, incident: IncidentId) -> Result<Vec<UpdateRow>> {
    all(
        db,
        "SELECT number, source, at, taken, late, occasion, said_by, corrects, facts FROM incident_update
         WHERE incident = $1 ORDER BY number",
        values![incident.0],
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
    .await
}

pub async fn open_incidents(db: &Db) -> Result<Vec<Incident>> {
    all(db, &format!("{INCIDENT} WHERE i.closed IS NULL ORDER BY i.id"), values![], read_incident).await
}

async fn threads(db: &Db, incident: IncidentId) -> Result<Vec<Thread>> {
    all(
        db,
        "SELECT audience, released, status, severity FROM thread WHERE incident = $1 ORDER BY audience",
        values![incident.0],
        |row| {
            Ok(Thread {
                audience: row.get(0)?,
                released: parsed(row, 1)?,
                status: row.get::<Option<String>>(2)?.and_then(|word| word.parse().ok()),
                severity: row.get::<Option<String>>(3)?.and_then(|word| word.parse().ok()),
            })
        },
    )
    .await
}

/// What was said of an update, one entry an audience.
async fn wrong(db: &Db, incident: IncidentId, number: i64) -> Result<Vec<Wrong>> {
    let said = all(
        db,
        "SELECT id, plan, step, selection, state, held FROM broadcast
         WHERE incident = $1 AND number = $2 AND (released IS NOT NULL OR state = 0) ORDER BY id",
        values![incident.0, number],
        |row| {
            Ok(Said {
                id: row.get(0)?,
                plan: row.get(1)?,
                step: parsed(row, 2)?,
                selection: parsed(row, 3)?,
                state: BroadcastState::from_number(row.get(4)?),
                held: parsed(row, 5)?,
            })
        },
    )
    .await?;
    Ok(by_audience(said))
}

/// Reads what is known, applies the event to it, and writes what follows. Events of one incident take turns, so that each finds
/// what the one before it left.
pub async fn ingest(db: &Db, event: &Event, apply: &Apply) -> Result<Committed> {
    lock::incident_key(db, &event.incident).await?;
    if let Some(incident) = by_key(db, &event.incident).await? {
        lock::incident(db, incident.id).await?;
    }
    let known = known(db, &event.source, &event.id, &event.incident, event.corrects).await?;
    if let Some((digest, ingested)) = known.seen {
        return Ok(Committed::Seen { digest, ingested });
    }
    let Applied { change, draws, templates } = match apply(known) {
        Ok(applied) => applied,
        Err(refused) => return Ok(Committed::Refused(refused)),
    };
    let incident = write_incident(db, &change).await?;
    let version = change.incident.version + 1;
    let update = &change.update;
    let number = update.number;
    run(
        db,
        "INSERT INTO incident_update VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        values![
            incident.0,
            number,
            &update.source,
            update.sequence,
            update.at.0,
            change.at.0,
            update.late,
            json(&update.says)?,
            json(&change.after)?,
            change.occasion.word(),
            &update.by,
            update.corrects
        ],
    )
    .await?;
    let ended = match withdrawn(&change) {
        Some((wrong, state)) => broadcast::end_held(db, incident, wrong, state, change.at).await?,
        None => Vec::new(),
    };
    let key = &change.incident.key;
    let at = Drawn { incident, key, number, version, templates, now: change.at };
    let mut drawn = write_draws(db, &at, &draws).await?;
    let broadcasts: Vec<BroadcastId> = drawn.iter().map(|broadcast| broadcast.id).collect();
    run(
        db,
        "INSERT INTO event VALUES ($1, $2, $3, $4, $5, $6, $7)",
        values![&event.source, &event.id, &event.digest[..], incident.0, number, json(&broadcasts)?, change.at.0],
    )
    .await?;
    commitment(db, incident, &change).await?;
    if says_what_is_down(&change) {
        db.notice(Notice::Incident(incident.0));
    }
    db.journal(change.at, "update", &noted(&change, incident, &broadcasts))?;
    drawn.extend(ended);
    let ingested = answered(&change, incident, broadcasts);
    Ok(Committed::Done { ingested, drawn, change: Box::new(change) })
}

/// Whether other nodes have to ask what is down by it.
fn says_what_is_down(change: &Change) -> bool {
    let said_before = change.incident.version > 0;
    change.incident.mode == Mode::Real
        && !change.update.late
        && (said_before || !change.after.platforms_down.is_empty())
}

async fn write_incident(db: &Db, change: &Change) -> Result<IncidentId> {
    let incident = &change.incident;
    let closed = incident.closed.map(|time| time.0);
    if incident.version > 0 {
        run(
            db,
            "UPDATE incident SET version = version + 1, state = $2, last_number = $3, closed = $4 WHERE id = $1",
            values![incident.id.0, json(&incident.state)?, incident.last_number, closed],
        )
        .await?;
        return Ok(incident.id);
    }
    let id = IncidentId(next_id(db, "incident").await?);
    run(
        db,
        "INSERT INTO incident VALUES ($1, $2, 1, $3, $4, $5, $6, $7)",
        values![
            id.0,
            &incident.key,
            incident.mode.word(),
            json(&incident.state)?,
            incident.last_number,
            incident.opened.0,
            closed
        ],
    )
    .await?;
    run(db, "INSERT INTO incident_alias VALUES ($1, $2)", values![&incident.key, id.0]).await?;
    Ok(id)
}

/// "Next update by": kept when the next update comes before it, broken when its timer fires.
async fn commitment(db: &Db, incident: IncidentId, change: &Change) -> Result<()> {
    if change.update.late {
        return Ok(());
    }
    match promised(change) {
        Some(due) => broadcast::set_timer(db, TimerKind::Commitment, incident.0, due).await,
        None => broadcast::clear_timer(db, TimerKind::Commitment, incident.0).await,
    }
}

/// As they stand when all are written: a later one of the same thread may supersede an earlier one.
async fn write_draws(db: &Db, at: &Drawn<'_>, draws: &[Draw]) -> Result<Vec<Broadcast>> {
    let mut drawn: Vec<Broadcast> = Vec::with_capacity(draws.len());
    for draw in draws {
        let broadcast = broadcast::insert(db, at, draw).await?;
        for earlier in drawn.iter_mut().filter(|earlier| earlier.audience == broadcast.audience) {
            if let Some(written) = broadcast::one(db, earlier.id).await? {
                *earlier = written;
            }
        }
        drawn.push(broadcast);
    }
    Ok(drawn)
}

/// Broadcasts that the clock calls for: reminders. Whoever changes the incident meanwhile makes this one stale: the row waits.
pub async fn tick(db: &Db, tick: &Tick, templates: [u8; 32], now: Time) -> Result<Option<Vec<Broadcast>>> {
    let found = first(
        db,
        "UPDATE incident SET version = version + 1 WHERE id = $1 AND version = $2 RETURNING last_number, key",
        values![tick.incident.0, tick.version],
        |row| Ok((row.get(0)?, row.get::<String>(1)?)),
    )
    .await?;
    let Some((number, key)) = found else { return Ok(None) };
    let at = Drawn { incident: tick.incident, key: &key, number, version: tick.version + 1, templates, now };
    write_draws(db, &at, &tick.draws).await.map(Some)
}
