//! `loudhailer export subscribers`: what `import` reads, so that a file goes out of one store and into another unchanged. Who has
//! withdrawn, what is suppressed, and whom nothing is left of, stay behind: another store would not know that they want nothing.

use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};

use super::{Failure, runtime, show, store};
use crate::audience::Subscriber;
use crate::config::Config;

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Prints every subscriber as a line of NDJSON.
    Subscribers {
        /// Only the members of one audience.
        #[arg(long)]
        audience: Option<String>,
        /// With the secrets of webhooks, which another store needs to go on signing.
        #[arg(long)]
        secrets: bool,
    },
}

/// Subscribers read at one time.
const PAGE: usize = 1000;

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    let What::Subscribers { audience, secrets } = args.what;
    runtime()?.block_on(async {
        let store = store(&config)?;
        let mut after = None;
        loop {
            let page = store.subscribers(after, audience.as_deref(), PAGE).await.map_err(anyhow::Error::from)?;
            page.iter()
                .filter(|s| !s.withdrawn && (s.key.is_some() || s.addresses.iter().any(|address| !address.suppressed)))
                .try_for_each(|subscriber| show::line(&row(subscriber, secrets).to_string()))?;
            after = page.last().map(|last| last.id);
            if page.len() < PAGE {
                break;
            }
        }
        store.close().await.map_err(anyhow::Error::from)?;
        Ok(())
    })
}

fn row(subscriber: &Subscriber, secrets: bool) -> Value {
    let mut row = Map::new();
    let mut text = |name: &str, value: Option<String>| value.map(|value| row.insert(name.into(), value.into()));
    text("key", subscriber.key.clone());
    text("name", subscriber.name.clone());
    text("locale", Some(subscriber.locale.clone()));
    text("time_zone", Some(subscriber.zone.clone()));
    text("quiet_hours", subscriber.quiet.map(|quiet| quiet.to_string()));
    text("min_severity", Some(subscriber.severity.to_string()));
    row.insert("exercises".into(), subscriber.exercises.into());
    row.insert("audiences".into(), json!(subscriber.audiences));
    row.insert("components".into(), json!(subscriber.components));
    row.insert("regions".into(), json!(subscriber.regions));
    let addresses = subscriber.addresses.iter().filter(|address| !address.suppressed);
    let addresses = addresses.map(|a| {
        let mut address = json!({ "kind": a.kind, "address": a.value, "verified": a.verified });
        if let Some(secret) = a.secrets.first().filter(|_| secrets) {
            address["secret"] = json!(secret);
        }
        address
    });
    row.insert("addresses".into(), addresses.collect());
    Value::Object(row)
}
