//! The schema of a database, brought to this version. Whoever starts first does it, under a lock; the others wait for that and find
//! it done. It changes tables only: an upgrade tells nobody anything.

use ring::digest::{SHA256, digest};

use super::connection::Db;
use super::lock;
use super::rows::{all, exists, run};
use super::value::values;
use crate::store::{Result, StoreError};

const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Within a transaction. What was applied is known by its digest, so that a database of another program's, or of a development
/// version's, is not taken for ours.
pub async fn migrate(db: &Db) -> Result<()> {
    lock::schema(db).await?;
    if !exists(db, "SELECT 1 FROM pg_class WHERE oid = to_regclass('migration')", values![]).await? {
        if exists(db, "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() LIMIT 1", values![]).await? {
            return Err(StoreError::Failed(
                "the database has tables that are not loudhailer's: give it a database or a schema of its own".into(),
            ));
        }
        db.batch("CREATE TABLE migration (number BIGINT PRIMARY KEY, digest BYTEA NOT NULL)").await?;
    }
    let applied =
        all(db, "SELECT digest FROM migration ORDER BY number", values![], |row| row.get::<Vec<u8>>(0)).await?;
    if applied.len() > MIGRATIONS.len() {
        return Err(StoreError::Failed(format!(
            "the store has schema {}, and this program knows {}: start a newer program",
            applied.len(),
            MIGRATIONS.len()
        )));
    }
    for (number, sql) in MIGRATIONS.iter().enumerate() {
        let own = digest(&SHA256, sql.as_bytes());
        match applied.get(number) {
            Some(known) if known[..] == *own.as_ref() => {}
            Some(_) => {
                return Err(StoreError::Failed(format!(
                    "schema {} of the store is another one than this program's",
                    number + 1
                )));
            }
            None => {
                db.batch(sql).await?;
                let sql = "INSERT INTO migration VALUES ($1, $2)";
                run(db, sql, values![number as i64 + 1, own.as_ref()]).await?;
            }
        }
    }
    Ok(())
}
