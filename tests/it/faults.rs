//! The real binary, its sinks in another process, and what may happen to a process: SIGKILL, SIGTERM, a disk that must be
//! waited for, that is full, that somebody else writes to; sinks that fail in every way; a calendar that is set.

mod brokers;
pub mod catcher;
mod clock;
mod cut;
mod disk;
mod flow;
mod killed;
mod mails;
mod moved;
mod nodes;
mod offered;
mod postgres;
pub mod process;
mod proxy;
mod sinks;
mod store;
mod upgraded;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use loudhailer::clock::Time;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Store, SubscriberDraft};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::catcher::{Catcher, HOSTS};
use self::process::{BINARY, Place, Process, ask, command, until};
use super::harness::{Broker, SECRET, event, number, within};
use super::peers::peer;

const RECIPIENTS: usize = 20_000;
const PRESS: usize = 3;
const KILLS: usize = 5;

/// One broadcast to everyone, and small ones beside it; a plan of the same name replaces the one that ships.
pub const PLANS: &[(&str, &str)] = &[
    (
        "outage.toml",
        "title = \"Everyone\"\n[match]\nseverity = [\"critical\"]\n[[step]]\nname = \"businesses\"\n\
         audience = \"businesses\"\nroutes = [\"webhook\", \"email\"]\npriority = \"high\"\n",
    ),
    (
        "small.toml",
        "title = \"Press\"\n[match]\nseverity = [\"minor\"]\n[[step]]\nname = \"press\"\naudience = \"press\"\n\
         routes = [\"email\"]\npriority = \"high\"\n",
    ),
];

/// Half of them by webhook, half by mail, and a few of the press.
pub fn people(catcher: &Catcher, count: usize) -> String {
    let mut text = String::from("key,audiences,url,email\n");
    for n in 0..count {
        match n % 2 {
            0 => {
                // Mixed, so that no page has one host alone.
                let host = &catcher.hooks
                    [(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40 & usize::from(HOSTS - 1)];
                text.push_str(&format!("s{n},businesses,http://{host}/s{n},\n"));
            }
            _ => text.push_str(&format!("s{n},businesses,,s{n}@example.org\n")),
        }
    }
    for n in 0..PRESS {
        text.push_str(&format!("p{n},press,,p{n}@example.net\n"));
    }
    text
}

/// The addresses of an audience, by nothing but the file.
fn addresses<'a>(file: &'a str, audience: &str) -> Vec<&'a str> {
    let rows = file.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter(|row| row[1] == audience).map(|row| if row[2].is_empty() { row[3] } else { row[2] }).collect()
}

/// Imports the file with the binary; the receivers of webhooks know their secret.
pub async fn import(place: &Place, file: &str) {
    read_in(place, file);
    let store = Sqlite::own(&place.path("loudhailer.db"), 64).expect("opens");
    sign(&store).await;
    store.close().await.expect("closes");
}

fn read_in(place: &Place, file: &str) {
    let path = place.path("people.csv");
    std::fs::write(&path, file).expect("written");
    command(place, &["import", "subscribers", "--verified"], &path);
}

/// Every webhook gets the secret, which no file of ours has.
async fn sign(store: &dyn Store) {
    let mut after = None;
    loop {
        let page = store.subscribers(after, None, 1000).await.expect("read");
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let mut drafts = Vec::new();
        for mut subscriber in page {
            for address in subscriber.addresses.iter_mut().filter(|address| address.kind == "url") {
                address.secrets = vec![SECRET.into()];
            }
            drafts.push(SubscriberDraft { id: Some(subscriber.id), subscriber });
        }
        store.upsert(drafts, now()).await.expect("written");
    }
}

fn now() -> Time {
    Time(jiff::Timestamp::now().as_millisecond())
}

pub fn happening(key: &str, severity: &str) -> Value {
    let at = now();
    let next = at.plus(Duration::from_secs(3600));
    let over = json!({ "incident": key, "severity": severity, "at": at, "started_at": at, "next_update_at": next,
        "components": [], "regions": [] });
    event(key, over)
}

