//! From an address to a session that takes mail: TCP, greeting, EHLO, STARTTLS, AUTH. Then bytes out, replies in, each under a
//! time limit. What the connection is called in an outcome's detail is decided here.

use std::fmt;
use std::io;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::reply::{self, Reply};
use super::settings::{Login, Settings, Tls};
use super::token;
use super::transcript::Transcript;
use super::verdict::{Phase, refusal};
use crate::channel::{Fault, Holds, Outcome};

const CONNECT: Duration = Duration::from_secs(10);
/// Every server takes a hundred (RFC 5321 section 4.5.3.1.8); half of that is what relays see every day.
pub(super) const RECIPIENTS: usize = 50;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What the server offers (RFC 5321 section 4.1.1.1).
#[derive(Debug, Default, PartialEq)]
pub(super) struct Offers {
    pub pipelining: bool,
    pub utf8: bool,
    pub dsn: bool,
    pub size: Option<usize>,
    pub declares_size: bool,
    starttls: bool,
    plain: bool,
    login: bool,
    xoauth2: bool,
}

impl Offers {
    fn read(reply: &Reply) -> Offers {
        let mut offers = Offers::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("PIPELINING") => offers.pipelining = true,
                Some("SMTPUTF8") => offers.utf8 = true,
                Some("DSN") => offers.dsn = true,
                Some("STARTTLS") => offers.starttls = true,
                Some("SIZE") => {
                    offers.declares_size = true;
                    // 0 is "no fixed limit" (RFC 1870).
                    offers.size = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                }
                Some("AUTH") => words.for_each(|word| match word {
                    "PLAIN" => offers.plain = true,
                    "LOGIN" => offers.login = true,
                    "XOAUTH2" => offers.xoauth2 = true,
                    _ => {}
                }),
                _ => {}
            }
        }
        offers
    }
}

/// Why a connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Closed,
    Timeout,
    Garbled,
    Failed(io::ErrorKind),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Closed => f.write_str("the server closed the connection"),
            Lost::Timeout => f.write_str("the server did not answer in time"),
            Lost::Garbled => f.write_str("the server's answer is not SMTP"),
            Lost::Failed(kind) => write!(f, "the connection failed: {kind}"),
        }
    }
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Lost::Closed,
            kind => Lost::Failed(kind),
        }
    }
}

/// A write that did not go through, and how much of it the system had taken.
pub(super) struct Cut {
    pub written: usize,
    pub lost: Lost,
}

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    incoming: Vec<u8>,
    pub offers: Offers,
    /// The server has said that it ends this session (421).
    pub closing: bool,
    /// Recipients of one transaction, as far as the server is known to take them.
    pub recipients: usize,
    /// For a person who looks on.
    transcript: Option<Transcript>,
}

