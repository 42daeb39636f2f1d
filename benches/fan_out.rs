//! Webhooks and mails to many, beside bare loops over the same connections.

use std::cell::RefCell;

use anyhow::ensure;
use serde_json::{Value, json};

use super::broker::Broker;
use super::compare::{Leg, Legs, alternate, round};
use super::loops::Task;
use super::people::{self, By};
use super::place::{HOOKS, MAILS, Place, Plan, Setup};
use super::postfix::{SmtpSink, smtp_source};
use super::process::{MEASURED, Process, pins};
use super::sink::Sink;
use super::{Args, Measured};

pub const ALL: Plan = Plan {
    severity: "critical",
    component: "",
    audience: "businesses",
    routes: "\"hooks\", \"email\"",
    priority: "high",
};

/// Every message came once, and signed.
pub fn checked(sink: &Sink, count: u64) -> anyhow::Result<()> {
    let caught = sink.caught()?;
    ensure!(caught.seen == count && caught.distinct == count && caught.forged == 0, "the sink has {caught:?}");
    Ok(())
}

/// A bare loop of so many messages like the sample.
pub fn bare(name: &str, places: Vec<String>, connections: usize, count: u64, sample: &Value) -> anyhow::Result<Leg> {
    bare_to(1, name, places, connections, count, sample)
}

/// The same, where so many share a message.
fn bare_to(
    recipients: usize,
    name: &str,
    places: Vec<String>,
    connections: usize,
    count: u64,
    sample: &Value,
) -> anyhow::Result<Leg> {
    let text = |name: &str| sample[name].as_str().unwrap_or_default().to_string();
    let task = Task { places, connections, count, recipients, id: text("id"), content: text("content") };
    Leg::read(&Process::role(MEASURED, name, &json!(task))?.json()?, count)
}

/// The broker and the bare loop in turn, both to our own sink. What the loop sends is what the broker sent, under ids of its own:
/// answered with it.
fn in_turn(
    args: &Args,
    sink: &Sink,
    broker: &Broker,
    bare: impl Fn(&Value) -> anyhow::Result<Leg>,
) -> anyhow::Result<(Legs, Value)> {
    let count = args.recipients;
    let sample = RefCell::new(Value::Null);
    let told = || {
        sink.reset()?;
        let leg = broker.tell(count, &|| Ok(sink.caught()?.distinct))?;
        checked(sink, count)?;
        *sample.borrow_mut() = sink.sample()?;
        Ok(leg)
    };
    let looped = || {
        sink.reset()?;
        let leg = bare(&sample.borrow())?;
        checked(sink, count)?;
        Ok(leg)
    };
    let legs = alternate(args.rounds, vec![("broker", Box::new(told)), ("bare", Box::new(looped))])?;
    Ok((legs, sample.into_inner()))
}

fn length(sample: &Value) -> usize {
    sample["content"].as_str().map_or(0, str::len)
}

pub fn webhook(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients;
    let sink = Sink::start()?;
    let place = Place::new(&Setup::new(&[ALL], &sink.mail))?;
    place.import(&people::file(By::Webhook, count, &sink), count)?;
    let broker = place.serve()?;
    let bare = |sample: &Value| bare("webhook", sink.hooks.clone(), HOOKS, count, sample);
    let (legs, sample) = in_turn(args, &sink, &broker, bare)?;
    Ok(Measured {
        figures: vec![
            ("webhook_ratio", round(legs.ratio("broker", "bare"), 3)),
            ("webhook_cpu_ratio", round(legs.cpu_ratio("broker", "bare"), 3)),
            ("webhook_per_s", legs.rate("broker").round()),
        ],
        raw: json!({
            "recipients": count, "connections": HOOKS, "bytes": length(&sample), "pins": pins(),
            "broker_cpu_us": round(legs.cpu_micros("broker"), 2), "bare_per_s": legs.rate("bare").round(),
            "bare_cpu_us": round(legs.cpu_micros("bare"), 2), "legs": legs.raw(),
        }),
    })
}

