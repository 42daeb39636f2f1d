//! How many rows a table has, and a checksum that is the same whichever store it is in and in whatever order its rows are read: the sum
//! of the digests of all rows.

use ring::digest::{SHA256, digest};
use serde::Serialize;

use super::{Cell, Table};
use crate::store::{Result, StoreError};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    total: u128,
    row: Vec<u8>,
}

impl Sum {
    pub fn add(&mut self, row: &[Cell]) {
        self.row.clear();
        for cell in row {
            // Each with its kind and its length, so that no two different rows read alike.
            let (kind, bytes): (u8, &[u8]) = match cell {
                Cell::Null => (0, &[]),
                Cell::Number(n) => {
                    self.row.push(1);
                    self.row.extend_from_slice(&n.to_be_bytes());
                    continue;
                }
                Cell::Text(text) => (2, text.as_bytes()),
                Cell::Bytes(bytes) => (3, bytes),
            };
            self.row.push(kind);
            self.row.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            self.row.extend_from_slice(bytes);
        }
        let digest = digest(&SHA256, &self.row);
        let first = digest.as_ref().iter().take(16).fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        self.total = self.total.wrapping_add(first);
        self.rows += 1;
    }

    /// All rows of a page.
    pub fn add_page(&mut self, table: &Table, page: &[Cell]) {
        page.chunks(table.columns.len()).for_each(|row| self.add(row));
    }

    pub fn of(&self, table: &Table) -> Summed {
        Summed { table: table.name, rows: self.rows, checksum: format!("{:032x}", self.total) }
    }
}

/// A table as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summed {
    pub table: &'static str,
    pub rows: u64,
    pub checksum: String,
}

/// Whether every table came as it was.
pub fn same(from: &[Summed], to: &[Summed]) -> Result<()> {
    match from.iter().zip(to).find(|(from, to)| from != to) {
        Some((from, to)) => Err(StoreError::Failed(format!(
            "{} is not what it was: {} rows, checksum {}, and now {} rows, checksum {}",
            from.table, from.rows, from.checksum, to.rows, to.checksum
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&[Cell]]) -> String {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row));
        sum.of(&super::super::TABLES[0]).checksum
    }

    #[test]
    fn a_checksum_heeds_every_value_and_no_order() {
        let text = |text: &str| Cell::Text(text.into());
        let (one, two) = ([Cell::Number(1), text("a")], [Cell::Number(2), text("")]);
        assert_eq!(sum(&[&one, &two]), sum(&[&two, &one]));
        let others: [&[Cell]; 6] = [
            &[Cell::Number(2), text("a")],
            &[Cell::Number(1), text("b")],
            &[Cell::Number(1), Cell::Bytes(b"a".to_vec())],
            &[Cell::Number(1), Cell::Null],
            &[text("a"), Cell::Number(1)],
            &[Cell::Number(1), text("a"), text("")],
        ];
        for other in others {
            assert_ne!(sum(&[&one]), sum(&[other]), "{other:?}");
        }
        // Twice is not once, and not never.
        assert_ne!(sum(&[&one, &one]), sum(&[&one]));
        assert_ne!(sum(&[&one, &one]), sum(&[]));
        assert_ne!(sum(&[&[text("ab"), text("c")]]), sum(&[&[text("a"), text("bc")]]));
    }
}
