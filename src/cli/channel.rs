//! `loudhailer channel`: a file to start from, a channel tried for real, and the health and brake of those of a running server.

mod new;
mod read;
mod report;
mod test;

use clap::{Parser, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, Server};
use super::{Failure, remote, show};
use crate::config::Config;

#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Whether each works, and what waits in it.
    List {
        #[arg(long)]
        json: bool,
    },
    /// Writes a platform's file to start from, which passes the check as it stands and sends nothing anywhere.
    New(new::Args),
    /// Sends one test message by a channel of the configuration, for real, and shows request, answer and how it was read. No server
    /// needs to run, nothing is stored, and it does not count in the limits that a running server keeps.
    Test(test::Args),
    /// Sends nothing through it any more; what waits in it takes other ways.
    Pause { name: String },
    /// Sends through it again.
    Resume {
        name: String,
        /// It was compromised, and its credentials may stay as they are.
        #[arg(long)]
        same_credentials: bool,
    },
    /// Hands a mail from standard input to the running server, as an alias or a transport of a mail server: a bounce (RFC 3464) or a
    /// complaint (RFC 5965) becomes a receipt. Exit status 75 where it has to be tried again.
    Report { name: String },
    /// Somebody else has its credentials: as pause, until they were changed; what its platform reports counts no more.
    Compromised { name: String },
}

impl Args {
    /// Whether a mail server asks, which repeats what failed for a while.
    pub fn reports(&self) -> bool {
        matches!(self.what, What::Report { .. })
    }
}

pub fn run(config: Config, server: &Server, args: Args) -> Result<(), Failure> {
    match args.what {
        What::List { json } => remote(&config, server, |client| list(client, json)),
        What::New(args) => new::run(&config, &args),
        What::Test(args) => test::run(&config, &args),
        What::Pause { name } => remote(&config, server, |client| set(client, name, "pause", json!({}))),
        What::Resume { name, same_credentials } => {
            let wish = if same_credentials { json!({ "same_credentials": true }) } else { json!({}) };
            remote(&config, server, |client| set(client, name, "resume", wish))
        }
        What::Report { name } => report::run(&config, server, &name),
        What::Compromised { name } => remote(&config, server, |client| compromised(client, name)),
    }
}

async fn list(client: Client, json: bool) -> Result<(), Failure> {
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
    show::table(
        &["channel", "platform", "kind", "health", "waiting", "on the wire", "limit"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    )
}

async fn set(client: Client, name: String, what: &str, wish: Value) -> Result<(), Failure> {
    let channel = asked(&client, &name, what, &wish).await?;
    show::line(&format!("{} is {}", show::cell(&channel["name"]), show::cell(&channel["health"])))
}

async fn compromised(client: Client, name: String) -> Result<(), Failure> {
    let channel = asked(&client, &name, "compromised", &json!({})).await?;
    let name = show::cell(&channel["name"]);
    show::line(&format!(
        "{name} is {}: nothing goes by it, and no report of its platform counts",
        show::cell(&channel["health"])
    ))?;
    for other in channel["compromised"]["same_secrets"].as_array().into_iter().flatten() {
        let other = show::cell(other);
        show::line(&format!("{other} has one of the same secrets: loudhailer channel compromised {other}"))?;
    }
    show::line(
        "change the credentials at the platform, put the new ones into the configuration, start the server with it, then:",
    )?;
    show::line(&format!("loudhailer channel test {name} --to ADDRESS"))?;
    show::line(&format!("loudhailer channel resume {name}"))
}

async fn asked(client: &Client, name: &str, what: &str, wish: &Value) -> Result<Value, Failure> {
    let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    client.post(&format!("/v1/channels/{name}:{what}"), wish).await
}
