//! People to tell: as a file for the import command, or written straight into a store where millions are needed. What is
//! written straight is read back through the store before anything is measured.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use loudhailer::store::pack::Packer;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Store, StoreError};
use ring::hmac;
use rusqlite::{Connection, params};

use super::SECRET;
use super::sink::Sink;

/// How people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Webhook,
    Mail,
}

/// A file of subscribers, each with an address and a name of their own.
pub fn file(by: By, count: u64, sink: &Sink) -> String {
    let mut text = String::from("key,name,audiences,url,url_secret,email\n");
    for n in 0..count {
        let _ = match by {
            By::Webhook => {
                let host = host(&sink.hooks, n);
                writeln!(text, "s{n},Person {n},businesses,http://{host}/s{n},{SECRET},")
            }
            By::Mail => writeln!(text, "s{n},Person {n},businesses,,,s{n}@example.org"),
        };
    }
    text
}

/// Mixed, so that no page has one host alone.
fn host(places: &[String], n: u64) -> &str {
    &places[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % places.len()]
}

/// Members of one audience, reached by webhook.
pub struct Group<'a> {
    pub audience: &'a str,
    pub count: u64,
    pub places: &'a [String],
}

const SHARDS: u64 = 64;

/// Writes a store of these people. Nothing is synced meanwhile: it is thrown away if this fails.
pub fn write(path: &Path, groups: &[Group<'_>]) -> anyhow::Result<()> {
    drop(Sqlite::own(path, 64)?); // the schema, and the key
    let mut db = Connection::open(path)?;
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;")?;
    let key: String = db.query_row("SELECT value FROM meta WHERE name = 'key'", [], |row| row.get(0))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &base64::engine::general_purpose::STANDARD.decode(key)?);
    let mut first = 1u64; // numbers go on from group to group
    let mut blinds: Vec<([u8; 16], i64)> = Vec::new();
    for (n, group) in groups.iter().enumerate() {
        let audience = n as i64 + 1;
        let shards = (0..SHARDS.min(group.count)).fold(0u64, |mask, n| mask | 1 << ((first + n) % SHARDS));
        db.execute("INSERT INTO audience VALUES (?1, ?2, ?3)", params![audience, group.audience, shards as i64])?;
        let transaction = db.transaction()?;
        {
            let mut subscriber =
                transaction.prepare("INSERT INTO subscriber VALUES (?1, 1, ?2, 0, ?3, 'en', 'UTC', -1, 0, ?4, ?5)")?;
            let mut member = transaction.prepare("INSERT INTO member VALUES (?1, ?2, 0)")?;
            let mut interests = Packer::default();
            interests.texts([group.audience.to_string()].iter());
            interests.texts([].iter());
            interests.texts([].iter());
            // In the order of ids, and of keys: every page of every tree is written once.
            for shard in 0..SHARDS {
                let from = first + (shard + SHARDS - first % SHARDS) % SHARDS;
                for number in (from..first + group.count).step_by(SHARDS as usize) {
                    let id = (shard << 48 | number) as i64;
                    let url = format!("http://{}/s{number}", host(group.places, number));
                    let addresses = address(&url);
                    subscriber.execute(params![
                        id,
                        key_of(shard, number),
                        format!("Person {number}"),
                        interests.0,
                        addresses
                    ])?;
                    member.execute(params![audience, id])?;
                    let tag = hmac::sign(&key, format!("url:{url}").as_bytes());
                    blinds.push((tag.as_ref()[..16].try_into()?, id));
                }
            }
        }
        transaction.commit()?;
        first += group.count;
    }
    blinds.sort_unstable();
    let transaction = db.transaction()?;
    {
        let mut address = transaction.prepare("INSERT INTO address VALUES (?1, ?2, 1)")?;
        for (blind, id) in &blinds {
            address.execute(params![blind, id])?;
        }
    }
    transaction.execute("INSERT INTO id_block VALUES ('subscriber', ?1)", [first as i64])?;
    transaction.execute("INSERT INTO id_block VALUES ('audience', ?1)", [groups.len() as i64 + 1])?;
    transaction.commit()?;
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    drop(db);
    std::fs::File::open(path)?.sync_all()?;
    read_back(path, groups)
}

fn key_of(shard: u64, number: u64) -> String {
    format!("s{shard:02}{number:09}")
}

/// One verified webhook with a secret, as the store packs it.
fn address(url: &str) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.number(2); // the next place
    packer.number(1);
    packer.text("url");
    packer.number(1); // verified
    packer.number(0);
    packer.text(url);
    packer.texts([SECRET.to_string()].iter());
    packer.0
}

/// What was written is what the store would have written.
fn read_back(path: &Path, groups: &[Group<'_>]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Sqlite::visit(path)?;
        let mut counts = store.audiences().await?;
        let mut expected: Vec<_> =
            groups.iter().map(|group| (group.audience.to_string(), group.count as i64)).collect();
        counts.sort();
        expected.sort();
        ensure!(counts == expected, "written {counts:?}");
        let mut number = 1;
        for group in groups {
            let shard = number % SHARDS;
            let known = store.subscriber_by_key(&key_of(shard, number)).await?.context("by key")?;
            let [address] = &known.addresses[..] else { anyhow::bail!("{known:?}") };
            ensure!(address.verified && address.secrets == [SECRET] && known.audiences.contains(group.audience));
            let found = store.subscriber_by_address("url", &address.value).await?;
            ensure!(found.as_ref() == Some(&known), "by address: {found:?}");
            number += group.count;
        }
        store.close().await?;
        Ok::<_, StoreError>(()).map_err(anyhow::Error::from)
    })
}
