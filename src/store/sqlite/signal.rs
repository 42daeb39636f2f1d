//! Signals: one row for each component and origin, and no more of them than tell anything.

use rusqlite::{Connection, Row};

use super::rows::{all, run};
use crate::clock::Time;
use crate::store::signal::ORIGINS;
use crate::store::{Result, Signal};

const SIGNAL: &str = "SELECT component, origin, trusted, at, count, text FROM signal";

/// Keeps what was said; answers what all origins say of the component since then, the latest first.
pub fn hear(db: &Connection, said: &Signal, since: Time) -> Result<Vec<Signal>> {
    let heard = of(db, &said.component, since)?;
    if heard.len() >= ORIGINS && heard.iter().all(|other| other.origin != said.origin) {
        return Ok(heard);
    }
    run(
        db,
        "INSERT INTO signal VALUES (?1, ?2, ?3, ?4, 1, ?5)
         ON CONFLICT DO UPDATE SET trusted = excluded.trusted, at = max(at, excluded.at), text = excluded.text,
           count = CASE WHEN at < ?6 THEN 1 ELSE count + 1 END",
        (&said.component, &said.origin, said.trusted, said.at.0, &said.text, since.0),
    )?;
    of(db, &said.component, since)
}

/// Forgets what an origin said of a component.
pub fn silence(db: &Connection, component: &str, origin: &str) -> Result<()> {
    run(db, "DELETE FROM signal WHERE component = ?1 AND origin = ?2", (component, origin)).map(drop)
}

fn of(db: &Connection, component: &str, since: Time) -> Result<Vec<Signal>> {
    let sql = format!("{SIGNAL} WHERE component = ?1 AND at >= ?2 ORDER BY at DESC, origin LIMIT ?3");
    all(db, &sql, (component, since.0, ORIGINS as i64), read)
}

/// What was said since then, the latest first.
pub fn list(db: &Connection, since: Time, limit: usize) -> Result<Vec<Signal>> {
    all(
        db,
        &format!("{SIGNAL} WHERE at >= ?1 ORDER BY at DESC, component, origin LIMIT ?2"),
        (since.0, limit as i64),
        read,
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Signal> {
    Ok(Signal {
        component: row.get(0)?,
        origin: row.get(1)?,
        trusted: row.get(2)?,
        at: Time(row.get(3)?),
        count: row.get(4)?,
        text: row.get(5)?,
    })
}