impl Connection {
    pub async fn open(settings: &Settings, transcript: Option<Transcript>) -> Result<Connection, Outcome> {
        let address = (settings.host.as_str(), settings.port);
        let stream = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(deferred(format!("cannot connect: {}", error.kind()))),
            Err(_) => return Err(deferred("cannot connect: timed out".into())),
        };
        // Without it the last segment of a mail waits for the server's delayed acknowledgement, 40 ms.
        stream.set_nodelay(true).map_err(|error| deferred(format!("cannot connect: {}", error.kind())))?;
        let mut connection = Connection::over(stream, transcript);
        if settings.tls == Tls::Implicit {
            connection = connection.secure(settings).await?;
        }
        connection.expect(settings).await?;
        connection.hello(settings).await?;
        if settings.tls == Tls::Required || (settings.tls == Tls::Offered && connection.offers.starttls) {
            if !connection.offers.starttls {
                return Err(rejected("tls is required, and the server does not offer STARTTLS"));
            }
            connection.command(settings, "STARTTLS\r\n").await?;
            if !connection.incoming.is_empty() {
                return Err(rejected("the server said more before TLS than it may"));
            }
            connection = connection.secure(settings).await?;
            connection.hello(settings).await?;
        } else if settings.tls == Tls::Offered && settings.login.is_some() && !settings.loopback {
            return Err(rejected("the server does not offer STARTTLS, and the password is not sent in clear text"));
        }
        connection.login(settings).await?;
        Ok(connection)
    }

    fn over(stream: impl Stream + 'static, transcript: Option<Transcript>) -> Connection {
        let (incoming, offers) = (Vec::with_capacity(1024), Offers::default());
        Connection { stream: Box::new(stream), incoming, offers, closing: false, recipients: RECIPIENTS, transcript }
    }

    async fn secure(self, settings: &Settings) -> Result<Connection, Outcome> {
        let Some(client) = &settings.tls_client else { return Err(rejected("tls is not set up")) };
        let handshake = TlsConnector::from(client.clone()).connect(settings.server_name.clone(), self.stream);
        match timeout(settings.timeout, handshake).await {
            Ok(Ok(stream)) => {
                self.transcript.iter().for_each(Transcript::secured);
                Ok(Connection::over(stream, self.transcript))
            }
            // A certificate stays wrong until someone mends it; anything else may pass.
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => Err(rejected(&format!("TLS: {error}"))),
            Ok(Err(error)) => Err(deferred(format!("TLS: {}", error.kind()))),
            Err(_) => Err(deferred("TLS: timed out".into())),
        }
    }

    async fn hello(&mut self, settings: &Settings) -> Result<(), Outcome> {
        let reply = self.command(settings, &format!("EHLO {}\r\n", settings.ehlo)).await?;
        self.offers = Offers::read(&reply);
        Ok(())
    }

    async fn login(&mut self, settings: &Settings) -> Result<(), Outcome> {
        let Some(login) = &settings.login else { return Ok(()) };
        let (user, secret) = match login {
            Login::Password { user, password } => (user, password.expose().to_string()),
            // Of a few hundred bytes, and it may just be renewed.
            Login::Token { user, file } => {
                let wrong = |error| deferred(format!("token_file: {}: {error}", file.display()));
                (user, token::read(file).map_err(wrong)?)
            }
        };
        let credentials = Credentials::new(user.clone(), secret.clone());
        let done = match login {
            Login::Password { .. } => self.login_by_password(settings, &credentials).await,
            Login::Token { .. } => self.login_by_token(settings, &credentials).await,
        };
        // Some servers repeat what they were told.
        done.map_err(|outcome| scrubbed(outcome, &secret))
    }

    /// Google's and Microsoft's XOAUTH2. Why a token is refused stands in a challenge, and is said once that is answered with nothing.
    async fn login_by_token(&mut self, settings: &Settings, credentials: &Credentials) -> Result<(), Outcome> {
        if !self.offers.xoauth2 {
            return Err(rejected("the server does not offer AUTH XOAUTH2"));
        }
        let said = Mechanism::Xoauth2.response(credentials, None);
        let said = said.map_err(|_| rejected("AUTH: the token cannot be said"))?;
        match self.whisper(settings, "AUTH XOAUTH2 ", &base64(&said)).await? {
            Reply { code: 334, .. } => match self.command(settings, "\r\n").await? {
                Reply { code: 300.., .. } => Err(rejected("AUTH: the server does not come to an end")),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    async fn login_by_password(&mut self, settings: &Settings, credentials: &Credentials) -> Result<(), Outcome> {
        let mechanism = match &self.offers {
            Offers { plain: true, .. } => Mechanism::Plain,
            Offers { login: true, .. } => Mechanism::Login,
            _ => return Err(rejected("the server offers neither AUTH PLAIN nor AUTH LOGIN")),
        };
        let respond = |challenge: Option<&str>| {
            mechanism
                .response(credentials, challenge)
                .map_err(|_| rejected("AUTH: the server asks for something unknown"))
        };
        let mut reply = if mechanism.supports_initial_response() {
            let (said, hidden) = (format!("AUTH {mechanism} "), base64(&respond(None)?));
            self.whisper(settings, &said, &hidden).await?
        } else {
            self.command(settings, &format!("AUTH {mechanism}\r\n")).await?
        };
        // LOGIN asks twice.
        for _ in 0..3 {
            if reply.code != 334 {
                return Ok(());
            }
            let challenge = reply.lines.first().and_then(|line| decoded(line)).unwrap_or_default();
            reply = self.whisper(settings, "", &base64(&respond(Some(&challenge))?)).await?;
        }
        Err(rejected("AUTH: the server does not come to an end"))
    }

    async fn command(&mut self, settings: &Settings, line: &str) -> Result<Reply, Outcome> {
        self.write(line.as_bytes(), settings.timeout).await.map_err(|cut| deferred(cut.lost.to_string()))?;
        self.expect(settings).await
    }

    /// A command whose second half nobody is shown.
    async fn whisper(&mut self, settings: &Settings, said: &str, hidden: &str) -> Result<Reply, Outcome> {
        self.transcript.iter().for_each(|transcript| transcript.said(format!("{said}***").as_bytes()));
        let line = format!("{said}{hidden}\r\n");
        self.pour(line.as_bytes(), settings.timeout).await.map_err(|cut| deferred(cut.lost.to_string()))?;
        self.expect(settings).await.map_err(|outcome| scrubbed(outcome, hidden))
    }

    async fn expect(&mut self, settings: &Settings) -> Result<Reply, Outcome> {
        let reply = self.reply(settings.timeout).await.map_err(|lost| deferred(lost.to_string()))?;
        if reply.is_positive() { Ok(reply) } else { Err(refusal(Phase::Session, &reply)) }
    }

    /// The next reply, in order.
    pub async fn reply(&mut self, within: Duration) -> Result<Reply, Lost> {
        loop {
            match reply::take(&mut self.incoming) {
                Ok(Some(reply)) => {
                    self.closing |= reply.code == 421;
                    self.transcript.iter().for_each(|transcript| transcript.heard(&reply));
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(reply::NoReply) => return Err(Lost::Garbled),
            }
            match timeout(within, self.stream.read_buf(&mut self.incoming)).await {
                Ok(Ok(0)) => return Err(Lost::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Lost::Timeout),
            }
        }
    }

    /// While nothing is under way, anything that comes is a farewell. Safe to cancel.
    pub async fn farewell(&mut self) {
        if self.incoming.is_empty() {
            let _ = self.stream.read_buf(&mut self.incoming).await;
        }
    }

    pub async fn write(&mut self, bytes: &[u8], within: Duration) -> Result<(), Cut> {
        self.transcript.iter().for_each(|transcript| transcript.said(bytes));
        self.pour(bytes, within).await
    }

    async fn pour(&mut self, bytes: &[u8], within: Duration) -> Result<(), Cut> {
        let mut written = 0;
        while written < bytes.len() {
            let lost = match timeout(within, self.stream.write(&bytes[written..])).await {
                Ok(Ok(0)) => Lost::Closed,
                Ok(Ok(n)) => {
                    written += n;
                    continue;
                }
                Ok(Err(error)) => error.into(),
                Err(_) => Lost::Timeout,
            };
            return Err(Cut { written, lost });
        }
        // Under TLS, what was taken may still wait to be sent.
        match timeout(within, self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Cut { written, lost: error.into() }),
            Err(_) => Err(Cut { written, lost: Lost::Timeout }),
        }
    }

    /// Politely, but not for long.
    pub async fn quit(mut self) {
        let within = Duration::from_secs(2);
        if self.write(b"QUIT\r\n", within).await.is_ok() {
            let _ = self.reply(within).await;
            let _ = timeout(within, self.stream.shutdown()).await;
        }
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn decoded(text: &str) -> Option<String> {
    use base64::Engine;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?).ok()
}

fn rejected(detail: &str) -> Outcome {
    Outcome::Rejected { fault: Fault::Channel, detail: detail.into() }
}

fn scrubbed(mut outcome: Outcome, secret: &str) -> Outcome {
    outcome.scrub(std::iter::once(secret));
    outcome
}

fn deferred(detail: String) -> Outcome {
    Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_read_from_the_greeting() {
        let lines =
            ["relay.example", "pipelining", "SIZE 1000", "AUTH=LOGIN", "AUTH PLAIN CRAM-MD5", "SMTPUTF8", "dsn", "X"];
        let reply = Reply { code: 250, enhanced: None, lines: lines.map(String::from).to_vec() };
        let expected = Offers {
            pipelining: true,
            utf8: true,
            dsn: true,
            size: Some(1000),
            declares_size: true,
            plain: true,
            login: true,
            xoauth2: false,
            starttls: false,
        };
        assert_eq!(Offers::read(&reply), expected);
        let reply = Reply { code: 250, enhanced: None, lines: vec!["STARTTLS".into(), "SIZE 0".into()] };
        assert_eq!(
            Offers::read(&reply),
            Offers { declares_size: true, ..Offers::default() },
            "the first line is a name"
        );
    }
}