/// The broadcasts of an event that was taken, or of one that had been taken before.
pub async fn send(host: &str, event: &Value) -> Option<(u16, Value)> {
    let (status, text) = ask(host, "POST", "/v1/events", &event.to_string()).await?;
    Some((status, serde_json::from_str(&text).ok()?))
}

pub fn broadcast(answer: &Value) -> String {
    let [id] = &answer["broadcasts"].as_array().expect("broadcasts")[..] else { panic!("one broadcast: {answer}") };
    id.as_str().expect("an id").to_string()
}

/// Every incident that the broker shows, by key.
async fn incidents(process: &Process) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut path = String::from("/v1/incidents?limit=100");
    loop {
        let page = process.get(&path).await.expect("an answer");
        for item in page["items"].as_array().expect("items") {
            found.insert(item["key"].as_str().expect("a key").into(), item["id"].as_str().expect("an id").into());
        }
        let Some(next) = page["next"].as_str() else { return found };
        path = format!("/v1/incidents?limit=100&after={next}");
    }
}

/// Events posted by several at once for as long as the process lives.
struct Posting {
    /// What was asked, and what was answered with 202.
    asked: Arc<Mutex<Vec<Value>>>,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Posting {
    fn begin(host: &str, life: usize) -> Posting {
        let (asked, taken) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<Vec<(String, Value)>>>::default());
        let number = Arc::new(AtomicUsize::new(0));
        let tasks = (0..3).map(|_| {
            let (asked, taken, number, host) = (asked.clone(), taken.clone(), number.clone(), host.to_string());
            tokio::spawn(async move {
                loop {
                    let key = format!("small-{life}-{}", number.fetch_add(1, Ordering::SeqCst));
                    let event = happening(&key, "minor");
                    asked.lock().expect("not poisoned").push(event.clone());
                    match send(&host, &event).await {
                        Some((202, answer)) => taken.lock().expect("not poisoned").push((key, answer)),
                        Some((503, _)) => {}
                        Some(other) => panic!("{other:?}"),
                        None => return,
                    }
                }
            })
        });
        let tasks = tasks.collect();
        Posting { asked, taken, tasks }
    }

    fn count(&self) -> usize {
        self.taken.lock().expect("not poisoned").len()
    }