/// To Postfix's smtp-sink, which counts but keeps nothing; so a leg to our own sink, where each id is kept, comes first.
pub fn email(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients;
    let sink = Sink::start()?;
    let place = Place::new(&Setup::new(&[ALL], &sink.mail))?;
    place.import(&people::file(By::Mail, count, &sink), count)?;
    let counted = place.serve()?.tell(count, &|| Ok(sink.caught()?.distinct))?;
    checked(&sink, count)?;
    let sample = sink.sample()?;
    drop(sink);
    let message = place.path().join("message");
    std::fs::write(&message, sample["content"].as_str().unwrap_or_default().replace("\r\n", "\n"))?;

    let postfix = SmtpSink::start(place.path())?;
    place.set_up(&Setup::new(&[ALL], &postfix.place))?;
    let broker = place.serve()?;
    let all_came = |before: u64| {
        let came = postfix.messages()? - before;
        ensure!(came == count, "smtp-sink has {came} of {count} messages");
        anyhow::Ok(())
    };
    let told = || {
        let before = postfix.messages()?;
        let leg = broker.tell(count, &|| Ok(postfix.messages()? - before))?;
        all_came(before)?;
        Ok(leg)
    };
    let looped = || {
        let before = postfix.messages()?;
        let leg = bare("mail", vec![postfix.place.clone()], MAILS, count, &sample)?;
        all_came(before)?;
        Ok(leg)
    };
    let source = || smtp_source(&postfix, MAILS, count, &message);
    // The broker is the neighbour of both.
    let legs = alternate(
        args.rounds,
        vec![("bare", Box::new(looped)), ("broker", Box::new(told)), ("smtp_source", Box::new(source))],
    )?;
    Ok(Measured {
        figures: vec![
            ("email_ratio", round(legs.ratio("broker", "bare"), 3)),
            ("email_cpu_ratio", round(legs.cpu_ratio("broker", "bare"), 3)),
            ("email_vs_smtp_source", round(legs.ratio("broker", "smtp_source"), 3)),
            ("email_per_s", legs.rate("broker").round()),
        ],
        raw: json!({
            "recipients": count, "connections": MAILS, "bytes": length(&sample), "pins": pins(),
            "broker_cpu_us": round(legs.cpu_micros("broker"), 2), "bare_per_s": legs.rate("bare").round(),
            "bare_cpu_us": round(legs.cpu_micros("bare"), 2), "smtp_source_per_s": legs.rate("smtp_source").round(),
            "own_sink_per_s": counted.rate().round(), "legs": legs.raw(),
        }),
    })
}

/// Recipients of one mail, and mails of that size that may be on the wire.
const TOGETHER: usize = 50;
const PRESS_SLOTS: usize = 1024;

/// One mail that names nobody, to fifty at a time. Its id is the same for all, so that our own sink keeps whom each came to.
pub fn press(args: &Args) -> anyhow::Result<Measured> {
    let count = args.recipients;
    let sink = Sink::start()?;
    let place = Place::new(&Setup { mails: PRESS_SLOTS, own: false, ..Setup::new(&[ALL], &sink.mail) })?;
    place.import(&people::file(By::Mail, count, &sink), count)?;
    let broker = place.serve()?;
    let bare = |sample: &Value| bare_to(TOGETHER, "mail", vec![sink.mail.clone()], MAILS, count, sample);
    let (legs, sample) = in_turn(args, &sink, &broker, bare)?;
    Ok(Measured {
        figures: vec![
            ("press_ratio", round(legs.ratio("broker", "bare"), 3)),
            ("press_per_s", legs.rate("broker").round()),
        ],
        raw: json!({
            "recipients": count, "a_mail": TOGETHER, "connections": MAILS, "bytes": length(&sample),
            "pins": pins(), "cpu_ratio": round(legs.cpu_ratio("broker", "bare"), 3),
            "broker_cpu_us": round(legs.cpu_micros("broker"), 2), "bare_per_s": legs.rate("bare").round(),
            "bare_cpu_us": round(legs.cpu_micros("bare"), 2), "legs": legs.raw(),
        }),
    })
}
