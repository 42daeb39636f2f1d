//! Send times, given out once for all nodes by the server's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::{CLOCK, Db};
use super::rows::{all, run};
use super::value::{Row, values};
use crate::store::{Result, StoreError, Wanted};

/// A clock that was set back would leave a time that nobody comes to; it is a window or so away at most.
const FAR: i64 = 120_000_000;

/// Where nobody has sent by a limit for so long, nothing is known of it any more: its next time is one interval from when it is asked for.
const FORGOTTEN: i64 = 3_600_000_000;

/// For each that is wanted the next times by all of its limits. Whoever asks first of all for one begins one interval from now. Rows are
/// made, and locked, in the order of their names, so that two who ask for several never wait for each other.
pub async fn grant(db: &Db, wanted: &[Wanted]) -> Result<Vec<i64>> {
    let micros = |span: &Duration| i64::try_from(span.as_micros()).unwrap_or(FAR);
    let limits: BTreeMap<&str, i64> =
        wanted.iter().flat_map(|wanted| &wanted.limits).map(|(name, apart)| (name.as_str(), micros(apart))).collect();
    let names: Vec<String> = limits.keys().map(|name| name.to_string()).collect();
    let each: Vec<i64> = limits.values().copied().collect();
    let sql = format!(
        "INSERT INTO pace SELECT name, {CLOCK} + apart FROM unnest($1::text[], $2::bigint[]) AS w (name, apart)
         ORDER BY name COLLATE \"C\" ON CONFLICT DO NOTHING"
    );
    run(db, &sql, values![names.clone(), each]).await?;
    let sql = format!("SELECT name, next, {CLOCK} FROM pace WHERE name = ANY($1) ORDER BY name FOR UPDATE");
    let read = |row: &Row| Ok((row.get::<String>(0)?, (row.get::<i64>(1)?, row.get::<i64>(2)?)));
    let known: BTreeMap<String, (i64, i64)> = all(db, &sql, values![names], read).await?.into_iter().collect();
    if known.len() < limits.len() {
        return Err(StoreError::Failed("a send time was forgotten as it was asked for; it is asked for again".into()));
    }
    let now = known.values().map(|(_, now)| *now).max().unwrap_or(0);
    let mut next: BTreeMap<&str, i64> =
        known.iter().map(|(name, (next, _))| (name.as_str(), (*next).clamp(now, now + FAR))).collect();
    let mut firsts = Vec::with_capacity(wanted.len());
    for Wanted { limits: of, count } in wanted {
        let own = || of.iter().filter_map(|(name, _)| limits.get_key_value(name.as_str()));
        let first = own().filter_map(|(name, _)| next.get(name)).copied().max().unwrap_or(now);
        let slowest = own().map(|(_, apart)| *apart).max().unwrap_or(0);
        let last = first + slowest * (i64::from(*count) - 1).max(0);
        for (name, apart) in own() {
            next.insert(name, last + apart);
        }
        firsts.push(first - now);
    }
    let (names, next): (Vec<String>, Vec<i64>) = next.into_iter().map(|(name, next)| (name.to_string(), next)).unzip();
    let sql = "UPDATE pace p SET next = w.next FROM unnest($1::text[], $2::bigint[]) AS w (name, next)
         WHERE p.name = w.name";
    run(db, sql, values![names, next]).await?;
    Ok(firsts)
}

/// Deletes up to `most` rows of limits by which nobody has sent of late, such as those of hosts to which there is nothing more to send.
pub async fn forget(db: &Db, most: usize) -> Result<usize> {
    let sql = format!(
        "DELETE FROM pace WHERE name IN (SELECT name FROM pace WHERE next < {CLOCK} - $1::bigint LIMIT $2 FOR UPDATE SKIP LOCKED)"
    );
    run(db, &sql, values![FORGOTTEN, most as i64]).await
}
