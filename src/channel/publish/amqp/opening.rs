//! From a connection to a channel that confirms: login, tuning, virtual host, and whether the exchange is there.

use bytes::BytesMut;

use super::frame::{self, Frame, HEARTBEAT, METHOD, Method, Reader};
use super::{Amqp, CHANNEL, Confirmed, begun};
use crate::channel::Outcome;
use crate::channel::publish::conversation::Lost;
use crate::channel::publish::target::Line;
use crate::channel::publish::{Protocol, deferred, rejected};

/// The protocol's name and version, which go before all frames.
const HELLO: &[u8] = b"AMQP\x00\x00\x09\x01";
/// What the broker may at most send in a frame: a returned message comes back in such parts.
const FRAME: u32 = 32 * 1024;
/// The least that a frame can be (frame-min-size).
const LEAST: u32 = 4096;
/// The broker then says something every ten seconds, and is answered.
const HEARTBEAT_SECONDS: u16 = 20;
/// A table with one entry, `capabilities`: that a refused login, and a broker that is full, are said.
const PROPERTIES: &[(&str, bool)] =
    &[("publisher_confirms", true), ("authentication_failure_close", true), ("connection.blocked", true)];

impl Protocol for Amqp {
    type Session = Confirmed;

    async fn open(&self) -> Result<(Line, Confirmed), Outcome> {
        let stream = self.target.connect().await?;
        let mut line = match self.target.secure {
            true => self.target.encrypt(stream).await?,
            false => Line::over(stream),
        };
        line.write(HELLO).await?;
        let mut start = expect(&mut line, (10, 10)).await?;
        let mechanisms = (|| {
            let _version = start.number()?;
            start.bytes()?;
            start.bytes()
        })();
        let plain = mechanisms.is_some_and(|names| names.split(|byte| *byte == b' ').any(|name| name == b"PLAIN"));
        if !plain {
            return Err(rejected("the broker does not offer the login by a password (PLAIN)"));
        }
        let login = format!("\0{}\0{}", self.user, self.password);
        let answer = Method::new(10, 11).bytes(&properties()).short("PLAIN").bytes(login.as_bytes()).short("en_US");
        say(&mut line, answer, 0).await?;
        let mut tune = expect(&mut line, (10, 30)).await?;
        let limits = tune.number().zip(tune.long()).ok_or_else(garbled)?;
        let frame = if limits.1 == 0 { FRAME } else { limits.1.clamp(LEAST, FRAME) };
        say(&mut line, Method::new(10, 31).number(CHANNEL).long(frame).number(HEARTBEAT_SECONDS), 0).await?;
        say(&mut line, Method::new(10, 40).short(&self.vhost).short("").octet(0), 0).await?;
        expect(&mut line, (10, 41)).await?;
        say(&mut line, Method::new(20, 10).short(""), CHANNEL).await?;
        expect(&mut line, (20, 11)).await?;
        if !self.exchange.is_empty() {
            // Passive: it is asked for, not made.
            let declare = Method::new(40, 10).number(0).short(&self.exchange).short("").octet(1).bytes(&[]);
            say(&mut line, declare, CHANNEL).await?;
            expect(&mut line, (40, 11)).await?;
        }
        say(&mut line, Method::new(85, 10).octet(0), CHANNEL).await?;
        expect(&mut line, (85, 11)).await?;
        Ok((line, begun(self.exchange.clone(), frame as usize)))
    }
}

fn properties() -> Vec<u8> {
    let mut capabilities = Vec::new();
    for (name, value) in PROPERTIES {
        capabilities.push(name.len() as u8);
        capabilities.extend_from_slice(name.as_bytes());
        capabilities.extend_from_slice(&[b't', u8::from(*value)]);
    }
    let mut table = b"\x0ccapabilitiesF".to_vec();
    table.extend_from_slice(&(capabilities.len() as u32).to_be_bytes());
    table.extend_from_slice(&capabilities);
    table
}

async fn say(line: &mut Line, method: Method, channel: u16) -> Result<(), Outcome> {
    let mut out = BytesMut::new();
    method.write(&mut out, channel);
    line.write(&out).await
}

/// What follows in that method, or why it did not come.
async fn expect(line: &mut Line, method: (u16, u16)) -> Result<Reader, Outcome> {
    loop {
        let Some(Frame { kind, payload }) = frame::take(&mut line.incoming).map_err(|_| garbled())? else {
            line.read().await?;
            continue;
        };
        let mut said = Reader(payload);
        match kind {
            HEARTBEAT => continue,
            METHOD => {}
            _ => return Err(garbled()),
        }
        match said.number().zip(said.number()) {
            Some(came) if came == method => return Ok(said),
            Some((10, 50) | (20, 40)) => return Err(closed(said.number())),
            // It is full; it will say so again, or no more.
            Some((10, 60 | 61)) => {}
            _ => return Err(garbled()),
        }
    }
}

fn garbled() -> Outcome {
    deferred(Lost::Garbled.to_string())
}

/// By its reply code (section 1.1 of the reference). Its text may name user, virtual host and exchange, and is not repeated.
fn closed(code: Option<u16>) -> Outcome {
    match code {
        Some(403) => rejected("403: access was refused; see user and password"),
        Some(404) => rejected("404: the exchange is not there"),
        Some(530) => rejected("530: the virtual host is not there, or not for this user"),
        Some(code) => deferred(format!("{code}: the server closed the connection")),
        None => garbled(),
    }
}
