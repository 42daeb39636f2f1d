//! The sinks of the fault tests, in a process of their own: webhook receivers and a mail server. What comes in is written to
//! a file before it is answered, one line each (address, id, when), and can be held unanswered.
//!
//! The process is the test binary once more, with `CATCHER_FOLDER` set. It ends when its standard input does, so with us.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::process::{ask, until};
use crate::harness::{number, read_request, within};

/// Receivers on addresses of their own: each host gets only so many webhooks at one time.
pub const HOSTS: u8 = 16;

pub struct Catcher {
    child: Child,
    folder: PathBuf,
    pub hooks: Vec<String>,
    pub mail: String,
}

impl Catcher {
    /// Each answer takes `delay`.
    pub async fn start(folder: &Path, delay: Duration) -> Catcher {
        let child = Command::new(std::env::current_exe().expect("our own path"))
            .args(["--exact", "faults::catcher::process", "--nocapture"])
            .env("CATCHER_FOLDER", folder)
            .env("CATCHER_DELAY", delay.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        let ports = folder.join("ports");
        let ports = until("catcher listens", async || std::fs::read_to_string(&ports).ok()).await;
        let mut hooks: Vec<String> = ports.lines().map(str::to_string).collect();
        let mail = hooks.pop().expect("the mail server's address");
        Catcher { child, folder: folder.into(), hooks, mail }
    }

    async fn control(&self, what: &str) -> Value {
        let (_, text) = ask(&self.hooks[0], "GET", &format!("/control/{what}"), "").await.expect("the catcher lives");
        serde_json::from_str(&text).expect("JSON")
    }

    /// From now on nothing is answered.
    pub async fn hold(&self) {
        self.control("hold").await;
    }

    pub async fn go(&self) {
        self.control("go").await;
    }

    /// Attempts that have come and are unanswered.
    pub async fn open(&self) -> u64 {
        self.control("state").await["open"].as_u64().expect("a number")
    }

    pub async fn seen(&self) -> u64 {
        self.control("state").await["seen"].as_u64().expect("a number")
    }

    /// Waits until every connection of a process that is dead has been read to its end: what it had written to its sockets has come,
    /// and nothing more can. Nothing may be held meanwhile.
    pub async fn drained(&self) {
        // Connections are accepted in the order in which they were made: behind one of ours, none of theirs waits.
        for hook in &self.hooks {
            ask(hook, "GET", "/control/state", "").await.expect("the catcher lives");
        }
        let mail = TcpStream::connect(&self.mail).await.expect("connects");
        let greeting = within("greeted", BufReader::new(mail).lines().next_line()).await.expect("the catcher lives");
        assert!(greeting.is_some_and(|line| line.starts_with("220")), "the catcher's mail server lives");
        until("the dead process's connections have ended", async || {
            (self.control("state").await["connections"] == 0).then_some(())
        })
        .await;
    }

    /// All that came, as (address, id).
    pub fn caught(&self) -> Vec<(String, String)> {
        self.caught_from(0)
    }

    /// Each of these was reached, nobody else, and each under one id; answers how many came again.
    pub fn each_once(&self, expected: &BTreeSet<String>) -> usize {
        each_once(&self.caught(), expected)
    }

    /// What came after so many.
    pub fn caught_from(&self, after: usize) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.folder.join("caught")).expect("the record");
        let lines = text.lines().skip(after).map(|line| line.split('\t').map(str::to_string));
        lines.filter_map(|mut line| Some((line.next()?, line.next()?))).collect()
    }

    /// When each webhook came, in milliseconds.
    pub fn hooked_at(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(self.folder.join("caught")).expect("the record");
        let hooks = text.lines().filter(|line| line.starts_with("http"));
        hooks.filter_map(|line| line.rsplit('\t').next()?.parse().ok()).collect()
    }
}

