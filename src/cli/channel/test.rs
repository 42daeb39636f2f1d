//! `loudhailer channel test`: one message by one channel, for real, to an address of one's own; shows what went over the wire, with
//! every secret covered, and how the answer was read. It works on the configuration alone: it asks no server and stores nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use serde_json::{Map, Value, json};

use super::super::{Failure, runtime, show};
use super::read;
use crate::app;
use crate::cap;
use crate::channel::exchange::{Answered, Exchange, Sent};
use crate::channel::registry::{self, Channel};
use crate::channel::veil::Veil;
use crate::channel::{Outcome, Parcel, webhook};
use crate::clock::{Clock, Time};
use crate::config::Config;
use crate::render::message::{Filled, Format};

#[derive(Parser)]
pub struct Args {
    /// A channel of the configuration, also one that no plan uses.
    name: String,
    /// An address of your own, as the platform writes it.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    #[arg(long)]
    json: bool,
}

/// More than any channel's own patience.
const PATIENCE: Duration = Duration::from_secs(300);

/// So much of a body is shown.
const SHOWN: usize = 4096;

pub fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let wrong = |error: String| Failure::Wrong(error);
    let platforms = app::load_platforms(config).map_err(|error| wrong(error.to_string()))?;
    // Every TLS connection uses the one provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock = Arc::new(Clock::system());
    let channel =
        registry::one(config, &args.name, &platforms, clock.clone()).map_err(|error| wrong(error.to_string()))?;
    let to = address(&channel, &args.to).map_err(|why| wrong(format!("--to: {why}")))?;
    let now = clock.calendar();
    let parcel = parcel(&channel, to, now, &config.public_url())?;
    let mut shown = Exchange::default();
    let outcome = runtime()?.block_on(async {
        let sending = channel.driver.send_shown(parcel, &mut shown);
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown { detail: "no answer in time".into() },
        }
    });
    let outcome = covered(outcome, &Veil::of(&channel));
    report(&channel, &shown, &outcome, clock.calendar(), args.json)?;
    match outcome {
        Outcome::Accepted { .. } => Ok(()),
        other => Err(anyhow!("the test message was not accepted: {}", other.word()).into()),
    }
}

/// The address alone, or after its kind as elsewhere: `phone:+49…`.
fn address(channel: &Channel, given: &str) -> Result<String, String> {
    let kind = format!("{}:", channel.address_kind);
    let address = channel.platform.address(given);
    match given.strip_prefix(&kind) {
        Some(rest) if address.is_err() => channel.platform.address(rest),
        _ => address,
    }
}

