//! The bare loops: the same connections, bytes and signatures with no broker around them, as good as we can make them. A slow
//! one would be a defect, since it flatters the broker.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use loudhailer::channel::webhook::SigningKey;
use loudhailer::cli::bench::cpu;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};

use super::SECRET;

/// What a loop is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub places: Vec<String>,
    pub connections: usize,
    pub count: u64,
    /// Of one mail.
    pub recipients: usize,
    /// A message of the broker's, and the id in it, which is replaced by each message's own.
    pub id: String,
    pub content: String,
}

/// A sample cut where its id stands.
struct Sample {
    pieces: Vec<String>,
    id: String,
    recipients: usize,
    next: Cell<u64>,
    count: u64,
}

impl Sample {
    fn new(task: &Task) -> Rc<Sample> {
        let pieces = task.content.split(&task.id).map(str::to_string).collect();
        let recipients = task.recipients;
        Rc::new(Sample { pieces, id: task.id.clone(), recipients, next: Cell::new(0), count: task.count })
    }

    fn next(&self) -> Option<u64> {
        let n = self.next.get();
        self.next.set(n + 1);
        (n < self.count).then_some(n)
    }

    /// Whom the next mail is for.
    fn together(&self) -> Option<std::ops::Range<u64>> {
        let from = self.next.get();
        let to = self.count.min(from + self.recipients as u64);
        self.next.set(to);
        (from < to).then_some(from..to)
    }

    /// Of the sample's length, and no other message's.
    fn id(&self, n: u64) -> String {
        let number = format!("{n:010}");
        format!("{}{number}", &self.id[..self.id.len().saturating_sub(number.len())])
    }

    fn fill(&self, id: &str, out: &mut Vec<u8>) {
        for (at, piece) in self.pieces.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(id.as_bytes());
            }
            out.extend_from_slice(piece.as_bytes());
        }
    }
}

pub async fn all(mut tasks: JoinSet<anyhow::Result<()>>, began: Instant) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    println!("{}", json!({ "seconds": began.elapsed().as_secs_f64(), "cpu": cpu::own().context("/proc")? }));
    Ok(())
}

/// hyper's `client::conn` with a signed body a request.
pub async fn hooks(task: Task) -> anyhow::Result<()> {
    let sample = Sample::new(&task);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in 0..task.connections {
        let place = task.places[connection % task.places.len()].clone();
        tasks.spawn_local(hook(sample.clone(), place));
    }
    all(tasks, began).await
}

async fn hook(sample: Rc<Sample>, place: String) -> anyhow::Result<()> {
    let key = SigningKey::parse(SECRET).map_err(anyhow::Error::msg)?;
    let stream = TcpStream::connect(&place).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(connection);
    let host = HeaderValue::from_str(&place)?;
    let [id_name, timestamp_name, signature_name] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(HeaderName::from_static);
    while let Some(n) = sample.next() {
        let id = sample.id(n);
        let mut body = Vec::with_capacity(2048);
        sample.fill(&id, &mut body);
        let timestamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs() as i64;
        let signature = key.sign(&id, timestamp, &body);
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = hyper::Uri::from_maybe_shared(Bytes::from(format!("/s{n}")))?;
        let headers = request.headers_mut();
        headers.reserve(6);
        headers.insert(HOST, host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("Loudhailer/0.1.0"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(id_name.clone(), HeaderValue::from_maybe_shared(Bytes::from(id))?);
        headers.insert(timestamp_name.clone(), HeaderValue::from(timestamp));
        headers.insert(signature_name.clone(), HeaderValue::from_maybe_shared(Bytes::from(signature))?);
        sender.ready().await?;
        let mut response = sender.send_request(request).await?;
        ensure!(response.status() == 204, "{}", response.status());
        while let Some(frame) = response.body_mut().frame().await {
            frame?;
        }
    }
    Ok(())
}

/// Body, final dot and next envelope in one write (RFC 2920), one recipient a mail, or as many as are told.
pub async fn mails(task: Task) -> anyhow::Result<()> {
    let sample = Sample::new(&task);
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..task.connections {
        tasks.spawn_local(mail(sample.clone(), task.places[0].clone()));
    }
    all(tasks, began).await
}

async fn mail(sample: Rc<Sample>, place: String) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&place).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(1024);
    replies(&mut stream, &mut buffer, 1).await?;
    stream.write_all(b"EHLO bare\r\n").await?;
    replies(&mut stream, &mut buffer, 1).await?;
    let envelope = |to: &std::ops::Range<u64>, out: &mut Vec<u8>| {
        out.extend_from_slice(b"MAIL FROM:<status@localhost>\r\n");
        for n in to.clone() {
            out.extend_from_slice(b"RCPT TO:<s");
            out.extend_from_slice(n.to_string().as_bytes());
            out.extend_from_slice(b"@example.org>\r\n");
        }
        out.extend_from_slice(b"DATA\r\n");
        2 + (to.end - to.start) as usize
    };
    let mut out = Vec::with_capacity(8 * 1024);
    let Some(mut to) = sample.together() else { return Ok(()) };
    let answers = envelope(&to, &mut out);
    stream.write_all(&out).await?;
    replies(&mut stream, &mut buffer, answers).await?;
    loop {
        out.clear();
        sample.fill(&sample.id(to.start), &mut out);
        out.extend_from_slice(b"\r\n.\r\n");
        let next = sample.together();
        let answers = next.as_ref().map_or(0, |next| envelope(next, &mut out));
        stream.write_all(&out).await?;
        replies(&mut stream, &mut buffer, 1 + answers).await?;
        match next {
            Some(next) => to = next,
            None => return Ok(()),
        }
    }
}

/// Reads so many replies, none of them a refusal.
async fn replies(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut count: usize) -> anyhow::Result<()> {
    loop {
        let mut from = 0;
        while let Some(end) = buffer[from..].iter().position(|byte| *byte == b'\n') {
            let line = &buffer[from..from + end];
            ensure!(matches!(line.first(), Some(b'2' | b'3')), "refused");
            count -= usize::from(line.get(3) == Some(&b' '));
            from += end + 1;
        }
        buffer.drain(..from);
        if count == 0 {
            return Ok(());
        }
        ensure!(stream.read_buf(buffer).await? > 0, "closed");
    }
}
