//! From one store to the other and back: every kind of row, what it means there, and what is refused.

use std::path::PathBuf;

use loudhailer::store::carried::{Kind, LEFT, Step, Summed, TABLES, Which};
use loudhailer::store::postgres::{Restored, Restoring};
use loudhailer::store::{Wording, WordingKey};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use super::*;

/// A column of a real schema: its type, and whether it may be NULL.
type Columns = BTreeMap<(String, String), (Kind, bool)>;

fn columns_of_sqlite(db: &Connection) -> Columns {
    let sql =
        "SELECT t.name, c.name, c.type, c.\"notnull\" OR c.pk > 0 FROM sqlite_schema t, pragma_table_info(t.name) c
         WHERE t.type = 'table'";
    let mut statement = db.prepare(sql).expect("prepares");
    let read = statement.query_map([], |row| {
        let (table, column, kind, full): (String, String, String, bool) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let kind = match &*kind {
            "INTEGER" => Kind::Number,
            "TEXT" => Kind::Text,
            "BLOB" => Kind::Bytes,
            other => panic!("{table}.{column} is {other}"),
        };
        Ok(((table, column), (kind, !full)))
    });
    read.expect("reads").collect::<rusqlite::Result<_>>().expect("reads")
}

async fn columns_of_postgres(database: &Database) -> Columns {
    let sql = "SELECT c.table_name::text, c.column_name::text, c.udt_name::text, c.is_nullable = 'YES'
         FROM information_schema.columns c JOIN pg_class t ON t.relname = c.table_name AND t.relkind IN ('r', 'p') AND NOT t.relispartition
         WHERE c.table_schema = 'public'";
    let rows = database.rows(sql).await;
    let read = rows.iter().map(|row| {
        let (table, column, kind): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let kind = match &*kind {
            "int2" | "int4" | "int8" => Kind::Number,
            "bool" => Kind::Flag,
            "text" => Kind::Text,
            "bytea" => Kind::Bytes,
            other => panic!("{table}.{column} is {other}"),
        };
        ((table, column), (kind, row.get(3)))
    });
    read.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_both_schemas_is_carried_or_left_for_a_reason() {
    let Some(database) = Database::on("postgres").await else { return };
    own(&database).await.close().await.expect("closes");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(open(&path));
    let sqlite = columns_of_sqlite(&Connection::open(&path).expect("opens"));
    let postgres = columns_of_postgres(&database).await;
    let mut carried = BTreeSet::new();
    for table in TABLES {
        for (column, kind) in table.columns {
            let at = (table.name.to_string(), column.to_string());
            let (here, there) = (sqlite.get(&at), postgres.get(&at));
            let (Some(here), Some(there)) = (here, there) else { panic!("{at:?}: {here:?} and {there:?}") };
            let in_sqlite = if *kind == Kind::Flag { Kind::Number } else { *kind };
            assert_eq!((here.0, there.0), (in_sqlite, *kind), "{at:?}");
            assert_eq!(here.1, there.1, "{at:?} may be NULL in one of them alone");
            assert!(carried.insert(at), "named twice");
        }
    }
    for (which, schema) in [(Which::Sqlite, &sqlite), (Which::Postgres, &postgres)] {
        let left: Vec<_> = LEFT.iter().filter(|left| left.store == which).collect();
        for (table, column) in schema.keys().filter(|at| !carried.contains(at)) {
            let reason = left.iter().find(|left| left.table == *table && left.column.is_none_or(|own| own == column));
            assert!(reason.is_some_and(|left| !left.why.is_empty()), "{which:?}: {table}.{column} is forgotten");
        }
        for left in left {
            let is_there = |(table, column): &&(String, String)| {
                table == left.table && left.column.is_none_or(|own| own == column)
            };
            assert!(schema.keys().any(|at| is_there(&at)), "{which:?} has no {left:?}");
        }
    }
    // The key is what a file is filled by, in order.
    let db = Connection::open(&path).expect("opens");
    for table in TABLES {
        let mut statement =
            db.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk").expect("prepares");
        let key = statement.query_map([table.name], |row| row.get::<_, String>(0)).expect("reads");
        let key: Vec<String> = key.collect::<rusqlite::Result<_>>().expect("reads");
        let named: Vec<&str> = table.columns.iter().take(table.key).map(|(name, _)| *name).collect();
        assert_eq!(key, named, "{}", table.name);
    }
}

/// What the suite leaves behind, and what else there may be.
async fn everything(store: &Sqlite, path: &Path) {
    suite(store).await;
    let staff = store.subscribers(None, Some("staff"), 10).await.expect("read");
    let people: Vec<SubscriberId> = staff.iter().map(|subscriber| subscriber.id).collect();
    let said = take(store, "lanes", at(20_000), json!({ "severity": "critical", "title": "Lanes" })).await;
    let waits = |who, entered| Fact { entered, ..fact(said.broadcasts[0], who, DeliveryState::Open) };
    let facts = vec![waits(people[0], Some(epoch_of(store))), waits(people[1], None)];
    store.record(Arc::new(facts), Vec::new()).await.expect("written");
    let token = TokenRow { name: "desk".into(), person: true, scopes: vec!["admin".into()] };
    assert!(store.access().add_token([3; 32], token, NOW).await.expect("written"));
    let broadcast = store.live().await.expect("read").pop().expect("something runs");
    let key = WordingKey {
        locale: "de".into(),
        zone: "UTC".into(),
        format: "email".parse().expect("a format"),
        markup: "plain".parse().expect("a markup"),
    };
    let wording = Wording { broadcast: broadcast.id, key, digest: [4; 32], bytes: b"words".to_vec() };
    let decided = Decided {
        subscriber: people[0],
        version: 1,
        decision: Decision::Ways(vec![Way { place: 1, channel: ChannelId(1) }], Vec::new()),
    };
    let key = ManifestKey { broadcast: broadcast.id, shard: people[0].shard(), number: 7 };
    let manifest = Manifest { key, at: NOW, epoch: epoch_of(store), decided: vec![decided], end: false };
    store.decide(vec![manifest], Vec::new(), vec![wording]).await.expect("written");
    // What stands at the edges of what columns hold, and what an older program kept.
    Connection::open(path)
        .expect("opens")
        .execute_batch(
            "INSERT INTO timer VALUES ('deadline', -9223372036854775808, 9223372036854775807, '{}');
             UPDATE audience SET shards = -1 WHERE name = 'staff';
             UPDATE subscriber SET name = 'Ünï 😀' || char(9, 10, 34, 39, 92, 8238) WHERE foreign_key = 'staff0';
             UPDATE subscriber_past SET flags = NULL, quiet = NULL, severity = NULL, interests = NULL
               WHERE (id, version) = (SELECT id, version FROM subscriber_past LIMIT 1);
             INSERT INTO receipt VALUES (65535, '', 'read', NULL, 5, '');",
        )
        .expect("written");
}

async fn into(database: &Database, file: &Path) -> Restored {
    let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
    assert!(restoring.empty);
    restoring.put(file, unwatched()).await.expect("restored")
}

async fn out_of(database: &Database, file: &Path) -> Vec<Summed> {
    let store = Postgres::visit(&database.server()).await.expect("opens");
    let tables = store.backup(file, unwatched()).await.expect("backed up");
    store.close().await.expect("closes");
    tables
}

/// All rows of a table, by nothing of ours but the names of its columns.
fn rows(db: &Connection, table: &str) -> Vec<Vec<Cell>> {
    let mut statement = db.prepare(&format!("SELECT * FROM {table}")).expect("prepares");
    let width = statement.column_count();
    let read = statement.query_map([], |row| (0..width).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Cell>>>());
    read.expect("reads").collect::<rusqlite::Result<_>>().expect("reads")
}

/// A folder in which a store with everything was backed up.
async fn backed_up() -> (tempfile::TempDir, PathBuf, Vec<Summed>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let store = open(&path);
    everything(&store, &path).await;
    let file = folder.path().join("a.backup");
    let tables = store.backup(&file, unwatched()).await.expect("backed up");
    store.close().await.expect("closes");
    (folder, file, tables)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_row_goes_to_postgres_and_back_and_is_as_it_was() {
    let Some(database) = Database::on("postgres").await else { return };
    let (folder, file, there) = backed_up().await;
    let none: Vec<_> = there.iter().filter(|table| table.rows == 0).map(|table| table.table).collect();
    assert!(none.is_empty(), "nothing is said of {none:?}");
    let restored = into(&database, &file).await;
    assert_eq!((&restored.tables, restored.mended), (&there, 0));
    let running: i64 = Connection::open(&file)
        .expect("opens")
        .query_row("SELECT count(*) FROM broadcast WHERE state < 3", [], |row| row.get(0))
        .expect("reads");
    assert_eq!(restored.live.len() as i64, running);
    for table in &there {
        let rows = database.number(&format!("SELECT count(*) FROM \"{}\"", table.table)).await;
        assert_eq!(rows as u64, table.rows, "{}", table.table);
    }

    let copy = folder.path().join("b.backup");
    assert_eq!(out_of(&database, &copy).await, there);
    let (one, other) = (Connection::open(&file).expect("opens"), Connection::open(&copy).expect("opens"));
    assert_eq!(columns_of_sqlite(&one), columns_of_sqlite(&other));
    for table in TABLES.iter().map(|table| table.name).chain(["id_block"]) {
        let mut both = [rows(&one, table), rows(&other, table)];
        both.iter_mut().for_each(|rows| rows.sort_by_key(|row| format!("{row:?}")));
        assert_eq!(both[0], both[1], "{table}");
    }
    let indexes = |db: &Connection| -> Vec<Vec<Cell>> {
        rows(db, "(SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY name)")
    };
    assert_eq!(indexes(&one), indexes(&other));

    // In a file's place it is a store that goes on.
    let path = folder.path().join("b.db");
    assert_eq!(Sqlite::restore(&copy, &path, &unwatched()).expect("restored"), there);
    let store = open(&path);
    let (before, _) = store.due_timers(at(0)).await.expect("read");
    take(&store, "goes-on", at(30_000), json!({ "severity": "critical", "title": "On" })).await;
    assert_eq!(store.due_timers(at(0)).await.expect("read").0, before);
    store.close().await.expect("closes");
}

/// What was in a lane at the moment of the backup may have been told, whichever store it goes on from.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_a_lane_as_the_backup_was_taken_may_have_been_told_in_the_other_store_too() {
    let Some(database) = Database::on("postgres").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    // Of a higher epoch than a new database would begin with.
    for _ in 0..3 {
        let earlier = open(&path);
        earlier.close().await.expect("closes");
    }
    let before = open(&path);
    let (id, people) = in_lanes(&before).await;
    let (file, epoch) = (folder.path().join("a.backup"), epoch_of(&before));
    before.backup(&file, unwatched()).await.expect("backed up");
    before.close().await.expect("closes");
    into(&database, &file).await;
    let node = own(&database).await;
    assert!(node.leases().epochs().iter().all(|own| *own > epoch), "an epoch is given a second time");
    after_a_start(&node, id, &people).await;

    // And back, from beside the node: its own shards have an epoch each.
    let in_its_lane = Fact { entered: Some(epoch_of(&node)), ..fact(id, people[1], DeliveryState::Open) };
    node.record(Arc::new(vec![in_its_lane]), Vec::new()).await.expect("written");
    let copy = folder.path().join("b.backup");
    node.backup(&copy, unwatched()).await.expect("backed up");
    let highest = node.leases().epochs().into_iter().max().expect("it owns some");
    let path = folder.path().join("b.db");
    Sqlite::restore(&copy, &path, &unwatched()).expect("restored");
    let after = open(&path);
    assert!(epoch_of(&after) > highest);
    let both: BTreeSet<SubscriberId> = [people[0], people[1]].into();
    assert_eq!(perhaps(&after, id).await, (both.clone(), both));
    node.close().await.expect("closes");
}

/// Numbers that were used mean nothing else ever, whatever the backup knows of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_numbered_since_the_backup_is_a_number_that_nobody_gets_again() {
    let Some(database) = Database::on("postgres").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let store = own(&database).await;
    person(&store, "staff0", "staff", NOW).await;
    take(&store, "1", NOW, json!({ "status": "investigating" })).await;
    let file = folder.path().join("a.backup");
    store.backup(&file, unwatched()).await.expect("backed up");
    let since = take(&store, "2", at(60), json!({ "severity": "critical", "title": "Since" })).await;
    let (epoch, end) = (epoch_of(&store), store.journal_end().await.expect("read"));
    store.close().await.expect("closes");
    let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
    assert!(!restoring.empty);
    restoring.put(&file, unwatched()).await.expect("restored");
    let store = own(&database).await;
    assert!(epoch_of(&store) > epoch);
    assert!(store.known("suite", "2", "web", None).await.expect("read").seen.is_none());
    let again = take(&store, "2", at(60), json!({ "severity": "critical", "title": "Since" })).await;
    assert!(again.broadcasts.iter().all(|id| !since.broadcasts.contains(id)), "{again:?} after {since:?}");
    assert!(store.journal_end().await.expect("read") > end, "a reader of the journal misses rows");
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_an_older_schema_is_brought_up_to_date_and_stays_as_it_is() {
    let Some(database) = Database::on("postgres").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("old.backup");
    Connection::open(&file).expect("opens").execute_batch(include_str!("../stores/1.sql")).expect("is a store");
    let before = std::fs::read(&file).expect("read");
    let restored = into(&database, &file).await;
    assert_eq!(database.number("SELECT count(*) FROM delivery WHERE state = 7 AND entered = 0").await, 4);
    let path = folder.path().join("new.db");
    assert_eq!(Sqlite::restore(&file, &path, &unwatched()).expect("restored"), restored.tables);
    assert_eq!(std::fs::read(&file).expect("read"), before);
    let beside = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(beside, 3, "the backup, the store and its lock");
}

/// Texts that PostgreSQL does not keep.
#[tokio::test(flavor = "multi_thread")]
async fn what_postgres_keeps_of_no_text_is_replaced_and_said() {
    let Some(database) = Database::on("postgres").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(open(&path));
    let db = Connection::open(&path).expect("opens");
    db.execute_batch(
        "INSERT INTO journal VALUES (1, 0, 'a' || char(0) || 'b', '{}'), (2, 0, CAST(x'c3b6ff' AS TEXT), '{}');",
    )
    .expect("written");
    db.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).expect("set");
    drop(db);
    let restored = into(&database, &path).await;
    assert_eq!(restored.mended, 2);
    let rows = database.rows("SELECT kind FROM journal ORDER BY sequence").await;
    let kinds: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(kinds, ["a\u{fffd}b", "ö\u{fffd}"]);
}

