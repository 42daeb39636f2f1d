//! The client that posts events over keep-alive connections: each as soon as the one before is answered, or in time with a
//! clock, whatever the answers do.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::{JoinSet, spawn_local};

use super::broker;
use super::compare::percentile;

#[derive(Debug, Serialize, Deserialize)]
pub struct Posting {
    pub host: String,
    pub token: String,
    pub connections: usize,
    pub count: u64,
    pub incidents: u64,
    /// Events a second, each meant for its own time; without it as fast as they are answered.
    pub rate: Option<f64>,
    /// Where the ids begin.
    pub from: u64,
}

/// An event cut where its incident and its number stand, and what goes before it. Each says something new, so that each draws.
struct Sample {
    host: String,
    token: String,
    pieces: Vec<String>,
}

impl Sample {
    fn new(posting: &Posting) -> anyhow::Result<Sample> {
        let mut event = broker::event("@n@", "@incident@", "minor");
        event["summary"] = json!("Nobody can open the website; report @n@.");
        let text = event.to_string().replace("@incident@", "@n@");
        let pieces: Vec<String> = text.split("@n@").map(str::to_string).collect();
        ensure!(pieces.len() == 4, "{text}");
        Ok(Sample { host: posting.host.clone(), token: posting.token.clone(), pieces })
    }

    fn request(&self, n: u64, incidents: u64) -> String {
        // The keys stand in the order of the alphabet: id, incident, summary.
        let [head, to_incident, to_summary, tail] = &self.pieces[..] else { return String::new() };
        let body = format!("{head}e{n}{to_incident}i{}{to_summary}{n}{tail}", n % incidents);
        format!(
            "POST /v1/events HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            self.token,
            body.len()
        )
    }
}

/// Answers how many were accepted, how long all took, and, with a rate, each one's time from when it was meant to be sent.
pub async fn post(posting: Posting) -> anyhow::Result<()> {
    let sample = Rc::new(Sample::new(&posting)?);
    let mut streams = Vec::new();
    for _ in 0..posting.connections {
        let stream = TcpStream::connect(&posting.host).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let began = Instant::now();
    let next = source(&posting, began);
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn_local(connection(stream, sample.clone(), next.clone(), posting.incidents));
    }
    let mut took = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        took.extend(ended??);
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_by(f64::total_cmp);
    println!(
        "{}",
        json!({
            "seconds": seconds, "accepted": took.len(), "p50_ms": percentile(&took, 0.5), "p99_ms": percentile(&took, 0.99),
            "worst_ms": took.last(),
        })
    );
    Ok(())
}

/// Hands out numbers with the time that each is meant for.
#[derive(Clone)]
enum Source {
    AtOnce { next: Rc<Cell<u64>>, end: u64 },
    Timed(Rc<Mutex<mpsc::UnboundedReceiver<(u64, Instant)>>>),
}

impl Source {
    async fn next(&self) -> Option<(u64, Instant)> {
        match self {
            Source::AtOnce { next, end } => {
                let n = next.get();
                next.set(n + 1);
                (n < *end).then(|| (n, Instant::now()))
            }
            Source::Timed(due) => due.lock().await.recv().await,
        }
    }
}

fn source(posting: &Posting, began: Instant) -> Source {
    let (from, end) = (posting.from, posting.from + posting.count);
    let Some(rate) = posting.rate else { return Source::AtOnce { next: Rc::new(Cell::new(from)), end } };
    let (sender, due) = mpsc::unbounded_channel();
    // It does not sleep: a timer comes up to a millisecond late, and this core has nothing else to do.
    spawn_local(async move {
        for n in from..end {
            let meant = began + Duration::from_secs_f64((n - from) as f64 / rate);
            while Instant::now() < meant {
                tokio::task::yield_now().await;
            }
            if sender.send((n, meant)).is_err() {
                return;
            }
        }
    });
    Source::Timed(Rc::new(Mutex::new(due)))
}

/// Milliseconds that each took.
async fn connection(
    mut stream: TcpStream,
    sample: Rc<Sample>,
    next: Source,
    incidents: u64,
) -> anyhow::Result<Vec<f64>> {
    let mut buffer = Vec::with_capacity(4096);
    let mut took = Vec::new();
    while let Some((n, meant)) = next.next().await {
        stream.write_all(sample.request(n, incidents).as_bytes()).await?;
        let (status, end) = loop {
            ensure!(stream.read_buf(&mut buffer).await? > 0, "closed");
            if let Some(answer) = answer(&buffer)? {
                break answer;
            }
        };
        let drew = buffer.windows(17).any(|piece| piece == b"\"broadcasts\":[\"br");
        ensure!(status == 202 && drew, "{}", String::from_utf8_lossy(&buffer));
        buffer.drain(..end);
        took.push(meant.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}

fn answer(buffer: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let text = std::str::from_utf8(buffer)?;
    let Some((head, rest)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    let length: usize = length.context("a length")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((rest.len() >= length).then_some((status, head.len() + 4 + length)))
}
