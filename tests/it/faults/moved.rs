//! A store moved by the commands, from a file to PostgreSQL and back, in the midst of a broadcast; what stands in their way; and a
//! large one, whose size `SUBSCRIBERS` and `DELIVERIES` say.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use super::catcher::Catcher;
use super::process::{BINARY, Place, Process, until};
use super::{PLANS, RECIPIENTS, addresses, broadcast, happening, import, number, people, send};
use crate::harness::Database;

fn run(place: &Place, arguments: &[&str]) -> Output {
    let config = place.path("loudhailer.toml");
    Command::new(BINARY).args(arguments).arg("--config").arg(config).output().expect("runs")
}

/// The tables that a command says it has copied.
fn tables(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(said["tables"].as_array().is_some_and(|tables| tables.len() > 20), "{said}");
    said["tables"].clone()
}

fn refused(output: &Output, code: i32, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && error.contains(says), "{:?}: {error}", output.status);
}

async fn came(catcher: &Catcher, share: usize) {
    let goal = (RECIPIENTS / 10 * share) as u64;
    until("so many had come", async || (catcher.seen().await >= goal).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_goes_on_from_the_other_store_where_it_stopped_in_this_and_back() {
    let Some(database) = Database::on("postgres").await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let one = Place::new(&catcher.mail, PLANS);
    let file = people(&catcher, RECIPIENTS);
    import(&one, &file).await;
    let backup = |name: &str| folder.path().join(name).display().to_string();

    // From a file, on one machine.
    let mut process = Process::serve(&one);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    let id = broadcast(&answer);
    came(&catcher, 3).await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let stopped_at = catcher.caught().len();
    let there = tables(&run(&one, &["backup", &backup("one"), "--json"]));

    // Into PostgreSQL, for many.
    let many = Place::new(&catcher.mail, PLANS).with_store(&database.url(), database.password());
    let restored = run(&many, &["restore", &backup("one"), "--json"]);
    assert_eq!(tables(&restored), there);
    let said: Value = serde_json::from_slice(&restored.stdout).expect("JSON");
    assert_eq!(said["goes_on"][0]["broadcast"], *id, "{said}");
    refused(&run(&many, &["restore", &backup("one")]), 2, "--force puts the backup in its place");
    let process = Process::serve(&many);
    came(&catcher, 6).await;
    refused(&run(&many, &["restore", &backup("one"), "--force"]), 1, "nodes send from this database");
    tables(&run(&many, &["backup", &backup("beside"), "--json"]));
    process.kill();
    catcher.drained().await;
    let on_disk = database.number("SELECT count(*) FROM delivery WHERE state = 7").await;
    let reached: BTreeSet<String> = catcher.caught().into_iter().map(|(to, _)| to).collect();
    let in_flight = reached.len() - on_disk as usize;
    assert!(stopped_at < reached.len() && reached.len() < RECIPIENTS, "it was not in its midst");
    // What was taken beside the node is as all of it was at one moment.
    let beside = Connection::open(folder.path().join("beside")).expect("opens");
    let count = |sql: &str| beside.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("reads");
    let rows = count("SELECT count(*) FROM delivery WHERE state = 7");
    assert_eq!(count("SELECT sum(told) FROM progress"), rows);
    assert!(rows >= stopped_at as i64 && rows <= on_disk);

    // And back.
    let there = tables(&run(&many, &["backup", &backup("many"), "--json"]));
    let last = Place::new(&catcher.mail, PLANS);
    assert_eq!(tables(&run(&last, &["restore", &backup("many"), "--json"])), there);
    let mut process = Process::serve(&last);
    process.settled().await;
    let shown = process.get(&format!("/v1/broadcasts/{id}")).await.expect("it is there");
    assert_eq!(shown["counts"]["told"], RECIPIENTS, "{shown}");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let expected = addresses(&file, "businesses").into_iter().map(str::to_string).collect();
    let again = catcher.each_once(&expected);
    assert!(again <= in_flight, "{again} came again, and {in_flight} were in flight");
}

/// On a disk of its own, which has no room for a backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_finds_no_room_says_so_and_leaves_nothing() {
    let Some(database) = Database::on("postgres").await else { return };
    let place = Place::new("127.0.0.1:9", PLANS);
    let large = "INSERT INTO message VALUES (x'01', zeroblob(3000000))";
    drop(loudhailer::store::sqlite::Sqlite::own(&place.path("loudhailer.db"), 64).expect("opens"));
    Connection::open(place.path("loudhailer.db")).expect("opens").execute_batch(large).expect("written");
    let file = place.path("a.backup").display().to_string();
    let there = tables(&run(&place, &["backup", &file, "--json"]));
    let many = Place::new("127.0.0.1:9", PLANS).with_store(&database.url(), database.password());
    assert_eq!(tables(&run(&many, &["restore", &file, "--json"])), there);
    for place in [&place, &many] {
        let disk = place.path("disk");
        std::fs::create_dir(&disk).expect("a folder");
        let script = "mount -t tmpfs -o size=1m none \"$0\" || exit 77; \"$@\"; code=$?; ls -A \"$0\"; exit $code";
        let output = Command::new("unshare")
            .args(["--map-root-user", "--mount", "bash", "-c", script])
            .arg(&disk)
            .args([BINARY, "backup", &disk.join("a.backup").display().to_string(), "--config"])
            .arg(place.path("loudhailer.toml"))
            .output();
        let output = match output {
            Ok(output) if output.status.code() == Some(1) => output,
            other => return println!("no disk of its own for a process: {other:?}"),
        };
        refused(&output, 1, "disk is full");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "something is left");
    }
}

