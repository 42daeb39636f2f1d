//! `loudhailer export cap`: an incident as an alert, as everyone was told of it. `loudhailer export subscribers`: what `import` reads, so that a file goes out of one store and into another unchanged. Who has
//! withdrawn, what is suppressed, and whom nothing is left of, stay behind: another store would not know that they want nothing.

use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};

use super::{Failure, runtime, show, store};
use crate::audience::Subscriber;
use crate::cap::{told, write};
use crate::config::Config;
use crate::id::IncidentId;
use crate::store::Store;

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
    /// Prints what everyone was told of an incident as an alert of CAP 1.2.
    Cap {
        /// The incident's id (inc_…) or key.
        incident: String,
        /// Of this update; else of the latest that was told.
        #[arg(long)]
        update: Option<i64>,
    },
}

/// Subscribers read at one time.
const PAGE: usize = 1000;

pub fn run(config: Config, args: Args) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let store = store(&config).await?;
        match args.what {
            What::Subscribers { audience, secrets } => {
                subscribers(store.as_ref(), audience.as_deref(), secrets).await?
            }
            What::Cap { incident, update } => {
                let alert = alert(store.as_ref(), &config, &incident, update).await?;
                show::line(alert.trim_end())?;
            }
        }
        store.close().await.map_err(anyhow::Error::from)?;
        Ok(())
    })
}

async fn subscribers(store: &dyn Store, audience: Option<&str>, secrets: bool) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = store.subscribers(after, audience, PAGE).await.map_err(anyhow::Error::from)?;
        page.iter()
            .filter(|s| !s.withdrawn && (s.key.is_some() || s.addresses.iter().any(|address| !address.suppressed)))
            .try_for_each(|subscriber| show::line(&row(subscriber, secrets).to_string()))?;
        after = page.last().map(|last| last.id);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

async fn alert(store: &dyn Store, config: &Config, name: &str, update: Option<i64>) -> Result<String, Failure> {
    let missing =
        || Failure::Wrong(format!("there is no incident {name:?}; loudhailer status names those that are open"));
    let id = match name.parse::<IncidentId>() {
        Ok(id) => id,
        Err(_) => store.incident_by_key(name).await.map_err(anyhow::Error::from)?.ok_or_else(missing)?,
    };
    let (incident, _) = store.incident(id).await.map_err(anyhow::Error::from)?.ok_or_else(missing)?;
    let told = told::of(store, config, id).await.map_err(anyhow::Error::from)?;
    let at = match update {
        None => told.len().checked_sub(1),
        Some(number) => told.iter().position(|told| told.id.number == number),
    };
    let alert = at.and_then(|at| write::alert(config, incident.mode, &told, at));
    alert.ok_or_else(|| {
        Failure::Failed(anyhow::anyhow!("nothing of this was told to an audience of everyone: there is no alert of it"))
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
