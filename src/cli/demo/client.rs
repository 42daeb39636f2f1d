//! The demo speaks to its broker as any other program does: by HTTP, with a token, over a connection of its own each time.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

#[derive(Clone)]
pub struct Client {
    to: SocketAddr,
    token: &'static str,
}

impl Client {
    pub fn new(to: SocketAddr, token: &'static str) -> Client {
        Client { to, token }
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, "application/json", Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, "application/json", body.to_string().into_bytes()).await
    }

    /// An answer of 2xx, as JSON; any other is an error that says what was asked and answered.
    pub async fn ask(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        let asked = format!("{method} {path}");
        let response = self.begin(method, path, content_type, body).await.with_context(|| asked.clone())?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(|| asked.clone())?.to_bytes();
        match status.is_success() {
            true if body.is_empty() => Ok(Value::Null),
            true => serde_json::from_slice(&body).with_context(|| format!("{asked}: no JSON came back")),
            false => bail!("{asked}: {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Everything of a list, page by page.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}&limit=1000{after}")).await?;
            if let Value::Array(found) = page["items"].take() {
                items.extend(found);
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }

    /// Server-sent events; each piece that comes says that something happened.
    pub async fn stream(&self, path: &str) -> anyhow::Result<Stream> {
        let response = self.begin(Method::GET, path, "application/json", Vec::new()).await?;
        if !response.status().is_success() {
            bail!("GET {path}: {}", response.status());
        }
        Ok(Stream(response.into_body()))
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Response<Incoming>> {
        let socket = TcpStream::connect(self.to).await?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.to.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body)))?;
        Ok(sender.send_request(request).await?)
    }
}

pub struct Stream(Incoming);

impl Stream {
    /// Waits until something happens, or for a second.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        match tokio::time::timeout(std::time::Duration::from_secs(1), self.0.frame()).await {
            Ok(Some(Ok(_))) | Err(_) => Ok(()),
            Ok(Some(Err(error))) => Err(error).context("the broker's stream"),
            Ok(None) => bail!("the broker's stream ended"),
        }
    }
}
