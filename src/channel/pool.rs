//! Warm HTTP/1.1 connections, kept by origin. A request goes in; a whole answer comes out, or why there is none: above all
//! whether anything may have been written, since only what certainly was not may be sent again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::guard::{Guard, Network, Refused};
use super::place::Origin;
use super::tls::Tls;

/// An answer's body beyond this is not read, where nobody says otherwise.
const BODY: usize = 64 * 1024;
/// Idle connections over all origins of one channel.
const IDLE: usize = 1024;
/// Origins that are remembered at one time.
const ORIGINS: usize = 4096;
/// A connection that was idle for longer has likely been closed by the other side.
const WARM: Duration = Duration::from_secs(50);
const CONNECT: Duration = Duration::from_secs(10);

type Sender = http1::SendRequest<Full<Bytes>>;

pub struct Pool {
    network: Arc<dyn Network>,
    guard: Guard,
    tls: Tls,
    /// Connections to one origin at one time.
    concurrency: usize,
    /// For a whole exchange, waiting and connecting included.
    patience: Duration,
    /// An answer's body beyond this is not read.
    body: usize,
    endpoints: Mutex<HashMap<Arc<Origin>, Arc<Endpoint>>>,
    idle: Arc<AtomicUsize>,
}

struct Endpoint {
    permits: Semaphore,
    warm: Mutex<Vec<(Sender, Instant)>>,
    idle: Arc<AtomicUsize>,
}

pub struct Received {
    pub status: u16,
    pub headers: HeaderMap,
    /// Empty if it was too long.
    pub body: Vec<u8>,
    pub whole: bool,
}

#[derive(Debug)]
pub enum Failure {
    /// Nothing was written.
    NotSent(&'static str),
    /// The guard does not let us there.
    Forbidden(&'static str),
    /// Something may have been written, and no whole answer came.
    Lost(&'static str),
}

impl Pool {
    pub fn new(network: Arc<dyn Network>, guard: Guard, tls: Tls, concurrency: usize, patience: Duration) -> Pool {
        Pool {
            network,
            guard,
            tls,
            concurrency: concurrency.max(1),
            patience,
            body: BODY,
            endpoints: Mutex::default(),
            idle: Arc::default(),
        }
    }

    /// Reads bodies up to so many bytes.
    pub fn reading(self, body: usize) -> Pool {
        Pool { body, ..self }
    }

    pub async fn exchange(&self, origin: &Arc<Origin>, request: Request<Full<Bytes>>) -> Result<Received, Failure> {
        let written = AtomicBool::new(false);
        // Pinned where it is made: it would be moved once more into the timeout.
        let attempt = std::pin::pin!(self.attempt(origin, request, &written));
        match timeout(self.patience, attempt).await {
            Ok(result) => result,
            Err(_) if written.load(Ordering::Relaxed) => Err(Failure::Lost("no answer in time")),
            Err(_) => Err(Failure::NotSent("no connection in time")),
        }
    }

    async fn attempt(
        &self,
        origin: &Arc<Origin>,
        mut request: Request<Full<Bytes>>,
        written: &AtomicBool,
    ) -> Result<Received, Failure> {
        let endpoint = self.endpoint(origin);
        let _permit = endpoint.permits.acquire().await.map_err(|_| Failure::NotSent("the channel is closing"))?;
        loop {
            let (mut sender, fresh) = match endpoint.take() {
                Some(sender) => (sender, false),
                // Boxed, because its state is large and seldom needed: it would be moved about with every request.
                None => (Box::pin(self.connect(origin)).await?, true),
            };
            if sender.ready().await.is_err() {
                match fresh {
                    true => return Err(Failure::NotSent("the connection was closed at once")),
                    false => continue,
                }
            }
            written.store(true, Ordering::Relaxed);
            match sender.try_send_request(request).await {
                Ok(response) => return endpoint.receive(response, sender, self.body).await,
                // hyper gives the request back only if it had not begun to write it.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !fresh => {
                        written.store(false, Ordering::Relaxed);
                        request = unsent;
                    }
                    Some(_) => return Err(Failure::NotSent("the connection was closed at once")),
                    None if error.error().is_parse() => return Err(Failure::Lost("the answer is not HTTP")),
                    None => return Err(Failure::Lost("the connection was lost")),
                },
            }
        }
    }

    fn endpoint(&self, origin: &Arc<Origin>) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(origin) {
            return endpoint.clone();
        }
        if endpoints.len() >= ORIGINS {
            endpoints.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let endpoint = Arc::new(Endpoint {
            permits: Semaphore::new(self.concurrency),
            warm: Mutex::default(),
            idle: self.idle.clone(),
        });
        endpoints.insert(origin.clone(), endpoint.clone());
        endpoint
    }

    async fn connect(&self, origin: &Origin) -> Result<Sender, Failure> {
        let resolved = timeout(CONNECT, self.guard.addresses(&*self.network, &origin.host, origin.port)).await;
        let addresses = match resolved {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(Refused::Forbidden(reason))) => return Err(Failure::Forbidden(reason)),
            Ok(Err(Refused::Unresolved(_))) => return Err(Failure::NotSent("the host's name has no address")),
            Err(_) => return Err(Failure::NotSent("no address of the host in time")),
        };
        let mut stream = None;
        for address in addresses.iter().take(4) {
            if let Ok(Ok(connected)) = timeout(CONNECT, self.network.connect(*address)).await {
                stream = Some(connected);
                break;
            }
        }
        let stream = stream.ok_or(Failure::NotSent("no connection to the host"))?;
        // Without it each request waits for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let closed = |_| Failure::NotSent("the connection was closed at once");
        if origin.secure {
            let stream = match timeout(CONNECT, self.tls.connect(&origin.host, stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(reason)) => return Err(Failure::NotSent(reason)),
                Err(_) => return Err(Failure::NotSent("no TLS in time")),
            };
            let (sender, connection) = builder().handshake(TokioIo::new(stream)).await.map_err(closed)?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let (sender, connection) = builder().handshake(TokioIo::new(stream)).await.map_err(closed)?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BODY);
    builder
}

impl Endpoint {
    /// The connection used last: the likeliest to be alive.
    fn take(&self) -> Option<Sender> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = warm.pop() {
            self.idle.fetch_sub(1, Ordering::Relaxed);
            if !sender.is_closed() && since.elapsed() < WARM {
                return Some(sender);
            }
        }
        None
    }

    fn put(&self, sender: Sender) {
        if sender.is_closed() || self.idle.load(Ordering::Relaxed) >= IDLE {
            return;
        }
        let now = Instant::now();
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        if warm.first().is_some_and(|(_, since)| now.duration_since(*since) >= WARM) {
            warm.remove(0);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
        warm.push((sender, now));
        self.idle.fetch_add(1, Ordering::Relaxed);
    }

    async fn receive(&self, response: Response<Incoming>, sender: Sender, limit: usize) -> Result<Received, Failure> {
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        let mut whole = true;
        while !incoming.is_end_stream() {
            match incoming.frame().await {
                None => break,
                Some(Err(_)) => return Err(Failure::Lost("the answer was cut")),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if body.len() + data.len() > limit {
                        body.clear();
                        whole = false;
                        break;
                    }
                    body.extend_from_slice(&data);
                }
            }
        }
        // A connection with the rest of an answer still in it is of no use.
        if whole {
            self.put(sender);
        }
        Ok(Received { status: head.status.as_u16(), headers: head.headers, body, whole })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let warm = self.warm.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.idle.fetch_sub(warm.len(), Ordering::Relaxed);
    }
}
