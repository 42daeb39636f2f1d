//! From a connection to one that takes messages: the server's greeting, TLS, login, and the subscription to our inbox.

use bytes::{Buf, BytesMut};
use ring::rand::SecureRandom;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::{Asked, Login, Nats, begun, end_of_line};
use crate::channel::Outcome;
use crate::channel::auth::Encoding;
use crate::channel::publish::conversation::Lost;
use crate::channel::publish::target::Line;
use crate::channel::publish::{Protocol, deferred, rejected};

const LONGEST_LINE: usize = 64 * 1024;

/// What the server says first, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Info {
    headers: bool,
    max_payload: usize,
    tls_required: bool,
    tls_available: bool,
}

impl Protocol for Nats {
    type Session = Asked;

    async fn open(&self) -> Result<(Line, Asked), Outcome> {
        let mut stream = self.target.connect().await?;
        let info = greeting(&mut stream).await?;
        let mut line = match self.target.secure {
            true if info.tls_required || info.tls_available => self.target.encrypt(stream).await?,
            true => return Err(rejected("the server does not offer TLS")),
            false if info.tls_required => return Err(rejected("the server asks for TLS; write tls:// in url")),
            false => Line::over(stream),
        };
        if !info.headers {
            return Err(rejected("the server knows no headers; they came with NATS 2.2"));
        }
        let mut id = [0; 16];
        let random = ring::rand::SystemRandom::new().fill(&mut id);
        random.map_err(|_| deferred("the system gave no random number"))?;
        // Nobody else is to know where the answers go.
        let inbox = format!("_INBOX.{}.", Encoding::Hex.write(&id));
        line.write(format!("CONNECT {}\r\nSUB {inbox}* 1\r\nPING\r\n", self.connect()).as_bytes()).await?;
        loop {
            let said = next_line(&mut line.stream, &mut line.incoming).await?;
            if let Some(refusal) = said.strip_prefix("-ERR") {
                return Err(refused(refusal));
            }
            if said.eq_ignore_ascii_case("PONG") {
                return Ok((line, begun(inbox, info.max_payload)));
            }
        }
    }
}

impl Nats {
    fn connect(&self) -> serde_json::Value {
        let mut connect = json!({
            "verbose": false, "pedantic": false, "echo": false, "headers": true, "no_responders": true, "protocol": 1,
            "tls_required": self.target.secure, "lang": "rust", "name": "loudhailer", "version": env!("CARGO_PKG_VERSION"),
        });
        match &self.login {
            Login::None => {}
            Login::Token(token) => connect["auth_token"] = json!(token),
            Login::User(user, password) => (connect["user"], connect["pass"]) = (json!(user), json!(password)),
        }
        connect
    }
}

/// It comes before TLS, and nothing may come with it.
async fn greeting(stream: &mut TcpStream) -> Result<Info, Outcome> {
    let mut incoming = BytesMut::new();
    let line = next_line(stream, &mut incoming).await?;
    let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str(info).ok());
    match info {
        Some(info) if incoming.is_empty() => Ok(info),
        _ => Err(deferred("the greeting is not that of a NATS server")),
    }
}

async fn next_line(stream: &mut (impl AsyncRead + Unpin), incoming: &mut BytesMut) -> Result<String, Outcome> {
    loop {
        if let Some(end) = end_of_line(incoming) {
            let line = String::from_utf8_lossy(&incoming[..end]).into_owned();
            incoming.advance(end + 2);
            return Ok(line);
        }
        if incoming.len() > LONGEST_LINE {
            return Err(deferred(Lost::Garbled.to_string()));
        }
        match stream.read_buf(incoming).await {
            Ok(0) => return Err(deferred(Lost::Closed.to_string())),
            Ok(_) => {}
            Err(error) => return Err(deferred(Lost::Failed(error.kind()).to_string())),
        }
    }
}

/// An `-ERR` in answer to CONNECT, or to the subscription to our inbox. Its text may name a user and is not repeated.
fn refused(text: &str) -> Outcome {
    let text = text.to_ascii_lowercase();
    match text.contains("authorization") || text.contains("authentication") {
        true => rejected("-ERR: authorization violation; see user and password, or token"),
        false if text.contains("permissions violation") => rejected("-ERR: the user may not subscribe to _INBOX.>"),
        false => deferred("-ERR: the server refused the connection"),
    }
}
