//! SIGKILL at random moments, with nothing held still for it: what the sinks saw, against what was on disk at each moment.
//!
//! `FAULTS_RECIPIENTS` and `FAULTS_KILLS` change how many, `FAULTS_SEED` which moments.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use loudhailer::app::installation_key;
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::store::sqlite::Sqlite;
use ring::hmac;

use super::catcher::Catcher;
use super::process::{Place, Process, until};
use super::{PLANS, addresses, broadcast, happening, import, people, send};
use crate::harness::number;

/// What the sinks have seen: each id as often as it came, and to which addresses.
#[derive(Default)]
struct Seen {
    read: usize,
    ids: HashMap<DeliveryId, (u32, BTreeSet<String>)>,
}

impl Seen {
    /// Reads on in the record.
    fn read(&mut self, catcher: &Catcher, key: &hmac::Key) {
        let caught = catcher.caught_from(self.read);
        self.read += caught.len();
        for (to, id) in caught {
            let id = DeliveryId::read(&id, key).unwrap_or_else(|error| panic!("to {to}: {error}"));
            let (count, addresses) = self.ids.entry(id).or_default();
            *count += 1;
            addresses.insert(to);
        }
    }
}

/// The deliveries whose outcome is on disk, as a new start would find it.
fn recorded(store: &Path) -> Vec<DeliveryId> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let file = rusqlite::Connection::open_with_flags(store, flags).expect("opens");
    let mut statement =
        file.prepare("SELECT broadcast, subscriber, place FROM delivery WHERE state = 7").expect("a query");
    let read = |row: &rusqlite::Row<'_>| {
        let (broadcast, subscriber) = (BroadcastId(row.get(0)?), SubscriberId(row.get(1)?));
        Ok(DeliveryId { broadcast, subscriber, place: row.get(2)? })
    };
    statement.query_map([], read).expect("rows").collect::<Result<_, _>>().expect("read")
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_random_moments_lose_nobody_and_repeat_only_what_had_no_outcome_on_disk() {
    let recipients = number("FAULTS_RECIPIENTS").unwrap_or(100_000);
    let kills = number("FAULTS_KILLS").unwrap_or(20);
    let seed = number("FAULTS_SEED").unwrap_or(1);
    let mut chance = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let store = place.path("loudhailer.db");
    let file = people(&catcher, recipients as usize);
    import(&place, &file).await;
    let key = installation_key(&Sqlite::visit(&store).expect("opens")).await.expect("a key");

    let mut process = Process::serve(&place);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    let everyone: BroadcastId = broadcast(&answer).parse().expect("an id");
    let mut seen = Seen::default();
    // What was on disk at some kill, and how often it had come until then.
    let mut settled: HashMap<DeliveryId, u32> = HashMap::new();
    let mut in_flight = 0;
    for kill in 0..kills {
        // So much of what is left that the last kill, too, comes while it is being sent.
        let left = recipients.saturating_sub(catcher.seen().await);
        let goal = catcher.seen().await + chance.u64(1..=(left / (kills - kill + 1)).max(1));
        until("so many had come", async || (catcher.seen().await >= goal).then_some(())).await;
        process.kill();
        // What the dead process had written to its sockets still arrives.
        catcher.drained().await;
        let on_disk = recorded(&store);
        seen.read(&catcher, &key);
        for id in &on_disk {
            let (count, _) = seen.ids.get(id).unwrap_or_else(|| panic!("seed {seed}: {id:?} is told, and never came"));
            settled.entry(*id).or_insert(*count);
        }
        let open = seen.ids.len() - on_disk.len();
        assert!(open <= 8192, "seed {seed}: {open} attempts had no outcome on disk at kill {kill}");
        in_flight += open;
        process = Process::serve(&place);
    }
    process.settled().await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    seen.read(&catcher, &key);
    let expected: BTreeSet<&str> = addresses(&file, "businesses").into_iter().collect();
    let reached: BTreeSet<&str> = seen.ids.values().flat_map(|(_, to)| to.iter().map(String::as_str)).collect();
    let lost: Vec<_> = expected.difference(&reached).take(5).collect();
    let strange: Vec<_> = reached.difference(&expected).take(5).collect();
    assert!(lost.is_empty() && strange.is_empty(), "seed {seed}: lost {lost:?}, strange {strange:?}");
    // As many ids as people: everyone heard it under one id, the first.
    assert_eq!((seen.ids.len(), expected.len()), (recipients as usize, recipients as usize), "seed {seed}");
    assert!(seen.ids.iter().all(|(id, (_, to))| id.broadcast == everyone && to.len() == 1), "seed {seed}");
    let again: Vec<_> = settled.iter().filter(|(id, count)| seen.ids[*id].0 != **count).take(5).collect();
    assert!(again.is_empty(), "seed {seed}: sent again though the outcome was on disk: {again:?}");
    let duplicates = seen.read - seen.ids.len();
    println!("{recipients} recipients, {kills} kills: 0 lost, {duplicates} duplicates of {in_flight} in flight");
    assert!(in_flight > 0, "the kills hit nothing");
    assert!(duplicates <= in_flight, "seed {seed}: {duplicates} duplicates, and {in_flight} were in flight");
}
