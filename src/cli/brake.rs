//! `loudhailer stop | pause | resume | release`, and `channel`: the hand on the brake of a running server.

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::{Failure, show};
use crate::id::BroadcastId;

#[derive(Parser)]
pub struct Stop {
    /// The broadcast.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    broadcast: Option<BroadcastId>,
    /// Everything that is held, running or paused.
    #[arg(long)]
    all: bool,
    #[arg(long)]
    json: bool,
}

#[derive(Parser)]
pub struct One {
    /// The broadcast.
    broadcast: BroadcastId,
    #[arg(long)]
    json: bool,
}

pub async fn stop(client: Client, args: Stop) -> Result<(), Failure> {
    match args.broadcast {
        Some(broadcast) => change(client, One { broadcast, json: args.json }, "stop").await,
        None => {
            let stopped = client.post("/v1/broadcasts:stop", &json!({})).await?;
            if args.json {
                return show::json(&stopped);
            }
            let ids = stopped["stopped"].as_array().cloned().unwrap_or_default();
            show::line(&format!(
                "stopped {}{}",
                ids.len(),
                ids.iter().map(|id| format!(" {}", show::cell(id))).collect::<String>()
            ))
        }
    }
}

/// `stop`, `pause`, `resume` or `release`. When this returns, what it forbids does not begin any more.
pub async fn change(client: Client, args: One, what: &str) -> Result<(), Failure> {
    let broadcast = client.post(&format!("/v1/broadcasts/{}:{what}", args.broadcast), &json!({})).await?;
    match args.json {
        true => show::json(&broadcast),
        false => show::line(&format!("{} is {}", args.broadcast, show::cell(&broadcast["state"]))),
    }
}

#[derive(Parser)]
pub struct Channels {
    #[command(subcommand)]
    what: OfChannel,
}

#[derive(Subcommand)]
enum OfChannel {
    /// Whether each works, and what waits in it.
    List {
        #[arg(long)]
        json: bool,
    },
    /// Sends nothing through it any more; what waits in it takes other ways.
    Pause { name: String },
    /// Sends through it again.
    Resume { name: String },
}

pub async fn channel(client: Client, args: Channels) -> Result<(), Failure> {
    let (name, what) = match args.what {
        OfChannel::List { json } => {
            let channels = client.get("/v1/channels").await?;
            if json {
                return show::json(&channels["items"]);
            }
            let rows = channels["items"].as_array().cloned().unwrap_or_default();
            let cells = |row: &Value| {
                let waiting: i64 = row["queue"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_i64()).sum();
                let mut cells: Vec<String> =
                    ["name", "platform", "kind", "health"].iter().map(|key| show::cell(&row[*key])).collect();
                // Its own, its account's, and what its platform taught.
                let limits: Vec<String> = ["rate", "account_rate", "learned"]
                    .iter()
                    .map(|key| show::cell(&row["limits"][*key]))
                    .filter(|limit| !limit.is_empty())
                    .collect();
                cells.extend([waiting.to_string(), show::cell(&row["on_wire"]), limits.join(", ")]);
                cells
            };
            return show::table(
                &["channel", "platform", "kind", "health", "waiting", "on the wire", "limit"],
                &rows.iter().map(cells).collect::<Vec<_>>(),
            );
        }
        OfChannel::Pause { name } => (name, "pause"),
        OfChannel::Resume { name } => (name, "resume"),
    };
    let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let channel = client.post(&format!("/v1/channels/{name}:{what}"), &json!({})).await?;
    show::line(&format!("{} is {}", show::cell(&channel["name"]), show::cell(&channel["health"])))
}