fn parcel(channel: &Channel, to: String, now: Time, public_url: &str) -> Result<Parcel, Failure> {
    let id = format!("test_{:032x}", fastrand::u128(..));
    // The receiver knows another secret than this one; without any, a webhook can't be signed.
    let secret = webhook::new_secret().map_err(|_| anyhow!("the machine gives no randomness"))?;
    Ok(Parcel {
        broadcast: None,
        incident: None,
        to: to.into(),
        secrets: vec![secret],
        message: Arc::new(words(channel, &id, now, public_url).into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: now,
        id,
    })
}

/// Plain words without a character that any markup reads, in one SMS.
fn words(channel: &Channel, id: &str, now: Time, public_url: &str) -> Filled {
    let text = format!("TEST of the channel {}. Nothing has happened, and there is nothing to do.", channel.name);
    let text = match channel.format {
        Format::Webhook => json!({
            "specversion": "1.0", "id": id, "source": public_url, "type": "loudhailer.channel.test", "time": now,
            "datacontenttype": "application/json", "data": { "text": text },
        })
        .to_string(),
        Format::Cap => cap::write::test(public_url, id, now, &text),
        _ => text,
    };
    Filled { title: Some(format!("TEST of the channel {}", channel.name)), text, html: None, locale: "en".into() }
}

fn covered(outcome: Outcome, veil: &Veil) -> Outcome {
    match outcome {
        Outcome::Accepted { reference } => {
            Outcome::Accepted { reference: reference.map(|reference| veil.covers(&reference)) }
        }
        Outcome::Deferred { after, holds, throttled, detail } => {
            Outcome::Deferred { after, holds, throttled, detail: veil.covers(&detail) }
        }
        Outcome::Rejected { fault, detail } => Outcome::Rejected { fault, detail: veil.covers(&detail) },
        Outcome::Unknown { detail } => Outcome::Unknown { detail: veil.covers(&detail) },
    }
}

fn report(channel: &Channel, shown: &Exchange, outcome: &Outcome, now: Time, json: bool) -> Result<(), Failure> {
    let veil = Veil::of(channel);
    let rule = read::rule(&channel.platform, shown);
    let request = shown.request.as_ref().map(|sent| request(sent, &veil));
    let answer = shown.answer.as_ref().map(|answered| answer(answered, &veil));
    let conversation: Vec<String> = shown.conversation.iter().map(|line| veil.covers(line)).collect();
    if json {
        return show::json(&json!({
            "channel": channel.name, "platform": channel.platform.name, "kind": channel.kind,
            "request": request, "conversation": conversation, "answer": answer, "read": read::json(outcome, now, rule),
        }));
    }
    show::line(&format!("{} ({}): one test message, for real", channel.name, channel.platform.title))?;
    if let Some(request) = &request {
        let first = format!("{} {}", show::cell(&request["method"]), show::cell(&request["url"]));
        part("request", &first, request)?;
    }
    if !conversation.is_empty() {
        show::line("\nconversation")?;
        conversation.iter().try_for_each(|line| show::line(&format!("  {line}")))?;
    }
    if let Some(answer) = &answer {
        part("answer", &show::cell(&answer["status"]), answer)?;
    }
    show::line("\nread as")?;
    read::lines(outcome, now).iter().try_for_each(|line| show::line(&format!("  {line}")))?;
    show::line(&format!("  {}", read::by(&channel.platform, shown, &rule)))
}

fn part(title: &str, first: &str, of: &Value) -> Result<(), Failure> {
    show::line(&format!("\n{title}\n  {first}"))?;
    for (name, value) in of["headers"].as_object().into_iter().flatten() {
        show::line(&format!("  {name}: {}", show::cell(value)))?;
    }
    match of["body"].as_str() {
        None | Some("") => Ok(()),
        Some(body) => show::line(&format!("\n  {}", body.replace('\n', "\n  "))),
    }
}

fn request(sent: &Sent, veil: &Veil) -> Value {
    json!({ "method": sent.method, "url": veil.covers(&sent.url), "headers": headers(&sent.headers, veil), "body": body(&sent.body, veil) })
}

fn answer(answered: &Answered, veil: &Veil) -> Value {
    json!({ "status": answered.status, "headers": headers(&answered.headers, veil), "body": body(&answered.body, veil) })
}

fn headers(headers: &[(String, String)], veil: &Veil) -> Value {
    let covered = headers.iter().map(|(name, value)| (name.clone(), json!(veil.covers(value))));
    Value::Object(covered.collect::<Map<_, _>>())
}

/// Covered first: what is cut might have shown half a secret.
fn body(bytes: &[u8], veil: &Veil) -> String {
    let text = veil.covers(&String::from_utf8_lossy(bytes));
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((at, _)) => format!("{}… (cut; it has {} bytes)", &text[..at], bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::exchange::COVERED;

    #[test]
    fn a_body_is_covered_before_it_is_cut() {
        let config = "[channels.bot]\nplatform = \"telegram\"\nsettings.token = \"1:secret\"\n";
        let config = Config::from_toml(config, "own.toml", std::iter::empty()).expect("reads");
        let platforms = app::load_platforms(&config).expect("loads");
        let channel = registry::one(&config, "bot", &platforms, Arc::new(Clock::system())).expect("builds");
        let veil = Veil::of(&channel);
        let text = format!("{}1:secret{}", "x".repeat(SHOWN - 3), "y".repeat(10));
        let cut = body(text.as_bytes(), &veil);
        assert!(cut.ends_with(&format!("x{COVERED}… (cut; it has {} bytes)", text.len())), "{cut}");
        assert!(!cut.contains("1:"), "{cut}");
    }

    #[test]
    fn an_unknown_channel_is_refused_with_the_nearest_name() {
        let config = "[channels.bot]\nplatform = \"telegram\"\nsettings.token = \"1:secret\"\n";
        let config = Config::from_toml(config, "own.toml", std::iter::empty()).expect("reads");
        let platforms = app::load_platforms(&config).expect("loads");
        let error = registry::one(&config, "bott", &platforms, Arc::new(Clock::system())).err().expect("refused");
        assert!(error.to_string().contains("did you mean \"bot\"?"), "{error}");
    }
}
