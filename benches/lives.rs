//! What a delivery's whole life costs the store's writer: decided into a manifest, recorded once or, one of a hundred, twice. The
//! real store, told by pages and batches as the planner and the recorder tell it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use loudhailer::audience::route::{ChannelId, Way};
use loudhailer::cli::bench::cpu;
use loudhailer::clock::Time;
use loudhailer::id::{BroadcastId, DeliveryId, SubscriberId};
use loudhailer::plan::Priority;
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Decided, Decision, DeliveryFilter, DeliveryState, Fact, Manifest, ManifestKey, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::compare::round;
use super::process::{MEASURED, Process, pins};
use super::{Args, Measured};

/// Recipients of a manifest, and facts of a batch at most.
const PAGE: usize = 1000;
const BATCH: usize = 4096;
/// Every so manieth is answered "later" at first.
const RETRIED: u64 = 100;
const SHARDS: u64 = 64;
const BROADCAST: BroadcastId = BroadcastId(1);
const CHANNEL: ChannelId = ChannelId(1);

#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    pub store: PathBuf,
    pub count: u64,
}

pub fn store(args: &Args) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let task = Task { store: folder.path().join("store.db"), count: args.waiting };
    let (_, printed) = Process::role(MEASURED, "lives", &json!(task))?.into_end()?;
    let ended: serde_json::Value = serde_json::from_str(&printed)?;
    let number = |name: &str| ended[name].as_f64().unwrap_or(f64::NAN);
    let lives = task.count as f64;
    let length = |end: &str| std::fs::metadata(format!("{}{end}", task.store.display())).map_or(0, |file| file.len());
    Ok(Measured {
        figures: vec![
            ("store_cpu_us", round(number("writer") * 1e6 / lives, 3)),
            ("store_per_s", (lives / number("seconds")).round()),
        ],
        raw: json!({
            "recipients": task.count, "retried": task.count / RETRIED, "page": PAGE, "batch": BATCH, "pins": pins(),
            "checkpoint_cpu_us": round(number("checkpoint") * 1e6 / lives, 3),
            "bytes": round((length("") + length("-wal")) as f64 / lives, 1),
        }),
    })
}

pub async fn run(task: Task) -> anyhow::Result<()> {
    let spent = |thread: &str| cpu::threads(thread).context("/proc");
    let store = Sqlite::own(&task.store, 1024)?;
    let epoch = store.leases().epoch(0).context("it owns all")?;
    let before = (spent("writer")?, spent("checkpoint")?);
    let began = Instant::now();
    // As far ahead as lanes let the planner be.
    let (pages, mut decided) = mpsc::channel::<(ManifestKey, Vec<SubscriberId>)>(4);
    let planner = async {
        for (key, members, end) in all_pages(task.count) {
            store.decide(vec![manifest(key, epoch, &members, end)], Vec::new(), Vec::new()).await?;
            if pages.send((key, members)).await.is_err() {
                break;
            }
        }
        drop(pages);
        anyhow::Ok(())
    };
    let recorder = async {
        let (mut facts, mut closed, mut again, mut told) = (Vec::new(), Vec::new(), Vec::new(), 0);
        loop {
            let page = decided.recv().await;
            let last = page.is_none();
            facts.append(&mut again);
            if let Some((key, members)) = page {
                for (n, subscriber) in members.into_iter().enumerate() {
                    if n as u64 % RETRIED == RETRIED - 1 {
                        facts.push(fact(subscriber, 1, DeliveryState::Open));
                        again.push(fact(subscriber, 2, DeliveryState::Told));
                    } else {
                        facts.push(fact(subscriber, 1, DeliveryState::Told));
                    }
                }
                closed.push(key);
            }
            if facts.len() + PAGE >= BATCH || (last && !facts.is_empty()) {
                let written = store.record(Arc::new(std::mem::take(&mut facts)), std::mem::take(&mut closed)).await?;
                let ended = written.ended;
                told += ended.get(&BROADCAST).copied().unwrap_or(0);
            }
            if last && facts.is_empty() && again.is_empty() {
                return anyhow::Ok(told);
            }
        }
    };
    let ((), told) = futures_util::future::try_join(planner, recorder).await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = (spent("writer")?, spent("checkpoint")?);
    ensure!(told as u64 == task.count, "void: {told} have ended");
    let open = DeliveryFilter { broadcast: Some(BROADCAST), state: Some(DeliveryState::Open), ..Default::default() };
    ensure!(store.deliveries(open, 1).await?.is_empty(), "void: somebody is open");
    store.close().await?;
    println!("{}", json!({ "seconds": seconds, "writer": after.0 - before.0, "checkpoint": after.1 - before.1 }));
    Ok(())
}

/// Shard after shard, as the planner goes through them.
fn all_pages(count: u64) -> Vec<(ManifestKey, Vec<SubscriberId>, bool)> {
    let mut pages = Vec::new();
    for shard in 0..SHARDS {
        let members: Vec<_> = (shard..count)
            .step_by(SHARDS as usize)
            .map(|number| SubscriberId((shard << 48 | (number + SHARDS)) as i64))
            .collect();
        let last = members.chunks(PAGE).count();
        for (number, page) in members.chunks(PAGE).enumerate() {
            let key = ManifestKey { broadcast: BROADCAST, shard: shard as u8, number: number as i64 };
            pages.push((key, page.to_vec(), number + 1 == last));
        }
    }
    pages
}

fn manifest(key: ManifestKey, epoch: i64, members: &[SubscriberId], end: bool) -> Manifest {
    let decided = members
        .iter()
        .map(|subscriber| Decided {
            subscriber: *subscriber,
            version: 1,
            decision: Decision::Ways(vec![Way { place: 1, channel: CHANNEL }], Vec::new()),
        })
        .collect();
    Manifest { key, at: now(), epoch, decided, end }
}

fn fact(subscriber: SubscriberId, tries: u32, state: DeliveryState) -> Fact {
    let at = now();
    let again = tries > 1;
    Fact {
        delivery: DeliveryId { broadcast: BROADCAST, subscriber, place: 1 },
        state,
        channel: CHANNEL,
        began: at,
        ended: at,
        tries,
        detail: (state == DeliveryState::Open).then(|| "503 Service Unavailable".into()),
        reference: None,
        indexed: false,
        priority: Priority::High,
        lane: CHANNEL,
        due: at,
        attempt: match (state, again) {
            (DeliveryState::Open, _) => Some(("deferred", None)),
            (_, true) => Some(("accepted", None)),
            (_, false) => None,
        },
        fault: None,
        sole: (!again).then_some(1),
        suppress: false,
        reopens: false,
        entered: None,
        perhaps: None,
    }
}

fn now() -> Time {
    Time(jiff::Timestamp::now().as_millisecond())
}
