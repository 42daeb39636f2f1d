//! The other side: webhook receivers and a mail server in one process on one thread. Every message is read whole, its signature
//! checked and its id kept, so that lost, repeated and forged ones are seen; when it came is kept, too. Of a mail that many get
//! in one, it is kept for each recipient.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use loudhailer::channel::webhook::SigningKey;
use loudhailer::cli::bench::sink::{Came, Receiver, hooks, mails};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::SECRET;
use super::process::{OTHER, Process, ask};

/// Webhook receivers at addresses of their own: each host gets only so many requests at one time.
pub const HOSTS: usize = 8;
/// Receivers for the few, apart from the many: each arrival there is kept with its time.
pub const APART: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
struct Places {
    hooks: Vec<String>,
    apart: Vec<String>,
    mail: String,
    control: String,
}

pub struct Sink {
    /// Ends with us.
    _process: Process,
    pub hooks: Vec<String>,
    pub apart: Vec<String>,
    pub mail: String,
    control: String,
}

/// What came since the last `reset`, at the many and apart.
#[derive(Debug, Deserialize)]
pub struct Caught {
    pub seen: u64,
    pub distinct: u64,
    pub forged: u64,
}

/// One arrival at the few: when, in microseconds of the calendar, and the incident that it speaks of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Arrival(pub u64, pub String);

impl Sink {
    pub fn start() -> anyhow::Result<Sink> {
        let mut process = Process::role(OTHER, "sink", &json!({}))?;
        let Places { hooks, apart, mail, control } = serde_json::from_value(process.json()?)?;
        Ok(Sink { _process: process, hooks, apart, mail, control })
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, what: &str) -> anyhow::Result<T> {
        Ok(serde_json::from_value(ask(&self.control, "GET", &format!("/{what}"), "")?.1)?)
    }

    pub fn reset(&self) -> anyhow::Result<()> {
        self.ask::<Value>("reset").map(drop)
    }

    pub fn caught(&self) -> anyhow::Result<Caught> {
        self.ask("state")
    }

    /// The last message and its id: what the bare loops send, too.
    pub fn sample(&self) -> anyhow::Result<Value> {
        self.ask("sample")
    }

    /// Each answer from now on waits so many milliseconds.
    pub fn wait(&self, milliseconds: u64) -> anyhow::Result<()> {
        self.ask::<Value>(&format!("wait/{milliseconds}")).map(drop)
    }

    /// What came to the few since the last `reset`.
    pub fn apart(&self) -> anyhow::Result<Vec<Arrival>> {
        self.ask("apart")
    }

    /// How many came to the many after a time, and how many microseconds after it the last of them.
    pub fn after(&self, micros: u64) -> anyhow::Result<(u64, u64)> {
        self.ask(&format!("after/{micros}"))
    }
}

/// Microseconds of the calendar: the clock that all processes share.
pub fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Arrivals at the many whose time is kept.
const RECENT: usize = 500_000;

#[derive(Default)]
struct State {
    seen: u64,
    /// Their digests: ten million ids have to fit.
    ids: HashSet<u64>,
    forged: u64,
    sample: (String, String),
    recent: VecDeque<u64>,
    apart: Vec<Arrival>,
}

#[derive(Clone, Default)]
struct Shared {
    state: Arc<Mutex<State>>,
    hasher: std::hash::RandomState,
    wait: Arc<AtomicU64>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn many(&self, came: &Came<'_>) {
        let mut state = self.lock();
        state.seen += came.recipients as u64;
        state.forged += u64::from(!came.genuine);
        let new = match came.id.starts_with("brd_") {
            true => came.to.lines().filter(|to| state.ids.insert(self.hasher.hash_one((came.id, to)))).count() > 0,
            false => state.ids.insert(self.hasher.hash_one(came.id)),
        };
        if new && (state.seen.is_multiple_of(1000) || state.sample.0.is_empty()) {
            state.sample = (came.id.into(), came.content.into());
        }
        if state.recent.len() == RECENT {
            state.recent.pop_front();
        }
        state.recent.push_back(micros());
    }

    fn few(&self, came: &Came<'_>) {
        let now = micros();
        let incident = came.content.split_once("\"subject\":\"").and_then(|(_, rest)| rest.split('"').next());
        let mut state = self.lock();
        state.forged += u64::from(!came.genuine);
        state.apart.push(Arrival(now, incident.unwrap_or_default().into()));
    }

    fn control(&self, what: &str) -> Value {
        let mut state = self.lock();
        let (what, number) = what.split_once('/').unwrap_or((what, ""));
        let number: u64 = number.parse().unwrap_or_default();
        match what {
            "reset" => *state = State::default(),
            "wait" => self.wait.store(number, Ordering::Relaxed),
            "sample" => return json!({ "id": state.sample.0, "content": state.sample.1 }),
            "apart" => return json!(state.apart),
            "after" => {
                let late: Vec<u64> = state.recent.iter().rev().take_while(|at| **at > number).copied().collect();
                return json!((late.len(), late.first().map_or(0, |last| last - number)));
            }
            _ => {}
        }
        json!({ "seen": state.seen, "distinct": state.ids.len(), "forged": state.forged })
    }
}

pub async fn run() -> anyhow::Result<()> {
    let shared = Shared::default();
    let key = Arc::new(SigningKey::parse(SECRET).map_err(anyhow::Error::msg)?);
    let wait = shared.wait.clone();
    let (mut many, mut few) = (Vec::new(), Vec::new());
    for host in 1..=HOSTS + APART {
        let listener = TcpListener::bind((format!("127.0.0.{host}"), 0)).await?;
        let place = listener.local_addr()?.to_string();
        let (key, wait, shared) = (key.clone(), wait.clone(), shared.clone());
        if host <= HOSTS {
            many.push(place);
            tokio::spawn(hooks(listener, Receiver { key, wait, take: move |came: Came<'_>| shared.many(&came) }));
        } else {
            few.push(place);
            tokio::spawn(hooks(listener, Receiver { key, wait, take: move |came: Came<'_>| shared.few(&came) }));
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mail = listener.local_addr()?.to_string();
    let mailbox = shared.clone();
    tokio::spawn(mails(listener, move |came: Came<'_>| mailbox.many(&came)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control = listener.local_addr()?.to_string();
    tokio::spawn(desk(listener, shared));
    println!("{}", json!(Places { hooks: many, apart: few, mail, control }));
    // Whoever started it holds the other end.
    tokio::task::spawn_blocking(|| std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new())).await??;
    Ok(())
}

/// One question a connection.
async fn desk(listener: TcpListener, shared: Shared) -> anyhow::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut asked = Vec::new();
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") && stream.read_buf(&mut asked).await? > 0 {}
        let asked = String::from_utf8_lossy(&asked);
        let what = asked.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
        let text = shared.control(what).to_string();
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
        stream.write_all(format!("{head}{text}").as_bytes()).await?;
    }
}
