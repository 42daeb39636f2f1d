//! `loudhailer explain`: why somebody was told by a broadcast, or not. Read from the store: the decision of its manifest, the
//! rows, the attempts.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::anyhow;
use clap::Parser;
use serde_json::{Value, json};

use super::{Failure, runtime, show, store};
use crate::audience::route::{ChannelId, Way};
use crate::config::Config;
use crate::id::{BroadcastId, SubscriberId};
use crate::store::{Broadcast, Decision, DeliveryFilter, Store};

#[derive(Parser)]
pub struct Args {
    broadcast: BroadcastId,
    #[arg(long, required_unless_present = "address", conflicts_with = "address")]
    subscriber: Option<SubscriberId>,
    /// Whose address: kind:address, such as email:alex@example.org.
    #[arg(long)]
    address: Option<String>,
    #[arg(long)]
    json: bool,
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let explained = runtime()?.block_on(async {
        let store = store(&config)?;
        let names = store.channels(Vec::new()).await.map_err(anyhow::Error::from)?;
        let names = names.into_iter().map(|(name, id, _)| (id, name)).collect();
        let explained = explain(&store, &names, &args).await;
        store.close().await.map_err(anyhow::Error::from)?;
        explained
    })?;
    if args.json {
        return show::json(&explained);
    }
    show::line(&show::cell(&explained["because"]))?;
    for way in explained["left_out"].as_array().into_iter().flatten() {
        show::line(&format!("  not by {}: {}", show::cell(&way["way"]), show::cell(&way["why"]).replace('_', " ")))?;
    }
    for delivery in explained["deliveries"].as_array().into_iter().flatten() {
        let of = |name: &str| show::cell(&delivery[name]);
        show::line(&format!(
            "place {} by {} at {}: {} after {} tries {}",
            of("place"),
            of("channel"),
            of("ended"),
            of("state"),
            of("tries"),
            of("detail")
        ))?;
        for attempt in delivery["attempts"].as_array().into_iter().flatten() {
            let of = |name: &str| show::cell(&attempt[name]);
            show::line(&format!("  {} {} {} {}", of("began"), of("channel"), of("outcome"), of("detail")))?;
        }
    }
    Ok(())
}

async fn explain(store: &Arc<dyn Store>, names: &BTreeMap<ChannelId, String>, args: &Args) -> Result<Value, Failure> {
    let failed = anyhow::Error::from;
    let broadcast = store.broadcast(args.broadcast).await.map_err(failed)?;
    let broadcast = broadcast.ok_or_else(|| anyhow!("there is no broadcast {}", args.broadcast))?;
    let who = match (&args.subscriber, &args.address) {
        (Some(id), _) => *id,
        (None, address) => {
            let named = address.as_deref().and_then(|address| address.split_once(':'));
            let (kind, value) = named.ok_or_else(|| Failure::Wrong("--address: write kind:address".into()))?;
            let found = store.subscriber_by_address(kind, value).await.map_err(failed)?;
            found.ok_or_else(|| anyhow!("no subscriber has that address"))?.id
        }
    };
    let subscriber = store.subscriber(who).await.map_err(failed)?;
    let decided = store.decided(args.broadcast, who).await.map_err(failed)?;
    let name = |id: ChannelId| names.get(&id).cloned().unwrap_or_else(|| format!("channel {}", id.0));
    let place = |way: &Way| {
        let address = subscriber.iter().flat_map(|s| &s.addresses).find(|address| address.place == way.place);
        let kind = address.map_or("an address that is gone", |address| address.kind.as_str());
        format!("{} ({kind}, place {})", name(way.channel), way.place)
    };
    let mut left_out = Vec::new();
    let because = match &decided {
        Some((at, decided)) => {
            let what = match &decided.decision {
                Decision::Omitted(omission) if omission.unreachable() => {
                    format!("could not be told: {}", words(*omission))
                }
                Decision::Omitted(omission) => format!("was left out: {}", words(*omission)),
                Decision::Waits => "was selected and had to wait (quiet hours, or no way worked then)".into(),
                Decision::Ways(ways, left) => {
                    left_out = left.iter().map(|l| json!({ "way": place(&l.way), "why": l.why })).collect();
                    format!("was selected, by {}", ways.iter().map(place).collect::<Vec<_>>().join(" and "))
                }
            };
            format!("{who} {what}; decided {at} for version {}", decided.version)
        }
        None => undecided(&broadcast, subscriber.as_ref().map(|s| s.audiences.contains(&broadcast.audience)), who),
    };
    let filter = DeliveryFilter { broadcast: Some(args.broadcast), subscriber: Some(who), ..Default::default() };
    let mut deliveries = Vec::new();
    for row in store.deliveries(filter, 1000).await.map_err(failed)? {
        let attempts = store.delivery(row.id).await.map_err(failed)?.map_or(Vec::new(), |(_, attempts)| attempts);
        let attempts = attempts.iter().map(|a| {
            json!({ "began": a.began, "channel": name(a.channel), "outcome": a.outcome, "fault": a.fault, "detail": a.detail })
        });
        deliveries.push(json!({
            "place": row.id.place, "channel": name(row.channel), "state": row.state, "began": row.began, "ended": row.ended,
            "tries": row.tries, "detail": row.detail, "reference": row.reference, "receipt": row.receipt,
            "attempts": attempts.collect::<Vec<_>>(),
        }));
    }
    Ok(
        json!({ "broadcast": args.broadcast, "subscriber": who, "because": because, "left_out": left_out, "deliveries": deliveries }),
    )
}

fn words(omission: crate::audience::Omission) -> String {
    omission.word().replace('_', " ")
}

fn undecided(broadcast: &Broadcast, member: Option<bool>, who: SubscriberId) -> String {
    match member {
        None => format!("there is no subscriber {who} any more, and nothing was decided for them"),
        Some(false) => format!("{who} is not a member of {}, whom the broadcast is for", broadcast.audience),
        Some(true) if broadcast.state.live() => {
            format!("nothing is decided for {who} yet: the broadcast is {}", broadcast.state)
        }
        Some(true) => {
            format!("nothing was decided for {who}: they joined later, or it ended ({}) before", broadcast.state)
        }
    }
}
