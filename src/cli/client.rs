//! A small HTTP client for the commands: one connection a request, the token beside it, problems as people read them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Args;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::Url;

use super::Failure;
use crate::channel::tls::{self, Tls};
use crate::config::Config;

const CONNECTING: Duration = Duration::from_secs(10);
const ANSWERING: Duration = Duration::from_secs(120);

#[derive(Args, Clone, Debug)]
pub struct Server {
    /// The running server, such as https://status.example; by default server.listen of the configuration.
    #[arg(long, global = true, value_name = "URL", env = "LOUDHAILER_SERVER")]
    pub server: Option<String>,
    /// A file of PEM with the authority of its certificate, beside those that this machine trusts.
    #[arg(long, global = true, value_name = "FILE", env = "LOUDHAILER_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// The token that it knows you by.
    #[arg(long, global = true, env = "LOUDHAILER_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub struct Client {
    base: Url,
    token: Option<String>,
    tls: Tls,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    pub fn new(server: &Server, config: &Config) -> Result<Client, Failure> {
        let text = match &server.server {
            Some(text) => text.clone(),
            None => format!("{}://{}", config.server.scheme(), config.server.near()),
        };
        let base = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base
            .ok_or_else(|| Failure::Wrong(format!("--server: {text:?} is not a URL such as https://status.example")))?;
        let tls = match (&server.ca_file, &server.server) {
            (Some(file), _) => {
                Tls::with_authorities(file).map_err(|why| Failure::Wrong(format!("--ca-file: {why}")))?
            }
            // Its certificate is for the name by which others find it, and not for this address.
            (None, None) if base.scheme() == "https" => Tls::exactly_in(&config.server.certificate)
                .map_err(|why| Failure::Wrong(format!("server.certificate: {why}")))?,
            (None, _) => Tls::default(),
        };
        Ok(Client { base, token: server.token.clone(), tls })
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json("POST", path, Some(body)).await
    }

    async fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let response = self.begin(method, path, "application/json", whole(text), Some(ANSWERING)).await?;
        read(response).await
    }

    /// A request whose body comes as it goes; the answer is waited for as long as it takes.
    pub async fn upload(&self, path: &str, content_type: &str, body: Body) -> Result<Value, Failure> {
        read(self.begin("POST", path, content_type, body, None).await?).await
    }

    /// A body as it came to us; leaves the status and the JSON of the answer.
    pub async fn hand_in(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<(u16, Value), Failure> {
        let response = self.begin("POST", path, content_type, whole(body), Some(ANSWERING)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.context("the answer was cut off")?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    /// An answer that goes on.
    pub async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        let response = self.begin("GET", path, "application/json", whole(String::new()), Some(ANSWERING)).await?;
        match response.status().is_success() {
            true => Ok(response.into_body()),
            false => read(response).await.and(Err(Failure::Failed(anyhow!("no stream")))),
        }
    }

    async fn begin(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Body,
        patience: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = tokio::time::timeout(CONNECTING, self.connect())
            .await
            .map_err(|_| anyhow!("{}: no connection within {} s", self.base, CONNECTING.as_secs()))??;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("HTTP")?;
        tokio::spawn(connection);
        let host = match self.base.port() {
            Some(port) => format!("{}:{port}", self.base.host_str().unwrap_or_default()),
            None => self.base.host_str().unwrap_or_default().to_string(),
        };
        let path = format!("{}{path}", self.base.path().trim_end_matches('/'));
        let mut request = Request::builder().method(method).uri(path).header(HOST, host).header(ACCEPT, "*/*");
        if method != "GET" {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).context("the request")?;
        let answer = sender.send_request(request);
        let answer = match patience {
            Some(patience) => tokio::time::timeout(patience, answer).await.map_err(|_| anyhow!("no answer in time"))?,
            None => answer.await,
        };
        Ok(answer.with_context(|| format!("{}: the connection was lost", self.base))?)
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let host = self.base.host().context("the URL has no host")?.to_owned();
        let port = self.base.port_or_known_default().context("the URL has no port")?;
        let to = match &host {
            url::Host::Domain(name) => TcpStream::connect((name.as_str(), port)).await,
            url::Host::Ipv4(ip) => TcpStream::connect((*ip, port)).await,
            url::Host::Ipv6(ip) => TcpStream::connect((*ip, port)).await,
        };
        let stream =
            to.with_context(|| format!("{}: nobody answers; is loudhailer serve running there?", self.base))?;
        match self.base.scheme() {
            "https" => {
                let stream = self.tls.connect(&host, stream).await.map_err(|why| {
                    let help = if why == tls::UNKNOWN { " (--ca-file names an authority)" } else { "" };
                    anyhow!("{}: {why}{help}", self.base)
                })?;
                Ok(Box::new(stream))
            }
            _ => Ok(Box::new(stream)),
        }
    }
}

pub fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The JSON of an answer, or its problem: 400 is wrong use, everything else a failure.
async fn read(response: Response<Incoming>) -> Result<Value, Failure> {
    let status = response.status();
    let body = response.into_body().collect().await.context("the answer was cut off")?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let detail = value["detail"].as_str().map_or_else(|| status.to_string(), str::to_string);
    let place = value["pointer"].as_str().filter(|place| !place.is_empty());
    let message = place.map_or(detail.clone(), |place| format!("{place}: {detail}"));
    match status.as_u16() {
        400 => Err(Failure::Wrong(message)),
        401 => {
            Err(Failure::Failed(anyhow!("{message} (--token or LOUDHAILER_TOKEN; loudhailer token create makes one)")))
        }
        _ => Err(Failure::Failed(anyhow!(message))),
    }
}