/// What is put there or not at all: a row that does not fit, in the last of the tables.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_read_to_its_end_leaves_the_store_as_it_was() {
    let Some(database) = Database::on("postgres").await else { return };
    let (folder, file, _) = backed_up().await;
    let store = own(&database).await;
    person(&store, "here-before", "staff", NOW).await;
    let id = take(&store, "1", NOW, json!({ "status": "investigating" })).await.broadcasts[0];
    store.close().await.expect("closes");
    let as_it_was = out_of(&database, &folder.path().join("before.backup")).await;
    for (wrong, says) in [
        ("UPDATE signal SET trusted = 7", "signal: row 1 does not read in trusted"),
        ("INSERT INTO attempt VALUES (1, 1, 3000000000, 1, 0, 1, 'told', NULL, NULL, NULL)", "attempt: row"),
        ("INSERT INTO id_block VALUES ('parrot', 9)", "id_block counts \"parrot\""),
    ] {
        let bad = folder.path().join("bad.backup");
        std::fs::copy(&file, &bad).expect("copied");
        Connection::open(&bad).expect("opens").execute_batch(wrong).expect("written");
        let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
        let error = restoring.put(&bad, unwatched()).await.err().expect("it does not fit").to_string();
        assert!(error.contains(says), "{error}");
        let after = folder.path().join("after.backup");
        assert_eq!(out_of(&database, &after).await, as_it_was);
        std::fs::remove_file(after).expect("removed");
    }
    let store = own(&database).await;
    assert_eq!(state(&store, id).await, BroadcastState::Running);
    store.close().await.expect("closes");
}

