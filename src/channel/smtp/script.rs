//! A server whose answers a test writes line by line, for what a real one can't be made to do; and one that answers by the
//! recipient's name, for crowds.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

pub struct Server {
    listener: TcpListener,
}

impl Server {
    pub async fn start() -> Server {
        Server { listener: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.listener.local_addr().expect("address"))
    }

    pub async fn session(&self) -> Session {
        let (stream, _) = self.listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("set");
        Session { stream: BufReader::new(stream) }
    }

    /// The next session, up to where mail can begin.
    pub async fn greeted(&self, offers: &[&str]) -> Session {
        let mut session = self.session().await;
        session.greet(offers).await;
        session
    }
}

pub struct Session {
    stream: BufReader<TcpStream>,
}

impl Session {
    pub async fn say(&mut self, text: &str) {
        // The driver may have gone already; a test sees that by what it reads next.
        let _ = self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await;
    }

    /// Empty at the end.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line).await;
        line.trim_end_matches("\r\n").to_string()
    }

    pub async fn expect(&mut self, prefix: &str) -> String {
        let line = self.line().await;
        assert!(line.starts_with(prefix), "expected {prefix:?}, got {line:?}");
        line
    }

    /// Nothing was sent ahead of the answer that is due.
    pub fn waits(&self) -> bool {
        self.stream.buffer().is_empty()
    }

    pub async fn hello(&mut self, offers: &[&str]) {
        self.expect("EHLO ").await;
        let mut lines = vec!["relay.example"];
        lines.extend(offers);
        let (last, lines) = lines.split_last().expect("a line");
        let text: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        self.say(&format!("{text}250 {last}")).await;
    }

    pub async fn greet(&mut self, offers: &[&str]) {
        self.say("220 relay.example").await;
        self.hello(offers).await;
    }

    /// The three commands of an envelope; the recipient.
    pub async fn envelope(&mut self) -> String {
        self.expect("MAIL FROM:<status@acme.example>").await;
        let to = self.expect("RCPT TO:<").await;
        self.expect("DATA").await;
        to["RCPT TO:<".len()..].trim_end_matches('>').to_string()
    }

    pub async fn open(&mut self) -> String {
        let to = self.envelope().await;
        self.say("250 ok\r\n250 ok\r\n354 go").await;
        to
    }

    pub async fn body(&mut self) -> String {
        let mut body = String::new();
        while self.stream.read_line(&mut body).await.is_ok_and(|n| n > 0) {
            if body.ends_with("\r\n.\r\n") || body == ".\r\n" {
                return body;
            }
        }
        panic!("the body ends without a dot: {body:?}");
    }
}

/// Answers by what the recipient's name says: `unknown` (DATA then gets 354), `gone` (503), `busy`, `spam`, `later`; all others
/// are accepted, with the recipient as queue id. Each session ends after `mails` of them, without a word.
pub async fn crowd(
    server: Server,
    offers: &'static [&'static str],
    mails: usize,
    bodies: mpsc::UnboundedSender<String>,
) {
    loop {
        let session = server.session().await;
        tokio::spawn(answer(session, offers, mails, bodies.clone()));
    }
}

async fn answer(mut session: Session, offers: &[&str], mails: usize, bodies: mpsc::UnboundedSender<String>) {
    session.greet(offers).await;
    let (mut to, mut served) = (String::new(), 0);
    loop {
        let line = session.line().await;
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "MAIL" if !to.is_empty() => session.say("503 nested MAIL").await,
            "MAIL" if served == mails => return,
            "RCPT" => {
                to = line["RCPT TO:<".len()..].trim_end_matches('>').to_string();
                match to.split('.').next() {
                    Some("unknown" | "gone") => session.say("550 5.1.1 unknown").await,
                    Some("busy") => session.say("450 4.2.0 busy").await,
                    _ => session.say("250 ok").await,
                }
            }
            "DATA" => match to.split('.').next() {
                Some("gone") => session.say("503 no recipients").await,
                Some("busy") => session.say("554 no recipients").await,
                name => {
                    session.say("354 go").await;
                    let body = session.body().await;
                    served += 1;
                    match name {
                        Some("unknown") => {
                            assert_eq!(body, ".\r\n");
                            session.say("554 no recipients").await;
                        }
                        Some("spam") => session.say("554 5.7.1 spam").await,
                        Some("later") => session.say("451 4.7.1 later").await,
                        _ => {
                            assert!(body.contains(&format!("To: <{to}>\r\n")), "{to} got another's mail");
                            let _ = bodies.send(to.clone());
                            session.say(&format!("250 queued as {}", to.replace('@', "-"))).await;
                        }
                    }
                    to.clear();
                }
            },
            "RSET" => {
                to.clear();
                session.say("250 ok").await;
            }
            "MAIL" | "NOOP" => session.say("250 ok").await,
            _ => return session.say("221 bye").await,
        }
    }
}
