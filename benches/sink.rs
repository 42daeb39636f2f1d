//! The other side: webhook receivers and a mail server in one process on one thread. Every message is read whole, its signature
//! checked and its id kept, so that lost, repeated and forged ones are seen. As lean as can be: it must not be what is measured.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use loudhailer::channel::webhook::SigningKey;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::SECRET;
use super::process::{OTHER, Process, ask};

/// Webhook receivers at addresses of their own: each host gets only so many requests at one time.
pub const HOSTS: usize = 8;

pub struct Sink {
    /// Ends with us.
    _process: Process,
    pub hooks: Vec<String>,
    pub mail: String,
}

/// What came since the last `reset`.
#[derive(Debug, serde::Deserialize)]
pub struct Caught {
    pub seen: u64,
    pub distinct: u64,
    pub forged: u64,
}

impl Sink {
    pub fn start() -> anyhow::Result<Sink> {
        let mut process = Process::role(OTHER, "sink", &json!({}))?;
        let places = process.json()?;
        let mut all: Vec<String> = serde_json::from_value(places)?;
        let mail = all.pop().unwrap_or_default();
        Ok(Sink { _process: process, hooks: all, mail })
    }

    pub fn reset(&self) -> anyhow::Result<()> {
        ask(&self.hooks[0], "GET", "/control/reset", "").map(drop)
    }

    pub fn caught(&self) -> anyhow::Result<Caught> {
        Ok(serde_json::from_value(ask(&self.hooks[0], "GET", "/control/state", "")?.1)?)
    }

    /// The last message and its id: what the bare loops send, too.
    pub fn sample(&self) -> anyhow::Result<Value> {
        Ok(ask(&self.hooks[0], "GET", "/control/sample", "")?.1)
    }
}

#[derive(Default)]
struct State {
    seen: u64,
    ids: HashSet<Box<str>>,
    forged: u64,
    sample: (String, String),
}

impl State {
    fn take(&mut self, id: &str, genuine: bool, content: &str) {
        self.seen += 1;
        self.forged += u64::from(!genuine);
        if self.ids.insert(id.into()) && self.seen.is_multiple_of(1000) {
            self.sample = (id.into(), content.into());
        }
    }

    fn control(&mut self, what: &str) -> Value {
        if what == "reset" {
            *self = State::default();
        }
        match what {
            "sample" => json!({ "id": self.sample.0, "content": self.sample.1 }),
            _ => json!({ "seen": self.seen, "distinct": self.ids.len(), "forged": self.forged }),
        }
    }
}

type Shared = Rc<RefCell<State>>;

pub async fn run() -> anyhow::Result<()> {
    let shared = Shared::default();
    let key = Rc::new(SigningKey::parse(SECRET).map_err(anyhow::Error::msg)?);
    let mut places = Vec::new();
    for host in 1..=HOSTS {
        let listener = TcpListener::bind((format!("127.0.0.{host}"), 0)).await?;
        places.push(listener.local_addr()?.to_string());
        let (shared, key) = (shared.clone(), key.clone());
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                spawn_local(hook(shared.clone(), key.clone(), stream));
            }
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    places.push(listener.local_addr()?.to_string());
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            spawn_local(mail(shared.clone(), stream));
        }
    });
    println!("{}", json!(places));
    // Whoever started it holds the other end.
    tokio::task::spawn_blocking(|| std::io::Read::read_to_end(&mut std::io::stdin(), &mut Vec::new())).await??;
    Ok(())
}

async fn hook(shared: Shared, key: Rc<SigningKey>, mut stream: TcpStream) -> anyhow::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        while let Some((head, body)) = whole(&buffer) {
            let end = head.len() + 4 + body.len();
            if let Some(what) = head.strip_prefix("GET /control/") {
                let text = shared.borrow_mut().control(what.split(' ').next().unwrap_or_default()).to_string();
                let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", text.len());
                return Ok(stream.write_all(format!("{head}{text}").as_bytes()).await?);
            }
            let id = header(head, "webhook-id");
            let timestamp: i64 = header(head, "webhook-timestamp").parse().unwrap_or_default();
            let genuine = key.sign(id, timestamp, body.as_bytes()) == header(head, "webhook-signature");
            shared.borrow_mut().take(id, genuine, body);
            buffer.drain(..end);
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn whole(buffer: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(buffer).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let length: usize = header(head, "content-length").parse().unwrap_or(0);
    Some((head, rest.get(..length)?))
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

/// All that one read brought is answered by one write (RFC 2920).
async fn mail(shared: Shared, mut stream: TcpStream) -> anyhow::Result<()> {
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut answers: Vec<u8> = Vec::with_capacity(256);
    let mut content = false;
    loop {
        let mut at = 0;
        let text = std::str::from_utf8(&buffer)?;
        loop {
            let rest = &text[at..];
            let mark = if content { "\r\n.\r\n" } else { "\r\n" };
            let Some(end) = rest.find(mark) else { break };
            let piece = &rest[..end];
            at += end + mark.len();
            if content {
                let id = header(piece, "message-id").trim_start_matches('<').split('@').next().unwrap_or_default();
                shared.borrow_mut().take(id, !id.is_empty(), piece);
                content = false;
                answers.extend_from_slice(b"250 taken\r\n");
                continue;
            }
            let verb = piece.get(..4).unwrap_or_default();
            let answer: &[u8] = match verb {
                "EHLO" => b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
                "DATA" => b"354 go on\r\n",
                "QUIT" => b"221 bye\r\n",
                _ => b"250 yes\r\n",
            };
            answers.extend_from_slice(answer);
            content = verb == "DATA";
        }
        buffer.drain(..at);
        if !answers.is_empty() {
            stream.write_all(&answers).await?;
            answers.clear();
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}
