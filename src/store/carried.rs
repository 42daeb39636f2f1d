//! What goes from one store to another: the tables with their columns, named once for both. Both schemas are held to this list by a
//! test (`tests/it/store/carried.rs`), so that a new column is either carried or left for a reason.

mod sum;
mod tables;

pub use self::sum::{Sum, Summed, same};
pub use self::tables::{LEFT, TABLES};
use super::{Result, StoreError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Number,
    /// A number in SQLite, 0 or 1.
    Flag,
    Text,
    Bytes,
}

#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// So many columns, the first ones, are its key.
    pub key: usize,
    pub columns: &'static [(&'static str, Kind)],
    /// The rows that are carried, where not all are.
    pub only: Option<&'static str>,
}

impl Table {
    /// Named so that both databases understand it.
    pub fn names(&self, columns: usize) -> String {
        let names = self.columns.iter().take(columns).map(|(name, _)| format!("\"{name}\""));
        names.collect::<Vec<_>>().join(", ")
    }

    pub fn select(&self) -> String {
        let only = self.only.map_or(String::new(), |only| format!(" WHERE {only}"));
        format!("SELECT {} FROM \"{}\"{only}", self.names(self.columns.len()), self.name)
    }
}

/// What is left where it is, since it is about one process, or is made anew.
#[derive(Debug)]
pub struct Left {
    pub store: Which,
    pub table: &'static str,
    /// `None`: all of it.
    pub column: Option<&'static str>,
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Cell {
    /// Of what has no fixed length.
    pub fn bytes(&self) -> usize {
        match self {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            Cell::Null | Cell::Number(_) => 0,
        }
    }
}

/// Rows of one table, one after the other.
pub type Page = Vec<Cell>;

/// A page ends with so many rows, or with so many bytes.
pub const ROWS: usize = 1000;
pub const BYTES: usize = 1 << 20;

/// How texts are where both stores keep them: without zero bytes, which PostgreSQL refuses, and with nothing that is no UTF-8, which
/// no program of ours writes. Says whether something had to be changed.
pub fn clean(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => (text.to_string(), false),
        _ => (String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}"), true),
    }
}

/// What numbers what is new, and what fences owners: kept in another way by each store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The next id of each kind, in the order of `IDS`.
    pub next: [i64; IDS.len()],
    /// The highest epoch that an owner has had.
    pub epoch: i64,
}

pub const IDS: [&str; 4] = ["incident", "broadcast", "subscriber", "audience"];

/// The place of a kind of ids.
pub fn numbered(kind: &str) -> Result<usize> {
    let place = IDS.iter().position(|known| *known == kind);
    place.ok_or_else(|| StoreError::Failed(format!("id_block counts {kind:?}, which this program does not know")))
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub doing: Doing,
    pub table: &'static str,
    /// Of this table.
    pub rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    Copies,
    Checks,
    Indexes,
}

/// Whoever wants to know how far it is; called once a page.
pub type Watch = std::sync::Arc<dyn Fn(Step) + Send + Sync>;

/// Nobody does.
pub fn unwatched() -> Watch {
    std::sync::Arc::new(|_| ())
}
