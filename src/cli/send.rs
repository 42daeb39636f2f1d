//! `loudhailer send`: an announcement by hand. It shows first whom it would reach by which way, whom it would miss and why, and
//! the words; it is sent when the number of recipients is typed.

use std::io::{BufRead, IsTerminal};

use anyhow::anyhow;
use clap::Parser;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::{Failure, show};
use crate::id::UpdateId;
use crate::incident::{Severity, Status};

#[derive(Parser)]
pub struct Args {
    /// The plan: who is told and how.
    #[arg(long)]
    plan: String,
    /// What happened, in a few words.
    #[arg(long)]
    title: Option<String>,
    /// The incident's key, to say more about one; by default a new one.
    #[arg(long)]
    incident: Option<String>,
    /// A fact as an event has it: summary=…, summary.de=…, workaround=…, impact.users=5000, started_at=….
    #[arg(long, value_name = "NAME=VALUE")]
    fact: Vec<String>,
    /// What is affected; may be repeated.
    #[arg(long)]
    component: Vec<String>,
    #[arg(long)]
    region: Vec<String>,
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// A drill: it reaches only those enrolled for drills, and says so.
    #[arg(long)]
    exercise: bool,
    /// Corrects that update; goes to exactly those whom it reached or may have reached.
    #[arg(long, value_name = "UPDATE")]
    correct: Option<UpdateId>,
    /// With --correct: withdraws the update altogether.
    #[arg(long, requires = "correct")]
    retract: bool,
    /// Shows it, and sends nothing.
    #[arg(long)]
    dry_run: bool,
    /// Sends without asking.
    #[arg(long)]
    yes: bool,
    /// Sends the words to this address alone (kind:address, an e-mail address, a phone number or a URL). Nothing is recorded.
    #[arg(long, value_name = "ADDRESS")]
    to_me: Option<String>,
    /// Makes repeating this very call harmless: the same id is sent once.
    #[arg(long)]
    id: Option<String>,
    #[arg(long)]
    json: bool,
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse()
}

fn status(text: &str) -> Result<Status, String> {
    text.parse()
}

pub async fn run(client: Client, args: Args) -> Result<(), Failure> {
    registered(&client, "components", "--component", &args.component).await?;
    registered(&client, "regions", "--region", &args.region).await?;
    let wish = json!({ "plan": args.plan, "event": event(&client, &args).await? });
    if let Some(address) = &args.to_me {
        let mut wish = wish;
        wish["to_me"] = json!(address);
        return to_me(client, wish, args.json).await;
    }
    let preview = client.post("/v1/preview", &wish).await?;
    if args.dry_run {
        return if args.json { show::json(&preview) } else { print(&preview) };
    }
    if !args.json {
        print(&preview)?;
    }
    let recipients = preview["recipients"].as_u64().unwrap_or(0);
    if preview["steps"].as_array().is_none_or(Vec::is_empty) {
        return Err(Failure::Failed(anyhow!("no step of plan {:?} speaks on this; nothing was sent", args.plan)));
    }
    if !args.yes && !confirmed(recipients)? {
        return Err(Failure::Failed(anyhow!("not sent")));
    }
    let sent = client.post("/v1/send", &wish).await?;
    if args.json {
        return show::json(&json!({ "preview": preview, "sent": sent }));
    }
    let ids = sent["broadcasts"].as_array().cloned().unwrap_or_default();
    show::line(&format!("update {} of {}", show::cell(&sent["update"]), show::cell(&sent["key"])))?;
    let held = preview["steps"].as_array().into_iter().flatten().any(|step| step["held"] == "approval");
    if held {
        show::line("some of it waits for approval: loudhailer release brd_…")?;
    }
    show::line(&format!("broadcasts: {}", ids.iter().map(show::cell).collect::<Vec<_>>().join(" ")))?;
    show::line(&format!("follow it: loudhailer status {} --follow", show::cell(&sent["incident"])))
}

fn confirmed(recipients: u64) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        eprintln!("To send, type the number of recipients ({recipients}), or call with --yes:");
    } else {
        eprintln!("To send, type the number of recipients ({recipients}):");
    }
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).map_err(anyhow::Error::from)?;
    Ok(typed.trim() == recipients.to_string())
}

/// From the command line an unknown name is a mistake.
async fn registered(client: &Client, list: &str, option: &str, given: &[String]) -> Result<(), Failure> {
    if given.is_empty() {
        return Ok(());
    }
    let items = client.get(&format!("/v1/{list}")).await?;
    let known: Vec<String> =
        items["items"].as_array().into_iter().flatten().map(|item| show::cell(&item["id"])).collect();
    let Some(name) = given.iter().find(|name| !known.contains(name)) else { return Ok(()) };
    let near = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let near =
        near.map_or(" (none is registered in the configuration)".into(), |near| format!("; did you mean {near:?}?"));
    Err(Failure::Wrong(format!("{option}: {name:?} is not registered{near}")))
}