    /// What was asked, and what was taken, when the process was gone.
    async fn end(self) -> (Vec<Value>, Vec<(String, Value)>) {
        for task in self.tasks {
            task.await.expect("no panic");
        }
        let take = self.asked.lock().expect("not poisoned").clone();
        let taken = self.taken.lock().expect("not poisoned").clone();
        (take, taken)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_lose_nothing_and_repeat_at_most_what_was_open() {
    let seed = number("FAULTS_SEED").unwrap_or(1);
    let mut chance = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::from_millis(5)).await;
    let place = Place::new(&catcher.mail, PLANS);
    let file = people(&catcher, RECIPIENTS);
    import(&place, &file).await;

    let mut process = Process::serve(&place);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    let everyone = broadcast(&answer);
    let during_ingest: BTreeSet<usize> = {
        let mut kills: Vec<usize> = (0..KILLS).collect();
        chance.shuffle(&mut kills);
        kills[..2].iter().copied().collect()
    };
    let mut open_at_kills = 0;
    let mut asked = Vec::new();
    let mut taken = vec![("main".to_string(), answer)];
    let mut goal = 0;
    for kill in 0..KILLS {
        // Few enough that webhooks, which are the faster, are still being sent at the last kill.
        goal += chance.u64(1000..1800);
        until("so many had come", async || (catcher.seen().await >= goal).then_some(())).await;
        let posting = during_ingest.contains(&kill).then(|| Posting::begin(&process.host, kill));
        catcher.hold().await;
        if let Some(posting) = &posting {
            until("events were taken", async || (posting.count() >= 20).then_some(())).await;
        }
        // Nothing is answered any more: soon no attempt begins or ends.
        let mut last = (0, 0);
        let open = until("at least 100 attempts were open", async || {
            let now = (catcher.open().await, process.on_wire().await?);
            let before = std::mem::replace(&mut last, now);
            (before == now && now.0 >= 100 && now.1 >= 100).then_some(now.1)
        })
        .await;
        // The store writes in order: when this is answered, the outcomes from before are written.
        let barrier = happening(&format!("barrier-{kill}"), "info");
        let (status, answer) = send(&process.host, &barrier).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
        taken.push((format!("barrier-{kill}"), answer));
        process.kill();
        open_at_kills += open;
        if let Some(posting) = posting {
            let (all, answered) = posting.end().await;
            assert!(answered.len() >= 20 && all.len() > answered.len(), "the kill came during ingest");
            asked.extend(all);
            taken.extend(answered);
        }
        process = Process::serve(&place);
        let found = incidents(&process).await;
        for (key, answer) in &taken {
            assert_eq!(found.get(key).map(String::as_str), answer["incident"].as_str(), "{key} after kill {kill}");
        }
        // Only now: reading them takes longer than sending all that is left.
        catcher.go().await;
    }

    // Whoever had no answer asks again. Who had one gets the same.
    let mut expected: BTreeSet<(String, String)> =
        addresses(&file, "businesses").into_iter().map(|to| (to.to_string(), everyone.clone())).collect();
    assert_eq!(expected.len(), RECIPIENTS);
    let taken: BTreeMap<String, Value> = taken.into_iter().collect();
    for event in &asked {
        let (status, answer) =
            until("it was answered", async || send(&process.host, event).await.filter(|(status, _)| *status != 503))
                .await;
        assert!(matches!(status, 200 | 202), "{answer}");
        let key = event["incident"].as_str().expect("a key");
        if let Some(before) = taken.get(key) {
            assert_eq!(before["broadcasts"], answer["broadcasts"], "{key}");
        }
        let to = addresses(&file, "press").into_iter();
        expected.extend(to.map(|to| (to.to_string(), broadcast(&answer))));
    }
    until("all was sent", async || {
        let running = process.get("/v1/broadcasts?state=running").await?;
        running["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let mut ids: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let caught = catcher.caught();
    for (to, id) in &caught {
        let of = id.strip_prefix("dlv_").and_then(|id| id.split('_').next()).unwrap_or_default();
        ids.entry((to.clone(), format!("brd_{of}"))).or_default().insert(id.clone());
    }
    let found: BTreeSet<(String, String)> = ids.keys().cloned().collect();
    let lost: Vec<_> = expected.difference(&found).take(5).collect();
    let strange: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(lost.is_empty() && strange.is_empty(), "seed {seed}: lost {lost:?}, strange {strange:?}");
    let renamed: Vec<_> = ids.iter().filter(|(_, ids)| ids.len() > 1).take(5).collect();
    assert!(renamed.is_empty(), "seed {seed}: sent again under another id: {renamed:?}");
    let duplicates = (caught.len() - found.len()) as u64;
    assert!(duplicates > 0, "the kills hit nothing");
    assert!(duplicates <= open_at_kills, "seed {seed}: {duplicates} duplicates, and {open_at_kills} were open");
}

/// What comes next on a connection after `text` was sent on it; empty: its end.
async fn said(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("written");
    let mut bytes = vec![0; 8192];
    let read = within("answers", stream.read(&mut bytes)).await.expect("read");
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_taking_and_lets_open_attempts_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    import(&place, &people(&catcher, 2_000)).await;
    let mut process = Process::serve(&place);
    catcher.hold().await;
    assert_eq!(send(&process.host, &happening("main", "critical")).await.expect("an answer").0, 202);
    until("at least 100 attempts were open", async || (catcher.open().await >= 100).then_some(())).await;
    let mut idle = TcpStream::connect(&process.host).await.expect("connects");
    assert!(said(&mut idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let late = happening("late", "info").to_string();
    let head = format!("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {}", late.len());
    let mut under_way = TcpStream::connect(&process.host).await.expect("connects");
    let expecting = format!("POST /v1/events HTTP/1.1\r\n{head}\r\nExpect: 100-continue\r\n\r\n");
    assert!(said(&mut under_way, &expecting).await.starts_with("HTTP/1.1 100"));
    let since = Instant::now();
    process.terminate();
    // From now on a connection is refused, not left to hang: whoever asks can ask another node at once.
    until("connections are refused", async || match TcpStream::connect(&process.host).await {
        Ok(_) => None,
        Err(error) => (error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(()),
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(2), "refused after {:?}", since.elapsed());
    // A connection that waits for its next request ends. What is under way is answered, and its connection ends with it.
    assert_eq!(said(&mut idle, "").await, "");
    let answer = said(&mut under_way, &late).await;
    assert!(answer.starts_with("HTTP/1.1 202") && answer.to_lowercase().contains("connection: close"), "{answer}");
    assert_eq!(said(&mut under_way, "").await, "");
    let came = catcher.seen().await;
    catcher.go().await;
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
    // What was open has ended and is written: a later life sends the others, and none of these again.
    let first: BTreeSet<(String, String)> = catcher.caught().into_iter().collect();
    assert!(first.len() >= 100 && came >= 100, "{came}");
    let mut process = Process::serve(&place);
    assert!(incidents(&process).await.contains_key("late"), "it was answered with 202");
    until("all was sent", async || (catcher.seen().await >= 2_000).then_some(())).await;
    until("all has ended", async || {
        let running = process.get("/v1/broadcasts?state=running").await?;
        running["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    let mut again = catcher.caught();
    for one in catcher.caught().into_iter().collect::<BTreeSet<_>>() {
        let at = again.iter().position(|other| *other == one).expect("it is there");
        again.swap_remove(at);
    }
    assert_eq!(catcher.caught().len() - again.len(), 2_000);
    if let Some((_, id)) = again.first() {
        let delivery = process.get(&format!("/v1/deliveries/{id}")).await;
        panic!("{} were sent again, such as {:?}: {delivery:?}", again.len(), &again[..again.len().min(6)]);
    }
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_between_an_event_and_its_answer() {
    let Some(strace) = peer("strace") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let catcher = Catcher::start(folder.path(), Duration::ZERO).await;
    let place = Place::new(&catcher.mail, PLANS);
    let trace = place.path("trace");
    let mut command = std::process::Command::new(strace);
    let calls = "trace=fsync,fdatasync,pwrite64,read,recvfrom,write,writev,sendto,sendmsg";
    // -D: the broker is our child, and strace is its.
    command.args(["-D", "-f", "-y", "-s", "256", "-e", calls, "-o"]).arg(&trace).arg(BINARY);
    let mut process = Process::start(command, &place);
    until("it is ready", async || process.get("/readyz").await).await;
    assert_eq!(send(&process.host, &happening("main", "critical")).await.expect("an answer").0, 202);
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let lines = until("the trace is whole", async || {
        let text = std::fs::read_to_string(&trace).ok()?;
        text.contains("exited with 0").then(|| text.lines().map(str::to_string).collect::<Vec<_>>())
    })
    .await;
    let from = lines.iter().position(|line| line.contains("POST /v1/events")).expect("the request is in the trace");
    let to = lines.iter().position(|line| line.contains("HTTP/1.1 202")).expect("the answer is in the trace");
    let between = &lines[from..to];
    let written = between.iter().position(|line| line.contains("pwrite64(") && line.contains("-wal>"));
    let written = written.unwrap_or_else(|| panic!("nothing was written to the log:\n{}", between.join("\n")));
    let synced = between[written..].iter().enumerate().any(|(at, line)| {
        let thread = line.split(' ').next();
        let begun = (line.contains("fsync(") || line.contains("fdatasync(")) && line.contains("-wal>");
        let later = &between[written + at..];
        let ended = line.ends_with("= 0")
            || later.iter().any(|line| {
                line.split(' ').next() == thread && line.contains("sync resumed>") && line.ends_with("= 0")
            });
        begun && ended
    });
    assert!(synced, "no sync of the log before the answer:\n{}", between.join("\n"));
}

/// A panic of a part cannot be made from outside; what follows from one can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_engine_that_panicked_ends_the_process_with_an_error() {
    let broker = Broker::start("").await;
    assert_eq!(broker.get("/readyz").await.status, 200);
    broker.app.engine.broken.cancel();
    let error = broker.ended().await.expect_err("it ends as if nothing had been");
    assert!(error.to_string().contains("a part of the engine panicked"), "{error:#}");
}
