//! A webhook receiver: records every request, answers as it is told, hands requests over by a channel.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    /// Status, further header lines (each ended by \r\n), body.
    Full(u16, String, String),
    /// 204, once `release` is called.
    Hold,
    /// Another answer than 204, once `release` is called.
    Late(u16, String),
}

type Answers = dyn Fn(usize, &Request) -> Reply + Send + Sync;

pub struct Sink {
    at: SocketAddr,
    all: Arc<Mutex<Vec<Request>>>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Request>>,
    gate: Arc<Semaphore>,
}

impl Sink {
    pub async fn start() -> Sink {
        Sink::answering(|_, _| Reply::Status(204)).await
    }

    /// `answers` is asked with the number of the request (from 0) and the request.
    pub async fn answering(answers: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let all = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let served = Served {
            answers: Arc::new(answers),
            all: all.clone(),
            arrived,
            gate: gate.clone(),
            number: Arc::new(AtomicUsize::new(0)),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(served.clone(), stream));
            }
        });
        Sink { at, all, arrivals: tokio::sync::Mutex::new(arrivals), gate }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.at)
    }

    pub fn port(&self) -> u16 {
        self.at.port()
    }

    /// The next request, when it has come.
    pub async fn next(&self) -> Request {
        super::within("came", async { self.arrivals.lock().await.recv().await }).await.expect("the sink lives")
    }

    pub fn all(&self) -> Vec<Request> {
        self.all.lock().expect("not poisoned").clone()
    }

    /// Lets so many held requests go, or those to come, in the order in which they came.
    pub fn let_go(&self, count: usize) {
        self.gate.add_permits(count);
    }

    /// Lets every held request go, and those to come.
    pub fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

#[derive(Clone)]
struct Served {
    answers: Arc<Answers>,
    all: Arc<Mutex<Vec<Request>>>,
    arrived: mpsc::UnboundedSender<Request>,
    gate: Arc<Semaphore>,
    number: Arc<AtomicUsize>,
}

impl Served {
    /// Waits for its turn to be let go.
    async fn let_go(&self) {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }
}

async fn serve(served: Served, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    while let Ok(Some(request)) = read(&mut stream, &mut buffer).await {
        let reply = (served.answers)(served.number.fetch_add(1, Ordering::SeqCst), &request);
        served.all.lock().expect("not poisoned").push(request.clone());
        let _ = served.arrived.send(request);
        let answer = match reply {
            Reply::Status(status) => head(status, "", ""),
            Reply::Full(status, headers, body) => head(status, &headers, &body),
            Reply::Hold => {
                served.let_go().await;
                head(204, "", "")
            }
            Reply::Late(status, body) => {
                served.let_go().await;
                head(status, "", &body)
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn head(status: u16, headers: &str, body: &str) -> String {
    let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} X\r\n{headers}{length}\r\n{body}")
}

/// The next request of a connection; `buffer` keeps what came beyond it.
pub async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..end]).to_string();
            let mut lines = text.lines();
            let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_string);
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_lowercase(), value.trim().to_string()))
                .collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                let body = std::mem::replace(buffer, rest).split_off(end + 4);
                let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
                return Ok(Some(Request { method, path, headers, body }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
