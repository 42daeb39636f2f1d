//! Mail servers that fail, each behind a channel of its own: one never answers a mail, one resets the connection after it, one
//! before it, one answers after the time that it has, one byte by byte. Relays do not drop a mail that they have had: what may
//! have been taken is not sent again, and what was not, is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Place, Process, until};
use super::{happening, read_in, send};

/// For each server that fails.
const OF_EACH: usize = 4;
const OF_THE_GOOD: usize = 200;
/// For one reply, and five times as long for that to a whole mail: longer than the good server ever takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Server {
    Good,
    Hangs,
    Resets,
    ResetsBefore,
    TooLate,
    ByteByByte,
}

const SERVERS: [Server; 6] =
    [Server::Good, Server::Hangs, Server::Resets, Server::ResetsBefore, Server::TooLate, Server::ByteByByte];

impl Server {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn count(self) -> usize {
        if self == Server::Good { OF_THE_GOOD } else { OF_EACH }
    }

    /// Whether it takes a mail and never says so.
    fn is_silent(self) -> bool {
        matches!(self, Server::Hangs | Server::Resets | Server::TooLate)
    }
}

#[derive(Default)]
struct Came {
    /// Each whole mail by address, with its id.
    mails: Vec<(String, String)>,
    /// Each address that was named on a connection that was then reset.
    refused: Vec<String>,
}

type Record = Arc<Mutex<Came>>;

async fn listen(server: Server, record: &Record) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let record = record.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, server, record.clone()));
        }
    });
    at
}

async fn serve(stream: TcpStream, server: Server, record: Record) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    say(&mut stream, server, "220 server.test ESMTP").await?;
    let mut to = String::new();
    while let Some(line) = line(&mut stream).await? {
        match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => say(&mut stream, server, "250-server.test\r\n250-PIPELINING\r\n250 8BITMIME").await?,
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().into();
                if server == Server::ResetsBefore && is_refused(&record, &to) {
                    return stream.get_ref().set_zero_linger();
                }
                say(&mut stream, server, "250 yes").await?;
            }
            "DATA" => {
                say(&mut stream, server, "354 go on").await?;
                let Some(id) = mail(&mut stream).await? else { return Ok(()) };
                record.lock().expect("not poisoned").mails.push((to.clone(), id));
                match server {
                    Server::Hangs => return std::future::pending().await,
                    Server::Resets => return stream.get_ref().set_zero_linger(),
                    // Nobody waits for it any more when the connection has been given up.
                    Server::TooLate => {
                        while stream.read(&mut [0; 512]).await? != 0 {}
                        return say(&mut stream, server, "250 taken").await;
                    }
                    _ => say(&mut stream, server, "250 taken").await?,
                }
            }
            "QUIT" => return say(&mut stream, server, "221 bye").await,
            _ => say(&mut stream, server, "250 yes").await?,
        }
    }
    Ok(())
}

/// Whoever is named for the first time.
fn is_refused(record: &Record, to: &str) -> bool {
    let mut came = record.lock().expect("not poisoned");
    let first = !came.refused.iter().any(|known| known == to);
    if first {
        came.refused.push(to.into());
    }
    first
}

async fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await?;
    Ok((read > 0).then(|| line.trim_end().to_string()))
}

/// The id of a mail that came to its final dot; half a mail is none.
async fn mail(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut id = String::new();
    while let Some(line) = line(stream).await? {
        if line == "." {
            return Ok(Some(id));
        }
        if let Some(value) = line.strip_prefix("Message-ID: <") {
            id = value.split('@').next().unwrap_or_default().into();
        }
    }
    Ok(None)
}

async fn say(stream: &mut BufReader<TcpStream>, server: Server, reply: &str) -> std::io::Result<()> {
    let reply = format!("{reply}\r\n");
    if server != Server::ByteByByte {
        return stream.get_mut().write_all(reply.as_bytes()).await;
    }
    for byte in reply.as_bytes() {
        stream.get_mut().write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    Ok(())
}

/// A step for each server: its own audience, by its own channel.
fn plan() -> String {
    let mut plan = String::from("title = \"Everyone\"\n[match]\nseverity = [\"critical\"]\n");
    for server in SERVERS.map(Server::name) {
        plan.push_str(&format!(
            "[[step]]\nname = \"{server}\"\naudience = \"{server}\"\nroutes = [\"mail-{server}\"]\npriority = \"high\"\n"
        ));
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_servers_that_hang_reset_dribble_or_answer_too_late_hold_up_nobody_else_and_get_no_mail_twice() {
    let record = Record::default();
    let mut file = String::from("key,audiences,email\n");
    let mut channels = String::new();
    let mut expected: BTreeMap<String, Server> = BTreeMap::new();
    for server in SERVERS {
        let (name, at) = (server.name(), listen(server, &record).await);
        channels.push_str(&format!(
            "[audiences.{name}]\nclearance = \"partner\"\ntemplates = \"businesses\"\n[channels.mail-{name}]\nplatform = \"smtp\"\n[channels.mail-{name}.settings]\n\
             url = \"smtp://{at}\"\ntls = \"none\"\ntimeout = \"{}s\"\n",
            PATIENCE.as_secs()
        ));
        for n in 0..server.count() {
            let to = format!("{name}-{n}@example.org");
            file.push_str(&format!("{name}-{n},{name},{to}\n"));
            expected.insert(to, server);
        }
    }
    let place = Place::new("127.0.0.1:9", &[("outage.toml", &plan())]);
    let config = std::fs::read_to_string(place.path("loudhailer.toml")).expect("read");
    std::fs::write(place.path("loudhailer.toml"), config + &channels).expect("written");
    read_in(&place, &file);

    let mut process = Process::serve(&place);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    let of_the_good = || {
        let came = record.lock().expect("not poisoned");
        came.mails.iter().filter(|(to, _)| expected[to] == Server::Good).count()
    };
    until("the good server has all of its own", async || (of_the_good() == OF_THE_GOOD).then_some(())).await;
    // A server that fails is no reason to take nothing more in.
    assert_eq!(process.ready().await, Some(true));
    let (status, answer) = send(&process.host, &happening("later", "info")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    process.settled().await;
    let broadcasts = process.get("/v1/broadcasts").await.expect("an answer");
    for server in SERVERS {
        let of = |broadcast: &&serde_json::Value| broadcast["audience"] == *server.name();
        let counts = &broadcasts["items"].as_array().expect("items").iter().find(of).expect("one")["counts"];
        let (told, unknown) = if server.is_silent() { (0, OF_EACH) } else { (server.count(), 0) };
        assert_eq!((&counts["told"], &counts["unknown"]), (&json!(told), &json!(unknown)), "{server:?}: {counts}");
    }
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let came = record.lock().expect("not poisoned");
    let mut to: Vec<&String> = came.mails.iter().map(|(to, _)| to).collect();
    to.sort();
    assert_eq!(to, expected.keys().collect::<Vec<_>>(), "everyone has one mail, whatever became of its answer");
    assert_eq!(came.refused.len(), OF_EACH, "{:?}", came.refused);
    assert!(came.mails.iter().all(|(_, id)| id.starts_with("dlv_")), "{:?}", came.mails);
}