/// Each of these was reached, nobody else, and each under one id; answers how many came again.
pub fn each_once(caught: &[(String, String)], expected: &BTreeSet<String>) -> usize {
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (to, id) in caught {
        ids.entry(to).or_default().insert(id);
    }
    let reached: BTreeSet<String> = ids.keys().map(|to| to.to_string()).collect();
    let lost: Vec<_> = expected.difference(&reached).take(5).collect();
    assert!(lost.is_empty() && reached.len() == expected.len(), "lost {lost:?}");
    assert!(ids.values().all(|ids| ids.len() == 1), "somebody was told under two ids");
    caught.len() - ids.len()
}

impl Drop for Catcher {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct Shared {
    record: Mutex<File>,
    connections: AtomicUsize,
    open: AtomicUsize,
    seen: AtomicUsize,
    held: watch::Sender<bool>,
    delay: Duration,
    began: Instant,
}

impl Shared {
    /// Writes down what came and waits until it may be answered.
    async fn take(&self, to: &str, id: &str) {
        let line = format!("{to}\t{id}\t{}\n", self.began.elapsed().as_millis());
        self.record.lock().expect("not poisoned").write_all(line.as_bytes()).expect("written");
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn control(&self, what: &str) -> Value {
        match what {
            "hold" => drop(self.held.send_replace(true)),
            "go" => drop(self.held.send_replace(false)),
            _ => {}
        }
        let of = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        json!({ "open": of(&self.open), "seen": of(&self.seen), "connections": of(&self.connections) })
    }
}

/// A connection that has been accepted and not yet been read to its end.
struct Connection(Arc<Shared>);

impl Connection {
    fn begins(shared: &Arc<Shared>) -> Connection {
        shared.connections.fetch_add(1, Ordering::SeqCst);
        Connection(shared.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// No test, but the process above; does nothing where nobody asks for it.
#[test]
fn process() {
    let Some(folder) = std::env::var_os("CATCHER_FOLDER").map(PathBuf::from) else { return };
    let delay = number("CATCHER_DELAY").unwrap_or(0);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let shared = Arc::new(Shared {
            record: Mutex::new(File::create(folder.join("caught")).expect("a file")),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            held: watch::Sender::new(false),
            delay: Duration::from_millis(delay),
            began: Instant::now(),
        });
        let mut ports = String::new();
        for host in 1..=HOSTS {
            let listener = TcpListener::bind((format!("127.0.0.{host}"), 0)).await.expect("a port");
            ports.push_str(&format!("{}\n", listener.local_addr().expect("an address")));
            let shared = shared.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(hook(Connection::begins(&shared), stream));
                }
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ports.push_str(&format!("{}\n", listener.local_addr().expect("an address")));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(mail(Connection::begins(&shared), stream));
            }
        });
        std::fs::write(folder.join("ports.new"), ports).expect("written");
        std::fs::rename(folder.join("ports.new"), folder.join("ports")).expect("renamed");
        let ended = || std::io::stdin().read_to_end(&mut Vec::new());
        let _ = tokio::task::spawn_blocking(ended).await;
    });
    std::process::exit(0);
}

async fn hook(connection: Connection, mut stream: TcpStream) -> std::io::Result<()> {
    let shared = connection.0.clone();
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        if let Some(what) = request.path.strip_prefix("/control/") {
            drop(connection); // those of the broker are counted, not ours
            let text = shared.control(what).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            return stream.write_all(format!("{head}{text}").as_bytes()).await;
        }
        let host = request.header("host").unwrap_or_default();
        let to = format!("http://{host}{}", request.path);
        shared.take(&to, request.header("webhook-id").unwrap_or_default()).await;
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
    Ok(())
}

async fn mail(connection: Connection, mut stream: TcpStream) -> std::io::Result<()> {
    let shared = connection.0.clone();
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 catcher.test ESMTP\r\n").await?;
    let mut to = String::new();
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" | "HELO" => "250-catcher.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().into();
                "250 yes"
            }
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut id = String::new();
                let mut whole = false;
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        whole = true;
                        break;
                    }
                    if let Some(value) = line.strip_prefix("Message-ID: <") {
                        id = value.split('@').next().unwrap_or_default().into();
                    }
                }
                // Half a mail is none.
                if !whole {
                    return Ok(());
                }
                shared.take(&to, &id).await;
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 yes",
        };
        write.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}