/// What changes, and what is to be dropped, while a backup is being taken is in it as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_postgres_is_as_all_was_at_one_moment() {
    let Some(database) = Database::on("postgres").await else { return };
    let (folder, file, there) = backed_up().await;
    into(&database, &file).await;
    let store = Postgres::visit(&database.server()).await.expect("opens");
    let (reached, mut reaches) = tokio::sync::mpsc::unbounded_channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let watch = Arc::new(move |step: Step| {
        if step.table == "meta" && reached.send(()).is_ok() {
            let waits = || wait.lock().expect("not poisoned").recv();
            let _ = tokio::task::block_in_place(waits);
        }
    });
    let copy = folder.path().join("b.backup");
    let backing_up = tokio::spawn(async move { store.backup(&copy, watch).await });
    reaches.recv().await.expect("it has begun");
    drop(reaches);
    let drops = "SET lock_timeout = '200ms'; DROP TABLE delivery_0, attempt_0, manifest_0";
    assert!(database.refuses(drops).await.contains("lock timeout"), "recipients go away while they are read");
    database.execute("DELETE FROM delivery; UPDATE progress SET told = 0; DELETE FROM token").await;
    drop(go);
    assert_eq!(backing_up.await.expect("no panic").expect("backed up"), there);
}

/// It is done when it was looked at, not when it was sent: here a database changes what is written to it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_otherwise_than_it_was_is_noticed_before_it_counts() {
    let Some(database) = Database::on("postgres").await else { return };
    let (_folder, file, _) = backed_up().await;
    own(&database).await.close().await.expect("closes");
    for (body, says) in
        [("NEW.at := NEW.at + 1; RETURN NEW", "signal is not what it was: 2 rows"), ("RETURN NULL", "and now 0 rows")]
    {
        let function =
            format!("CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$");
        database.execute(&function).await;
        database
            .execute("CREATE OR REPLACE TRIGGER meddles BEFORE INSERT ON signal FOR EACH ROW EXECUTE FUNCTION meddle()")
            .await;
        let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
        let error = restoring.put(&file, unwatched()).await.err().expect("it is noticed").to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(database.number("SELECT count(*) FROM incident").await, 0);
    }
}