/// What a command needed.
struct Cost {
    took: Duration,
    peak_mib: u64,
}

/// Runs a command to its end, and looks at its memory meanwhile.
async fn measured(place: &Place, arguments: &[&str]) -> (Output, Cost) {
    let since = Instant::now();
    let mut child = Command::new(BINARY)
        .args(arguments)
        .arg("--config")
        .arg(place.path("loudhailer.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let mut patient = || {
        let peak_of = |text: String| {
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok())
        };
        peak = std::fs::read_to_string(&status).ok().and_then(peak_of).unwrap_or(0).max(peak);
        child.try_wait().expect("asked").is_some()
    };
    while !patient() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cost = Cost { took: since.elapsed(), peak_mib: peak / 1024 };
    (child.wait_with_output().expect("ended"), cost)
}

const SHARDS: u64 = 64;
const EACH: u64 = 1_000_000;

/// Writes so many people, and what they were told of, straight into a new store.
fn write_large(path: &Path, subscribers: u64, deliveries: u64) {
    drop(loudhailer::store::sqlite::Sqlite::own(path, 64).expect("opens"));
    let db = Connection::open(path).expect("opens");
    let broadcasts = deliveries.div_ceil(subscribers.min(EACH));
    let packed = "CAST(char(2, 1, 3) || 'url' || char(1, 0, length(url)) || url || char(0) AS BLOB)";
    db.execute_batch(&format!(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -262144; BEGIN;
         CREATE TEMP TABLE person AS
           WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {subscribers})
           SELECT (n % {SHARDS} << 48) + n AS id, n, 'https://hooks.example.org/subscriber/' || n AS url FROM n ORDER BY 1;
         INSERT INTO subscriber SELECT id, 1, 's' || n, 0, 'Person ' || n, 'en', 'UTC', -1, 0,
           CAST(char(1, 9) || 'customers' || char(0, 0) AS BLOB), {packed} FROM person ORDER BY id;
         INSERT INTO audience VALUES (1, 'customers', -1);
         INSERT INTO member SELECT 1, id, 0 FROM person ORDER BY id;
         INSERT INTO address SELECT randomblob(16), id, 1 FROM person;
         INSERT INTO id_block VALUES ('subscriber', {subscribers} + 1), ('audience', 2), ('incident', 2), ('broadcast', {broadcasts} + 1);
         INSERT INTO incident VALUES (1, 'large', {broadcasts}, 'real', '{{}}', {broadcasts}, 1633362660000, 1633366260000);
         INSERT INTO channel (id, name) VALUES (1, 'hooks');"
    ))
    .expect("written");
    let mut left = deliveries;
    for broadcast in 1..=broadcasts {
        let some = left.min(subscribers).min(EACH);
        left -= some;
        let at = 1_633_362_660_000 + broadcast * 60_000;
        db.execute_batch(&format!(
            "INSERT INTO broadcast VALUES ({broadcast}, 1, 'customers', {broadcast}, {broadcast}, 'plan', '{{}}', 'update', 'update', 1,
               3, '{{}}', '{{}}', {at}, {at}, {at} + 60000, {at} + 600000, x'00', '{{}}', 'code', 0, '[]');
             INSERT INTO delivery SELECT {broadcast}, id, 1, 7, 1, {at} + n / 100, {at} + n / 100 + 12, 1, NULL, 'ref-{broadcast}-' || n,
               CASE n % 3 WHEN 0 THEN 'delivered' END, 1, 1, {at}, 1 FROM person ORDER BY id LIMIT {some};
             INSERT INTO attempt SELECT broadcast, subscriber, place, began - 2000, 0, channel, 'deferred', NULL, '503 try again', NULL
               FROM delivery WHERE broadcast = {broadcast} AND began % 100 = 0;
             INSERT INTO reference SELECT channel, ref, broadcast, subscriber, place FROM delivery
               WHERE broadcast = {broadcast} AND began % 10 = 0 ORDER BY ref;
             INSERT INTO manifest SELECT {broadcast}, id >> 48, n, min(id), max(id), 1, {at}, 0, randomblob(6000)
               FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / 1000 AS n FROM (SELECT id FROM person ORDER BY id LIMIT {some}))
               GROUP BY n, id >> 48;
             INSERT INTO progress (broadcast, shard, cursor, epoch, selected, told)
               SELECT {broadcast}, subscriber >> 48, max(subscriber), 1, count(*), count(*) FROM delivery
               WHERE broadcast = {broadcast} GROUP BY 2;
             INSERT INTO journal (at, kind, body) VALUES ({at}, 'broadcast', '{{}}');"
        ))
        .expect("written");
    }
    db.execute_batch("COMMIT; DROP TABLE person").expect("written");
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_store_moves_in_little_memory_and_is_as_it_was() {
    let Some(database) = Database::on("postgres").await else { return };
    let subscribers = number("SUBSCRIBERS").unwrap_or(10_000);
    let deliveries = number("DELIVERIES").unwrap_or(100_000);
    let (one, last) = (Place::new("127.0.0.1:9", PLANS), Place::new("127.0.0.1:9", PLANS));
    let many = Place::new("127.0.0.1:9", PLANS).with_store(&database.url(), database.password());
    write_large(&one.path("loudhailer.db"), subscribers, deliveries);
    let file = |name: &str| one.path(name).display().to_string();
    let mut known = None;
    for (what, place, command, name) in [
        ("backup of SQLite", &one, "backup", "a.backup"),
        ("restore into PostgreSQL", &many, "restore", "a.backup"),
        ("backup of PostgreSQL", &many, "backup", "b.backup"),
        ("restore into SQLite", &last, "restore", "b.backup"),
    ] {
        let (output, Cost { took, peak_mib }) = measured(place, &[command, &file(name), "--json"]).await;
        let copied = tables(&output);
        let rows: u64 = copied.as_array().into_iter().flatten().filter_map(|table| table["rows"].as_u64()).sum();
        let size = std::fs::metadata(file(name)).expect("it is there").len() / 1_000_000;
        println!(
            "{what}: {rows} rows, {size} MB, {:.1} s, {:.0} rows a second, peak {peak_mib} MiB",
            took.as_secs_f64(),
            rows as f64 / took.as_secs_f64()
        );
        assert!(rows > subscribers + deliveries && peak_mib < 256, "{peak_mib} MiB");
        assert_eq!(*known.get_or_insert(copied.clone()), copied, "{what}");
    }
}
