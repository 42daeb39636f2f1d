//! Tables of a file, row by row: out of it in pages, and into a new one. What a file is made of in this way is in nobody's use until
//! it has its name.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use url::Url;

use super::file::migrate;
use super::rows::{all, first};
use super::writer::failed;
use crate::store::carried::{
    BYTES, Cell, Counters, Doing, IDS, Kind, Page, ROWS, Step, Sum, Summed, TABLES, Table, Watch, clean, numbered,
};
use crate::store::{Result, StoreError};

/// A connection to a file that nobody writes: it takes no lock, and leaves no file beside it.
pub fn still(path: &Path) -> Result<Connection> {
    let wrong = |why: String| StoreError::Failed(format!("{}: {why}", path.display()));
    let whole = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    let mut url = Url::from_file_path(whole).map_err(|()| wrong("is no path".into()))?;
    url.set_query(Some("immutable=1"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(url.as_str(), flags).map_err(|error| wrong(error.to_string()))
}

/// What was read of a table.
pub struct Read {
    pub sum: Sum,
    /// Texts that neither store keeps as they were: see `clean`.
    pub mended: u64,
}

/// All rows of a table, in pages, in the order of its key.
pub fn read(db: &Connection, table: &Table, mut take: impl FnMut(Page, u64) -> Result<()>) -> Result<Read> {
    let wrong = |error: rusqlite::Error| StoreError::Failed(format!("{}: {error}", table.name));
    let mut statement = db.prepare(&table.select()).map_err(wrong)?;
    let mut rows = statement.query([]).map_err(wrong)?;
    let width = table.columns.len();
    let mut read = Read { sum: Sum::default(), mended: 0 };
    let (mut page, mut bytes) = (Page::new(), 0);
    while let Some(row) = rows.next().map_err(wrong)? {
        for (at, (name, kind)) in table.columns.iter().enumerate() {
            let cell = cell(row.get_ref(at).map_err(wrong)?, *kind, &mut read.mended).ok_or_else(|| {
                StoreError::Failed(format!("{}: row {} does not read in {name}", table.name, read.sum.rows + 1))
            })?;
            bytes += cell.bytes();
            page.push(cell);
        }
        read.sum.add(&page[page.len() - width..]);
        if page.len() >= ROWS * width || bytes >= BYTES {
            take(std::mem::take(&mut page), read.sum.rows)?;
            bytes = 0;
        }
    }
    take(page, read.sum.rows)?;
    Ok(read)
}

fn cell(value: ValueRef<'_>, kind: Kind, mended: &mut u64) -> Option<Cell> {
    Some(match (value, kind) {
        (ValueRef::Null, _) => Cell::Null,
        (ValueRef::Integer(n), Kind::Number) => Cell::Number(n),
        (ValueRef::Integer(n @ (0 | 1)), Kind::Flag) => Cell::Number(n),
        (ValueRef::Text(text), Kind::Text) => {
            let (text, changed) = clean(text);
            *mended += u64::from(changed);
            Cell::Text(text)
        }
        (ValueRef::Blob(bytes), Kind::Bytes) => Cell::Bytes(bytes.to_vec()),
        _ => return None,
    })
}

/// Every table as it is.
pub fn sums(db: &Connection, watch: &Watch) -> Result<Vec<Summed>> {
    let sum = |table: &Table| {
        let of_page = |_: Page, rows| {
            watch(Step { doing: Doing::Checks, table: table.name, rows });
            Ok(())
        };
        Ok(read(db, table, of_page)?.sum.of(table))
    };
    TABLES.iter().map(sum).collect()
}

/// Broadcasts that have recipients, found without reading these.
pub fn broadcasts(db: &Connection) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    for table in ["manifest", "delivery", "attempt"] {
        let sql = format!("SELECT min(broadcast) FROM {table} WHERE broadcast > ?1");
        let mut after = i64::MIN;
        while let Some(id) = first(db, &sql, [after], |row| row.get::<_, Option<i64>>(0))?.flatten() {
            found.insert(id);
            after = id;
        }
    }
    Ok(found.into_iter().chain(all(db, "SELECT id FROM broadcast", [], |row| row.get(0))?).collect())
}

pub fn counters(db: &Connection) -> Result<Counters> {
    let mut counters = Counters { next: [1; IDS.len()], epoch: 0 };
    for (kind, next) in
        all(db, "SELECT kind, next FROM id_block", [], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?
    {
        counters.next[numbered(&kind)?] = next;
    }
    let epoch = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'epoch'";
    counters.epoch = first(db, epoch, [], |row| row.get(0))?.unwrap_or(0);
    Ok(counters)
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Cell::Null => ValueRef::Null,
            Cell::Number(n) => ValueRef::Integer(*n),
            Cell::Text(text) => ValueRef::Text(text.as_bytes()),
            Cell::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A new file, while it is filled. Nothing of it is synced before its end.
pub struct Filling {
    db: Connection,
    /// Made after the rows: an index that is filled in another order than its own is written all over.
    indexes: Vec<String>,
}

impl Filling {
    /// In an empty file.
    pub fn begin(path: &Path) -> Result<Filling> {
        let db = Connection::open(path).map_err(failed)?;
        db.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
             PRAGMA locking_mode = EXCLUSIVE;",
        )
        .map_err(failed)?;
        migrate(&db)?;
        let made = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL ORDER BY name";
        let made: Vec<(String, String)> = all(&db, made, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for (name, _) in &made {
            db.execute_batch(&format!("DROP INDEX \"{name}\"")).map_err(failed)?;
        }
        db.execute_batch("BEGIN").map_err(failed)?;
        Ok(Filling { db, indexes: made.into_iter().map(|(_, sql)| sql).collect() })
    }

    pub fn rows(&self, table: &Table, page: &[Cell]) -> Result<()> {
        let places = vec!["?"; table.columns.len()].join(", ");
        let sql = format!("INSERT INTO \"{}\" ({}) VALUES ({places})", table.name, table.names(table.columns.len()));
        let wrong = |error: rusqlite::Error| StoreError::Failed(format!("{}: {error}", table.name));
        let mut insert = self.db.prepare_cached(&sql).map_err(wrong)?;
        for row in page.chunks(table.columns.len()) {
            insert.execute(rusqlite::params_from_iter(row)).map_err(wrong)?;
        }
        Ok(())
    }

    /// Answers what is in it, read again.
    pub fn end(self, counters: &Counters, watch: &Watch) -> Result<Vec<Summed>> {
        let db = &self.db;
        for (kind, next) in IDS.iter().zip(counters.next).filter(|(_, next)| *next > 1) {
            db.execute("INSERT INTO id_block VALUES (?1, ?2)", (kind, next)).map_err(failed)?;
        }
        if counters.epoch > 0 {
            let epoch = counters.epoch.to_string();
            db.execute("INSERT INTO meta VALUES ('epoch', ?1)", [epoch]).map_err(failed)?;
        }
        for (rows, sql) in (1..).zip(&self.indexes) {
            watch(Step { doing: Doing::Indexes, table: "", rows });
            db.execute_batch(sql).map_err(failed)?;
        }
        db.execute_batch("COMMIT").map_err(failed)?;
        let sums = sums(db, watch)?;
        self.db.close().map_err(|(_, error)| failed(error))?;
        Ok(sums)
    }
}