async fn event(client: &Client, args: &Args) -> Result<Value, Failure> {
    let id = args.id.clone().unwrap_or_else(|| format!("send-{:016x}", fastrand::u64(..)));
    let mut event = json!({ "id": id, "source": "loudhailer-send" });
    let incident = match (&args.incident, args.correct) {
        (Some(key), _) => key.clone(),
        (None, Some(update)) => show::cell(&client.get(&format!("/v1/incidents/{}", update.incident)).await?["key"]),
        (None, None) => id,
    };
    event["incident"] = json!(incident);
    if let Some(update) = args.correct {
        event["corrects"] = json!(update);
        event["retracts"] = json!(args.retract);
    }
    let new = args.incident.is_none() && args.correct.is_none();
    match &args.title {
        Some(title) => event["title"] = json!(title),
        None if new => return Err(Failure::Wrong("--title: a new incident needs one".into())),
        None => {}
    }
    let status = args.status.or(new.then_some(Status::Investigating));
    let severity = args.severity.or(new.then_some(Severity::Major));
    if let Some(status) = status {
        event["status"] = json!(status);
    }
    if let Some(severity) = severity {
        event["severity"] = json!(severity);
    }
    if args.exercise {
        event["mode"] = json!("exercise");
    }
    for (name, list) in [("components", &args.component), ("regions", &args.region)] {
        if !list.is_empty() {
            event[name] = json!(list);
        }
    }
    for fact in &args.fact {
        let Some((name, value)) = fact.split_once('=') else {
            return Err(Failure::Wrong(format!("--fact: {fact:?} is not of the form name=value")));
        };
        set(&mut event, name.trim(), value).map_err(|why| Failure::Wrong(format!("--fact {name}: {why}")))?;
    }
    Ok(event)
}

/// Facts that are not texts.
const NUMBERS: &[&str] = &["impact.users", "impact.businesses", "restored_percent"];
const LISTS: &[&str] = &["components", "regions", "platforms_down", "impact.functions"];

fn set(event: &mut Value, name: &str, value: &str) -> Result<(), String> {
    let value = match name {
        _ if value == "null" => Value::Null,
        name if NUMBERS.contains(&name) => json!(value.parse::<u64>().map_err(|_| "expected a whole number")?),
        name if LISTS.contains(&name) => {
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect()
        }
        _ => json!(value),
    };
    let Some((group, field)) = name.split_once('.') else {
        event[name] = value;
        return Ok(());
    };
    let group = &mut event[group];
    if let Value::String(text) = group {
        *group = json!({ "en": text }); // summary=… before summary.de=…
    }
    if group.is_null() {
        *group = Value::Object(Map::new());
    }
    match group {
        Value::Object(fields) if !field.contains('.') => {
            fields.insert(field.into(), value);
            Ok(())
        }
        _ => Err("no such fact".into()),
    }
}

async fn to_me(client: Client, wish: Value, json: bool) -> Result<(), Failure> {
    let answer = client.post("/v1/send", &wish).await?;
    if json {
        show::json(&answer)?;
    }
    let sent = answer["to_me"].as_array().cloned().unwrap_or_default();
    if !json {
        let cells = |sent: &Value| {
            ["audience", "channel", "outcome", "detail"].iter().map(|key| show::cell(&sent[*key])).collect()
        };
        show::table(&["words for", "channel", "outcome", "detail"], &sent.iter().map(cells).collect::<Vec<_>>())?;
    }
    match !sent.is_empty() && sent.iter().all(|sent| sent["outcome"] == "accepted") {
        true => Ok(()),
        false if sent.is_empty() => Err(Failure::Failed(anyhow!("no step of the plan speaks on this"))),
        false => Err(Failure::Failed(anyhow!("not every message was accepted"))),
    }
}

fn print(preview: &Value) -> Result<(), Failure> {
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let object = |value: &Value, name: &str| value[name].as_object().cloned().unwrap_or_default();
    let steps = list(preview, "steps");
    let mut rows = Vec::new();
    for step in &steps {
        let mut row = |what: &str, why: String, count: &Value| {
            rows.push(vec![show::cell(&step["audience"]), what.to_string(), why, show::cell(count)]);
        };
        object(step, "routes").iter().for_each(|(route, count)| row("told by", route.clone(), count));
        object(step, "waiting").iter().for_each(|(why, count)| row("of them waiting", why.replace('_', " "), count));
        for missed in list(step, "missed") {
            let what = if missed["unreachable"] == true { "missed" } else { "not meant" };
            row(what, show::cell(&missed["reason"]).replace('_', " "), &missed["count"]);
        }
        object(step, "left_out")
            .iter()
            .for_each(|(way, count)| row("told another way, not by", way.replace('_', " "), count));
        if step["held"] == "approval" {
            row("held", "waits for a person's release".into(), &step["recipients"]);
        }
    }
    show::table(&["audience", "", "way or reason", "recipients"], &rows)?;
    for step in &steps {
        for words in list(step, "words") {
            let of = |name: &str| show::cell(&words[name]);
            show::line(&format!(
                "\n— {} · {} · {} · {} recipients",
                show::cell(&step["audience"]),
                of("format"),
                of("locale"),
                of("recipients")
            ))?;
            if !words["title"].is_null() {
                show::line(&format!("{}\n", of("title")))?;
            }
            show::line(of("text").trim_end())?;
            for finding in list(&words, "findings") {
                show::line(&format!("! {}", show::cell(&finding)))?;
            }
        }
    }
    show::line(&format!("\n{} recipients in {} audiences", show::cell(&preview["recipients"]), steps.len()))
}
