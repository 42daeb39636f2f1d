//! `loudhailer status`: what is open and how far each broadcast is; `--follow` shows it as it changes, until it is over.

use clap::Parser;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::client::Client;
use super::{Failure, show};

#[derive(Parser)]
pub struct Args {
    /// A broadcast (brd_…), or an incident by its id (inc_…) or key; without one, all that is open.
    what: Option<String>,
    /// Shows it again whenever something changes, until it is over.
    #[arg(long, short)]
    follow: bool,
    #[arg(long)]
    json: bool,
}

pub async fn run(client: Client, args: Args) -> Result<(), Failure> {
    let mut stream = match args.follow {
        true => Some(client.stream("/v1/stream").await?),
        false => None,
    };
    let mut last = Value::Null;
    loop {
        let now = read(&client, args.what.as_deref()).await?;
        if now != last {
            print(&now, args.json)?;
        }
        last = now;
        let Some(stream) = stream.as_mut().filter(|_| !over(&last)) else { return Ok(()) };
        match stream.frame().await {
            Some(Ok(_)) => {}
            _ => return Err(Failure::Failed(anyhow::anyhow!("the server ended the stream"))),
        }
    }
}

/// `{incidents: […], broadcasts: […], compromised: […]}`, the last the names of channels.
async fn read(client: &Client, what: Option<&str>) -> Result<Value, Failure> {
    let items = |value: Value| value["items"].as_array().cloned().unwrap_or_default();
    let (incidents, broadcasts) = match what {
        Some(id) if id.starts_with("brd_") => {
            let broadcast = client.get(&format!("/v1/broadcasts/{}", escaped(id))).await?;
            (vec![], vec![broadcast])
        }
        Some(name) => {
            let incident = client.get(&format!("/v1/incidents/{}", escaped(name))).await?;
            let of = format!("/v1/broadcasts?incident={}&limit=1000", show::cell(&incident["id"]));
            let broadcasts = items(client.get(&of).await?);
            (vec![incident], broadcasts)
        }
        None => {
            let incidents = items(client.get("/v1/incidents?open=true").await?);
            let mut broadcasts = Vec::new();
            for state in ["held", "running", "paused"] {
                broadcasts.extend(items(client.get(&format!("/v1/broadcasts?state={state}")).await?));
            }
            (incidents, broadcasts)
        }
    };
    let channels = items(client.get("/v1/channels").await?);
    let compromised: Vec<&Value> =
        channels.iter().filter(|channel| !channel["compromised"].is_null()).map(|channel| &channel["name"]).collect();
    Ok(json!({ "incidents": incidents, "broadcasts": broadcasts, "compromised": compromised }))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Nothing is running or held any more.
fn over(shown: &Value) -> bool {
    let live = |broadcast: &Value| matches!(broadcast["state"].as_str(), Some("held" | "running" | "paused"));
    !shown["broadcasts"].as_array().is_some_and(|all| all.iter().any(live))
}

fn print(shown: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return show::line(&shown.to_string());
    }
    let list = |name: &str| shown[name].as_array().cloned().unwrap_or_default();
    for channel in list("compromised") {
        show::line(&format!("! the channel {} is compromised: nothing goes by it", show::cell(&channel)))?;
    }
    let incidents = list("incidents");
    if !incidents.is_empty() {
        let cells = |incident: &Value| {
            let facts = &incident["facts"];
            vec![
                show::cell(&incident["id"]),
                show::cell(&incident["key"]),
                show::cell(&facts["status"]),
                show::cell(&facts["severity"]),
                show::cell(&incident["mode"]),
                words(&facts["title"]),
            ]
        };
        let rows: Vec<Vec<String>> = incidents.iter().map(cells).collect();
        show::table(&["incident", "key", "status", "severity", "mode", "title"], &rows)?;
    }
    let broadcasts = list("broadcasts");
    if broadcasts.is_empty() {
        return if incidents.is_empty() { show::line("nothing is open") } else { Ok(()) };
    }
    const COUNTS: [&str; 7] = ["told", "open", "unread", "unknown", "unreachable", "skipped", "cancelled"];
    let cells = |broadcast: &Value| {
        let mut cells: Vec<String> =
            ["id", "update", "audience", "priority", "state"].iter().map(|key| show::cell(&broadcast[*key])).collect();
        cells.extend(COUNTS.iter().map(|key| show::cell(&broadcast["counts"][*key])));
        cells.push(broadcast["seconds_left"].as_u64().map_or(String::new(), |left| format!("{left} s")));
        cells
    };
    let header = ["broadcast", "update", "audience", "priority", "state"].into_iter().chain(COUNTS).chain(["left"]);
    show::table(&header.collect::<Vec<_>>(), &broadcasts.iter().map(cells).collect::<Vec<_>>())
}

/// A text, or the first of its languages.
fn words(text: &Value) -> String {
    match text {
        Value::Object(languages) => languages.get("en").or(languages.values().next()).map_or(String::new(), show::cell),
        other => show::cell(other),
    }
}
