//! `loudhailer explain`: why somebody was told by a broadcast, or not, and what comes next. Read from the store, also beside a
//! running server.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::Parser;

use super::{Failure, runtime, show, store};
use crate::app::{self, App};
use crate::config::Config;
use crate::explain::{Channels, Explained, explain};
use crate::id::{BroadcastId, DeliveryId, SubscriberId};
use crate::store::Store;

#[derive(Parser)]
pub struct Args {
    /// A delivery (dlv_…), or a broadcast (brd_…) with the person who is meant.
    #[arg(value_name = "DELIVERY or BROADCAST")]
    what: String,
    #[arg(long, conflicts_with = "address")]
    subscriber: Option<SubscriberId>,
    /// Whose address: kind:address, such as email:alex@example.org.
    #[arg(long)]
    address: Option<String>,
    #[arg(long)]
    json: bool,
}

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let of = match args.what.parse::<BroadcastId>() {
        Ok(broadcast) if args.subscriber.is_some() || args.address.is_some() => Some(broadcast),
        Ok(_) => return Err(Failure::Wrong("whom? write --subscriber sub_… or --address kind:address".into())),
        Err(_) if !args.what.starts_with("dlv_") => {
            return Err(Failure::Wrong(format!("{:?} is neither dlv_… nor brd_…", args.what)));
        }
        Err(_) if args.subscriber.is_some() || args.address.is_some() => {
            return Err(Failure::Wrong("a delivery says whose it is; --subscriber and --address are for brd_…".into()));
        }
        Err(_) => None,
    };
    let explained = runtime()?.block_on(async {
        let store = store(&config).await?;
        let explained = about(&config, &store, of, &args).await;
        store.close().await.map_err(anyhow::Error::from)?;
        explained
    })?;
    match args.json {
        true => show::json(&explained),
        false => explained.text.iter().try_for_each(|line| show::line(line)),
    }
}

async fn about(
    config: &Config,
    store: &Arc<dyn Store>,
    of: Option<BroadcastId>,
    args: &Args,
) -> Result<Explained, Failure> {
    let key = app::installation_key(&**store).await?;
    let (broadcast, who) = match (of, args.subscriber) {
        (Some(broadcast), Some(who)) => (broadcast, who),
        (Some(broadcast), None) => (broadcast, owner(store, args.address.as_deref().unwrap_or_default()).await?),
        (None, _) => {
            let id = DeliveryId::read(&args.what, &key).map_err(|_| anyhow!("there is no delivery {:?}", args.what))?;
            (id.broadcast, id.subscriber)
        }
    };
    let set_up = App::known_channels(config, &**store).await?;
    let channels = Channels::new(&**store, set_up.iter()).await.context("the channels")?;
    let explained = explain(&**store, &channels, &key, broadcast, who).await.context("the store")?;
    Ok(explained.ok_or_else(|| anyhow!("there is no {broadcast}, or no {who} in it"))?)
}

async fn owner(store: &Arc<dyn Store>, address: &str) -> Result<SubscriberId, Failure> {
    let named = address.split_once(':');
    let (kind, value) = named.ok_or_else(|| Failure::Wrong("--address: write kind:address".into()))?;
    let found = store.subscriber_by_address(kind, value).await.map_err(anyhow::Error::from)?;
    Ok(found.ok_or_else(|| anyhow!("no subscriber has that address"))?.id)
}
