//! Sinks that fail: one never answers, one resets, one answers byte by byte, one answers after the time that it has. Each does so
//! once for everyone whom it receives for, and works from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Place, Process, until};
use super::{PLANS, broadcast, happening, import, send};
use crate::harness::read_request;

/// Of each sink that fails: fewer than open the breaker of a host.
const OF_EACH: usize = 6;
const OF_THE_GOOD: usize = 300;
/// What a channel waits for an answer, in place of 20 s: longer than the good sinks ever take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    Good,
    Hangs,
    Resets,
    ByteByByte,
    TooLate,
}

/// Each request by address, with its id, in the order in which they came.
type Record = Arc<Mutex<Vec<(String, String)>>>;

async fn listen(number: u8, sink: Sink, record: Record) -> String {
    let listener = TcpListener::bind((format!("127.0.0.{number}"), 0)).await.expect("a port");
    let at = listener.local_addr().expect("an address").to_string();
    let (own, base) = (record, format!("http://{at}"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, sink, own.clone(), base.clone()));
        }
    });
    at
}

async fn serve(mut stream: TcpStream, sink: Sink, record: Record, base: String) -> std::io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        let to = format!("{base}{}", request.path);
        let id = request.header("webhook-id").unwrap_or_default().to_string();
        let first = {
            let mut record = record.lock().expect("not poisoned");
            let first = !record.iter().any(|(known, _)| *known == to);
            record.push((to, id));
            first
        };
        match sink {
            Sink::Hangs if first => return std::future::pending().await,
            Sink::Resets if first => return stream.set_zero_linger(),
            // Nobody waits for it any more when the connection has been given up.
            Sink::TooLate if first => {
                while stream.read(&mut [0; 512]).await? != 0 {}
                return stream.write_all(ANSWER).await;
            }
            Sink::ByteByByte => {
                stream.set_nodelay(true)?;
                for byte in ANSWER {
                    stream.write_all(&[*byte]).await?;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
            _ => stream.write_all(ANSWER).await?,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sinks_that_hang_reset_dribble_or_answer_too_late_hold_up_nobody_else_and_everyone_is_told() {
    let record = Record::default();
    let mut file = String::from("key,audiences,url,email\n");
    let mut expected: BTreeMap<String, Sink> = BTreeMap::new();
    let sinks = [Sink::Hangs, Sink::Resets, Sink::ByteByByte, Sink::TooLate, Sink::Good];
    for (number, sink) in sinks.into_iter().enumerate() {
        let host = listen(40 + number as u8, sink, record.clone()).await;
        for n in 0..if sink == Sink::Good { OF_THE_GOOD } else { OF_EACH } {
            let to = format!("http://{host}/{n}");
            file.push_str(&format!("{sink:?}-{n},businesses,{to},\n"));
            expected.insert(to, sink);
        }
    }
    let place = Place::new("127.0.0.1:9", PLANS);
    let own = place.path("channels");
    std::fs::create_dir(&own).expect("a folder");
    let webhook = include_str!("../../../channels/webhook.toml");
    let quicker = webhook.replace("timeout = \"20s\"", &format!("timeout = \"{}s\"", PATIENCE.as_secs()));
    assert_ne!(webhook, quicker);
    std::fs::write(own.join("webhook.toml"), quicker).expect("written");
    let config = std::fs::read_to_string(place.path("loudhailer.toml")).expect("read");
    let config = config.replace("[paths]\n", &format!("[paths]\nchannels = {own:?}\n"));
    std::fs::write(place.path("loudhailer.toml"), config).expect("written");
    import(&place, &file).await;

    let mut process = Process::serve(&place);
    let (status, answer) = send(&process.host, &happening("main", "critical")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    broadcast(&answer);
    let reached = |sink: Sink| {
        let record = record.lock().expect("not poisoned");
        record.iter().map(|(to, _)| to).filter(|to| expected[*to] == sink).collect::<BTreeSet<_>>().len()
    };
    until("the good sink has all of its own", async || (reached(Sink::Good) == OF_THE_GOOD).then_some(())).await;
    // A sink that fails is no reason to take nothing more in.
    assert_eq!(process.ready().await, Some(true));
    let (status, answer) = send(&process.host, &happening("later", "info")).await.expect("an answer");
    assert_eq!(status, 202, "{answer}");
    process.settled().await;
    let broadcasts = process.get("/v1/broadcasts").await.expect("an answer");
    let counts = &broadcasts["items"].as_array().expect("items").last().expect("the first")["counts"];
    assert_eq!(counts["told"], expected.len(), "{broadcasts:#}");
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));

    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (to, id) in record.lock().expect("not poisoned").iter() {
        came.entry(to.clone()).or_default().push(id.clone());
    }
    assert_eq!(came.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (to, ids) in came {
        assert!(ids.iter().all(|id| *id == ids[0]), "{to} heard it under several ids: {ids:?}");
        let tries = match expected[&to] {
            Sink::Good | Sink::ByteByByte => 1,
            Sink::Hangs | Sink::Resets | Sink::TooLate => 2,
        };
        assert_eq!(ids.len(), tries, "{to} of {:?}", expected[&to]);
    }
}