/// Whoever is cut off in the middle leaves the store as it was: here the connection goes while rows are written.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_cut_off_leaves_the_store_as_it_was() {
    let Some(database) = Database::on("postgres").await else { return };
    let (folder, file, _) = backed_up().await;
    let store = own(&database).await;
    person(&store, "here-before", "staff", NOW).await;
    store.close().await.expect("closes");
    let as_it_was = out_of(&database, &folder.path().join("before.backup")).await;
    let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
    let (reached, mut reaches) = tokio::sync::mpsc::unbounded_channel();
    let watch = Arc::new(move |step: Step| {
        if step.table == "token" {
            let _ = reached.send(());
        }
    });
    let putting = tokio::spawn(async move { restoring.put(&file, watch).await.map(drop) });
    reaches.recv().await.expect("it comes to the tokens");
    putting.abort();
    assert!(putting.await.is_err_and(|error| error.is_cancelled()), "it was faster");
    assert_eq!(out_of(&database, &folder.path().join("after.backup")).await, as_it_was);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_uses_or_that_is_not_ours_takes_no_backup() {
    let Some(database) = Database::on("postgres").await else { return };
    let refused = async || match Restoring::begin(&database.server()).await {
        Ok(_) => panic!("it is taken"),
        Err(error) => error.to_string(),
    };
    let node = own(&database).await;
    let id = database.number("SELECT id FROM node").await;
    let error = refused().await;
    assert!(error.contains(&format!("nodes send from this database: {id};")), "{error}");
    // Its lease has ended, and it may come back.
    database.execute("UPDATE node SET until = 0").await;
    let error = refused().await;
    assert!(error.contains("another loudhailer is connected") || error.contains("nodes send"), "{error}");
    node.close().await.expect("closes");
    drop(node);
    let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it any more");
    // Nobody comes meanwhile.
    assert_eq!(
        database.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'").await,
        1
    );
    restoring.give_up().await.expect("ends");
    database.execute("INSERT INTO migration VALUES (99, '')").await;
    assert!(refused().await.contains("start a newer program"));
    database.execute("DROP TABLE migration").await;
    assert!(refused().await.contains("tables that are not loudhailer's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_refused_by_both_stores() {
    let Some(database) = Database::on("postgres").await else { return };
    let (folder, file, _) = backed_up().await;
    let place = |name: &str| folder.path().join(name);
    let whole = std::fs::read(&file).expect("read");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2..].fill(0x5a);
    std::fs::write(place("damaged"), &damaged).expect("written");
    std::fs::write(place("cut"), &whole[..whole.len() / 2]).expect("written");
    std::fs::write(place("text"), "nothing").expect("written");
    std::fs::write(place("empty"), "").expect("written");
    Connection::open(place("other")).expect("opens").execute_batch("CREATE TABLE t (a)").expect("made");
    std::fs::copy(&file, place("newer")).expect("copied");
    Connection::open(place("newer")).expect("opens").execute_batch("PRAGMA user_version = 99").expect("set");
    std::fs::copy(&file, place("running")).expect("copied");
    std::fs::write(place("running-wal"), "rows").expect("written");
    for (name, says) in [
        ("damaged", "damaged"),
        ("cut", "malformed"),
        ("text", "not a database"),
        ("empty", "is empty"),
        ("other", "no store of loudhailer's"),
        ("newer", "its schema is 99"),
        ("running", "a store and no backup"),
        ("nothing", "No such file"),
    ] {
        let by_file = Sqlite::restore(&place(name), &place("b.db"), &unwatched()).expect_err("refused").to_string();
        assert!(by_file.contains(says) && by_file.contains(name), "{by_file}");
        assert!(!place("b.db").exists());
        let restoring = Restoring::begin(&database.server()).await.expect("nobody uses it");
        let by_server = restoring.put(&place(name), unwatched()).await.err().expect("refused").to_string();
        assert_eq!(by_server, by_file);
    }
    // A file that is there is left alone, and nothing is left beside it.
    let store = Postgres::visit(&database.server()).await.expect("opens");
    let error = store.backup(&place("text"), unwatched()).await.expect_err("refused").to_string();
    assert!(error.contains("text"), "{error}");
    assert_eq!(std::fs::read(place("text")).expect("read"), b"nothing");
    let error = store.backup(&place("no/where"), unwatched()).await.expect_err("refused").to_string();
    assert!(error.contains("no/where"), "{error}");
    store.close().await.expect("closes");
    let parts = std::fs::read_dir(folder.path())
        .expect("a folder")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().contains(".part")));
    assert_eq!(parts.count(), 0);
}
