//! Rows of deliveries that are new, as all are in the good case: by COPY, which neither looks for a row that might be there nor takes
//! arrays apart, and logs a page of rows at once.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::connection::Db;
use super::value::{Value, values};
use crate::store::{Fact, Result};

/// Fewer are not worth the way to the server and back.
pub const FEW: usize = 32;

const INTO: &str = "COPY delivery (broadcast, subscriber, place, state, channel, began, ended, tries, detail, ref, priority, lane, due,
  entered) FROM STDIN (FORMAT binary)";
const TYPES: [Type; 14] = [
    Type::INT8,
    Type::INT8,
    Type::INT4,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::TEXT,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::INT8,
];

/// Fails, as where somebody else was in the way, if one of them is there.
pub async fn write(db: &Db, facts: &[&Fact]) -> Result<()> {
    let mut writer = pin!(BinaryCopyInWriter::new(db.copy_in(INTO).await?, &TYPES));
    for fact in facts {
        let written = writer.as_mut().write_raw(row(fact)).await;
        written.map_err(|error| db.failed(error))?;
    }
    writer.as_mut().finish().await.map_err(|error| db.failed(error)).map(drop)
}

fn row<'a>(fact: &'a Fact) -> Vec<Value<'a>> {
    values![
        fact.delivery.broadcast.0,
        fact.delivery.subscriber.0,
        i64::from(fact.delivery.place),
        fact.state as i64,
        i64::from(fact.channel.0),
        fact.began.0,
        fact.ended.0,
        i64::from(fact.tries),
        fact.detail.as_deref(),
        fact.reference.as_deref(),
        i64::from(fact.priority.rank()),
        i64::from(fact.lane.0),
        fact.due.0,
        fact.entered.unwrap_or(0)
    ]
}
