//! The connection that writes, and the ids reserved on it. What is drawn with every event takes its id from memory; the store is
//! asked once for a block of them. Whatever is undone may have undone the reservation, too, so that the ids in memory are given up
//! then: ids may be skipped, by that or by a crash, but none is given twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, Range};

use rusqlite::Connection;

use super::rows::next_ids;
use crate::store::{Result, StoreError};

/// Ids that are reserved at one time.
const BLOCK: i64 = 256;

pub struct Writing {
    connection: Connection,
    reserved: RefCell<BTreeMap<&'static str, Range<i64>>>,
}

impl Writing {
    pub fn new(connection: Connection) -> Writing {
        Writing { connection, reserved: RefCell::default() }
    }

    /// The next id of a kind, larger than all before it.
    pub fn next_id(&self, kind: &'static str) -> Result<i64> {
        let mut reserved = self.reserved.borrow_mut();
        let block = reserved.entry(kind).or_default();
        if block.is_empty() {
            *block = next_ids(&self.connection, kind, BLOCK)?;
        }
        block.next().ok_or_else(|| StoreError::Failed("id_block gave no id".into()))
    }

    /// To be called where a transaction, or a part of one, was undone.
    pub fn undone(&self) {
        self.reserved.borrow_mut().clear();
    }
}

impl Deref for Writing {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use super::*;

    #[tokio::test]
    async fn no_id_is_given_twice_whatever_is_undone_and_however_often_the_store_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut last = 0;
        for _ in 0..3 {
            let store = Sqlite::inline(&folder.path().join("store.db")).expect("opens");
            // The first of the jobs that share a transaction reserves, and fails: what it reserved is undone with it.
            let fails = store.write(|db| {
                db.next_id("broadcast")?;
                Err::<(), _>(StoreError::Failed("it can't".into()))
            });
            let (failed, next) = tokio::join!(fails, store.write(|db| db.next_id("broadcast")));
            assert!(failed.is_err());
            let mut given = vec![next.expect("an id")];
            for _ in 0..=BLOCK {
                given.push(store.write(|db| db.next_id("broadcast")).await.expect("an id"));
            }
            for id in given {
                assert!(id > last, "{id} after {last}");
                last = id;
            }
        }
        assert!(last <= 3 * 3 * BLOCK, "blocks are used up before the next is reserved: {last}");
    }
}
