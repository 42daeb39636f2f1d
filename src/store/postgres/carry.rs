//! Tables by COPY, out of the database and into it, in pages.

use std::pin::{Pin, pin};

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutRow, BinaryCopyOutStream};

use super::connection::Db;
use super::rows::{all, first};
use super::value::{Number, Value, values};
use crate::store::carried::{
    BYTES, Cell, Counters, Doing, IDS, Kind, Page, ROWS, Step, Sum, Summed, TABLES, Table, Watch,
};
use crate::store::{Result, StoreError};

/// One transaction may take as long as it takes, and so may a statement of it. Sorting has room, and what has no room is on disk.
pub async fn unhurried(db: &Db) -> Result<()> {
    db.batch(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL work_mem = '64MB';
         SET LOCAL maintenance_work_mem = '256MB';
         SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'",
    )
    .await
}

fn wrong(table: &Table, error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(format!("{}: {error}", table.name))
}

/// Writes rows, as they come.
pub async fn fill(db: &Db, table: &Table, mut pages: mpsc::Receiver<Page>, watch: &Watch) -> Result<()> {
    let types = db.types(&format!("{} LIMIT 0", table.select())).await?;
    let into = format!("COPY \"{}\" ({}) FROM STDIN (FORMAT binary)", table.name, table.names(table.columns.len()));
    let mut writer = pin!(BinaryCopyInWriter::new(db.copy_in(&into).await?, &types));
    let mut rows = 0;
    while let Some(page) = pages.recv().await {
        for row in page.chunks(table.columns.len()) {
            let values: Vec<_> = row.iter().zip(table.columns).map(|(cell, (_, kind))| value(*kind, cell)).collect();
            rows += 1;
            let written = writer.as_mut().write_raw(values).await;
            written.map_err(|error| wrong(table, format!("row {rows}: {}", db.failed(error))))?;
        }
        watch(Step { doing: Doing::Copies, table: table.name, rows });
    }
    writer.as_mut().finish().await.map_err(|error| wrong(table, db.failed(error))).map(drop)
}

fn value(kind: Kind, cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Null => Value::Null,
        Cell::Number(n) if kind == Kind::Flag => Value::Flag(*n != 0),
        Cell::Number(n) => Value::Number(*n),
        Cell::Text(text) => Value::from(text),
        Cell::Bytes(bytes) => Value::from(bytes),
    }
}

/// A table that is being read.
pub struct Reading<'a> {
    db: &'a Db,
    table: &'static Table,
    rows: Pin<Box<BinaryCopyOutStream>>,
    /// Of what was read so far.
    pub sum: Sum,
    /// There are no more rows, and it may not be asked again.
    ended: bool,
}

impl Reading<'_> {
    /// In the order of its key where that is asked for.
    pub async fn begin<'a>(db: &'a Db, table: &'static Table, ordered: bool) -> Result<Reading<'a>> {
        let types = db.types(&format!("{} LIMIT 0", table.select())).await?;
        let order = if ordered { format!(" ORDER BY {}", table.names(table.key)) } else { String::new() };
        let from = format!("COPY ({}{order}) TO STDOUT (FORMAT binary)", table.select());
        let rows = Box::pin(BinaryCopyOutStream::new(db.copy_out(&from).await?, &types));
        Ok(Reading { db, table, rows, sum: Sum::default(), ended: false })
    }

    /// The next rows; `None`: there are no more.
    pub async fn page(&mut self) -> Result<Option<Page>> {
        let Reading { db, table, rows, sum, ended } = self;
        let (mut page, mut bytes, before) = (Page::new(), 0, sum.rows);
        while !*ended && sum.rows < before + ROWS as u64 && bytes < BYTES {
            let Some(row) = rows.next().await else {
                *ended = true;
                break;
            };
            let row = row.map_err(|error| wrong(table, db.failed(error)))?;
            for (at, (_, kind)) in table.columns.iter().enumerate() {
                let cell = cell(&row, at, *kind).map_err(|error| wrong(table, error))?;
                bytes += cell.bytes();
                page.push(cell);
            }
            sum.add(&page[page.len() - table.columns.len()..]);
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

fn cell(row: &BinaryCopyOutRow, at: usize, kind: Kind) -> std::result::Result<Cell, tokio_postgres::Error> {
    let cell = match kind {
        Kind::Number => row.try_get::<Option<Number>>(at)?.map(|Number(n)| Cell::Number(n)),
        Kind::Flag => row.try_get::<Option<bool>>(at)?.map(|flag| Cell::Number(flag.into())),
        Kind::Text => row.try_get::<Option<String>>(at)?.map(Cell::Text),
        Kind::Bytes => row.try_get::<Option<Vec<u8>>>(at)?.map(Cell::Bytes),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

/// Every table as it is.
pub async fn sums(db: &Db, watch: &Watch) -> Result<Vec<Summed>> {
    let mut sums = Vec::with_capacity(TABLES.len());
    for table in TABLES {
        let mut reading = Reading::begin(db, table, false).await?;
        while reading.page().await?.is_some() {
            watch(Step { doing: Doing::Checks, table: table.name, rows: reading.sum.rows });
        }
        sums.push(reading.sum.of(table));
    }
    Ok(sums)
}

/// Of a sequence the next number that nobody has had.
async fn next(db: &Db, sequence: &str) -> Result<i64> {
    let sql = format!("SELECT last_value + is_called::int FROM {sequence}");
    let next = first(db, &sql, values![], |row| row.get(0)).await?;
    next.ok_or_else(|| StoreError::Failed(format!("{sequence} says nothing")))
}

/// They are no part of a snapshot: asked for in one, they are at least what its rows need.
pub async fn counters(db: &Db) -> Result<Counters> {
    let mut counters = Counters::default();
    for (kind, counter) in IDS.iter().zip(&mut counters.next) {
        *counter = next(db, &format!("{kind}_id")).await?;
    }
    counters.epoch = next(db, "epoch").await? - 1;
    Ok(counters)
}

/// Goes on counting from there, or from where it was where that is higher: a number that was used once means nothing else ever, though
/// what it was used for is no more. In a transaction, unlike `setval`.
pub async fn count_on(db: &Db, counters: &Counters) -> Result<()> {
    let there = self::counters(db).await?;
    for ((kind, next), known) in IDS.iter().zip(counters.next).zip(there.next) {
        db.batch(&format!("ALTER SEQUENCE {kind}_id RESTART WITH {}", next.max(known))).await?;
    }
    db.batch(&format!("ALTER SEQUENCE epoch RESTART WITH {}", counters.epoch.max(there.epoch) + 1)).await
}

/// Tables that are parts of others.
pub async fn partitions(db: &Db) -> Result<Vec<String>> {
    let sql = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p' AND p.relnamespace = current_schema()::regnamespace
         ORDER BY 1";
    all(db, sql, values![], |row| row.get(0)).await
}
