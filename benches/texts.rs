//! The driver of SMPP to an SMS centre in another process, which answers as fast as it reads and counts each number.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use loudhailer::channel::platforms::Platforms;
use loudhailer::channel::{Outcome, Parcel, registry};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::render::message::{Filled, Message};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::compare::{Leg, alternate};
use super::loops::all;
use super::process::{MEASURED, OTHER, Process, pins};
use super::{Args, Measured};

/// Messages that wait for their answer at one time.
const WINDOW: usize = 100;
const TEXT: &str = "Loudhailer: web down worldwide since 15:39 UTC, 4 Oct. If urgent, call. Next update 16:30 UTC: status.example Check 7KQ4";

#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    host: String,
    count: u64,
}

pub fn smpp(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients;
    let leg = || {
        let mut centre = Process::role(OTHER, "centre", &json!({}))?;
        let host = centre.json()?["host"].as_str().context("where it listens")?.to_string();
        let mut texts = Process::role(MEASURED, "texts", &json!(Task { host, count }))?;
        let leg = Leg::read(&texts.json()?, count)?;
        let came = centre.json()?;
        ensure!(came["messages"] == count && came["numbers"] == count, "{count} were sent, and {came} came");
        Ok(leg)
    };
    let legs = alternate(args.rounds, vec![("smpp", Box::new(leg))])?;
    Ok(Measured {
        figures: vec![("smpp_per_s", legs.rate("smpp").round()), ("smpp_cpu_us", legs.cpu_micros("smpp"))],
        raw: json!({ "messages": count, "window": WINDOW, "octets": TEXT.len(), "pins": pins(), "legs": legs.raw() }),
    })
}

/// One connection, until it ends.
pub async fn centre() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", json!({ "host": listener.local_addr()?.to_string() }));
    std::io::stdout().flush()?;
    let (mut stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let (mut numbers, mut messages, mut read, mut out) = (HashSet::new(), 0u64, Vec::new(), Vec::new());
    while stream.read_buf(&mut read).await.unwrap_or(0) > 0 {
        let mut at = 0;
        while let Some(length) = read[at..].first_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize)
            && let Some(pdu) = read.get(at..at + length)
        {
            let (id, sequence) = (u32::from_be_bytes(pdu[4..8].try_into()?), &pdu[12..16]);
            let mut answer = String::from("centre");
            if id == 4 {
                // Past service type, and what is said of the source: its two octets, itself, and the two of the destination.
                let mut fields = pdu[16..].splitn(4, |octet| *octet == 0);
                let number = fields.nth(2).context("a destination")?;
                numbers.insert(number[2..].to_vec());
                messages += 1;
                answer = messages.to_string();
            }
            out.extend((17 + answer.len() as u32).to_be_bytes());
            out.extend((id | 0x8000_0000).to_be_bytes());
            out.extend([0; 4]);
            out.extend(sequence);
            out.extend(answer.bytes().chain([0]));
            at += length;
        }
        read.drain(..at);
        stream.write_all(&out).await?;
        out.clear();
    }
    println!("{}", json!({ "messages": messages, "numbers": numbers.len() }));
    Ok(())
}

pub async fn texts(task: Task) -> anyhow::Result<()> {
    let config = format!(
        "[channels.sms]\nplatform = \"smpp\"\nconcurrency = {WINDOW}\n[channels.sms.settings]\nurl = \"smpp://{}\"\n\
         system_id = \"bench\"\npassword = \"secret\"\nfrom = \"+46700000001\"\n",
        task.host
    );
    let config = Config::from_toml(&config, "bench.toml", std::iter::empty())?;
    let built = registry::build(&config, &Platforms::load(None)?, Arc::new(Clock::system()))?;
    let driver = built.into_iter().next().context("a channel")?.driver;
    let words = Filled { title: None, text: TEXT.into(), html: None, locale: "en".into() };
    let message: Arc<Message> = Arc::new(words.into());
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for first in 0..WINDOW as u64 {
        let (driver, message) = (driver.clone(), message.clone());
        senders.spawn_local(async move {
            for n in (first..task.count).step_by(WINDOW) {
                let outcome = driver.send(parcel(n, message.clone())).await;
                ensure!(matches!(outcome, Outcome::Accepted { reference: Some(_) }), "{outcome:?}");
            }
            anyhow::Ok(())
        });
    }
    all(senders, began).await
}

fn parcel(n: u64, message: Arc<Message>) -> Parcel {
    Parcel {
        id: format!("dlv_{n}"),
        broadcast: None,
        incident: None,
        to: format!("+4670{n:08}").into(),
        secrets: Vec::new(),
        message,
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: Time(0),
    }
}
