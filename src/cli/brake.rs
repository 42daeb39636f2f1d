//! `loudhailer stop | pause | resume | release`: the hand on the brake of a running server's broadcasts.

use clap::Parser;
use serde_json::json;

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
