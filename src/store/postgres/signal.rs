//! Signals: one row for each component and origin, and no more of them than tell anything.

use super::connection::Db;
use super::lock;
use super::rows::{all, run};
use super::value::{Row, values};
use crate::clock::Time;
use crate::store::signal::ORIGINS;
use crate::store::{Result, Signal};

const SIGNAL: &str = "SELECT component, origin, trusted, at, count, text FROM signal";

/// Keeps what was said; answers what all origins say of the component since then, the latest first. Those of one component take
/// turns, so that the one that makes enough of them sees the others.
pub async fn hear(db: &Db, said: &Signal, since: Time) -> Result<Vec<Signal>> {
    lock::component(db, &said.component).await?;
    let heard = of(db, &said.component, since).await?;
    if heard.len() >= ORIGINS && heard.iter().all(|other| other.origin != said.origin) {
        return Ok(heard);
    }
    run(
        db,
        "INSERT INTO signal AS s VALUES ($1, $2, $3, $4, 1, $5)
         ON CONFLICT (component, origin) DO UPDATE SET trusted = excluded.trusted, at = greatest(s.at, excluded.at),
           text = excluded.text, count = CASE WHEN s.at < $6 THEN 1 ELSE s.count + 1 END",
        values![&said.component, &said.origin, said.trusted, said.at.0, &said.text, since.0],
    )
    .await?;
    of(db, &said.component, since).await
}

/// Forgets what an origin said of a component.
pub async fn silence(db: &Db, component: &str, origin: &str) -> Result<()> {
    run(db, "DELETE FROM signal WHERE component = $1 AND origin = $2", values![component, origin]).await.map(drop)
}

async fn of(db: &Db, component: &str, since: Time) -> Result<Vec<Signal>> {
    let sql = format!("{SIGNAL} WHERE component = $1 AND at >= $2 ORDER BY at DESC, origin LIMIT $3");
    all(db, &sql, values![component, since.0, ORIGINS as i64], read).await
}

/// What was said since then, the latest first.
pub async fn list(db: &Db, since: Time, limit: usize) -> Result<Vec<Signal>> {
    let sql = format!("{SIGNAL} WHERE at >= $1 ORDER BY at DESC, component, origin LIMIT $2");
    all(db, &sql, values![since.0, limit as i64], read).await
}

fn read(row: &Row) -> Result<Signal> {
    Ok(Signal {
        component: row.get(0)?,
        origin: row.get(1)?,
        trusted: row.get(2)?,
        at: Time(row.get(3)?),
        count: row.get(4)?,
        text: row.get(5)?,
    })
}
