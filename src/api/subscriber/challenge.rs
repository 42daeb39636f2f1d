//! What is sent to an address to learn whether it wants this: a signed challenge to a webhook, a link by mail. Sent through a
//! channel's own driver, past the lanes and within their limits, a few at a time.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ring::rand::SecureRandom;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::api::gate::Door;
use crate::api::problem::Problem;
use crate::audience::{Address, Subscriber};
use crate::channel::{Outcome, Parcel};
use crate::dispatch::lane::Barred;
use crate::id::Confirmation;
use crate::render::message::Filled;

/// Parcels sent past the lanes at one time.
static DIRECT: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(16));

/// A permit is waited for so long.
const PERMIT: Duration = Duration::from_secs(5);

/// A link by mail may be followed for so long.
const LINK: Duration = Duration::from_secs(7 * 24 * 3600);

pub fn random() -> Result<String, Problem> {
    use base64::Engine;
    let mut bytes = [0u8; 18];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::unavailable("no randomness", 1))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// An event of ours that is no incident's, for one webhook.
fn event(door: &Door, id: &str, kind: &str, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": door.app.config.public_url(), "type": kind,
        "time": door.app.clock.calendar(), "datacontenttype": "application/json", "data": data,
    })
    .to_string()
}

/// Sends past the lanes, on the engine's runtime: its connections outlive this request.
pub async fn direct(door: &Door, kind: &str, parcel: Parcel) -> Result<Outcome, Problem> {
    let channel = door.app.channels.iter().find(|(_, channel)| channel.address_kind == kind);
    let Some((id, channel)) = channel else {
        return Err(Problem::conflict(format!("no channel is set up that reaches a {kind} address")));
    };
    let Ok(_room) = DIRECT.try_acquire() else {
        return Err(Problem::unavailable("too many addresses are being asked at one time", 2));
    };
    match door.app.engine.permit(*id, &parcel.to, PERMIT).await? {
        Ok(()) => {}
        Err(Barred::Paused) => {
            return Err(Problem::conflict(format!("the channel {} is paused, so nothing was sent", channel.name)));
        }
        Err(Barred::Limited(rest)) => {
            let said = format!("the limits of the channel {} leave no room now, so nothing was sent", channel.name);
            return Err(Problem::unavailable(&said, rest.as_secs() + 1));
        }
    }
    let driver = channel.driver.clone();
    let sending = door.runtime.spawn(async move { driver.send(parcel).await });
    sending.await.map_err(|_| Problem::unavailable("it could not be sent", 1))
}

fn parcel(door: &Door, id: String, address: &Address, filled: Filled) -> Parcel {
    Parcel {
        id,
        broadcast: None,
        incident: None,
        to: address.value.as_str().into(),
        secrets: address.secrets.clone(),
        message: Arc::new(filled.into()),
        name: None,
        unsubscribe_url: None,
        urgent: false,
        follows: None,
        at: door.app.clock.calendar(),
    }
}

/// A signed event of type `loudhailer.webhook.<what>`, and what was answered.
pub async fn webhook(door: &Door, address: &Address, what: &str, data: Value) -> Result<Outcome, Problem> {
    let id = format!("msg_{}", random()?);
    let text = event(door, &id, &format!("loudhailer.webhook.{what}"), data);
    let filled = Filled { title: None, text, html: None, locale: "en".into() };
    direct(door, &address.kind, parcel(door, id, address, filled)).await
}

/// The endpoint is to answer 2xx with JSON `{"challenge": …}`, the same text that it was sent.
pub async fn challenge(door: &Door, address: &Address) -> Result<Result<(), String>, Problem> {
    let challenge = random()?;
    let outcome = webhook(door, address, "challenge", json!({ "challenge": challenge })).await?;
    Ok(match outcome {
        Outcome::Accepted { reference: Some(echoed) } if echoed == challenge => Ok(()),
        Outcome::Accepted { .. } => Err("it did not answer {\"challenge\": …} with the text that it was sent".into()),
        other => Err(said(&other)),
    })
}

/// An outcome in a few words.
pub fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".into(),
        Outcome::Deferred { detail, .. } | Outcome::Rejected { detail, .. } | Outcome::Unknown { detail } => {
            format!("{}: {detail}", outcome.word())
        }
    }
}

/// Double opt-in: a mail with a link that only its reader has.
pub async fn mail(door: &Door, subscriber: &Subscriber, address: &Address) -> Result<Outcome, Problem> {
    let until = door.app.clock.calendar().plus(LINK);
    let token = Confirmation { subscriber: subscriber.id, place: address.place, until }.public(&door.app.key);
    let url = format!("{}/confirm/{token}", door.app.config.public_url());
    let app = &door.app;
    let templates = app.templates.load();
    let (language, consent) = templates.consent(&subscriber.locale, &app.config.sender.locale);
    let sender = &app.config.sender.name;
    let text = consent.ask.replace("{sender}", sender);
    let html = format!(
        "<!doctype html><html lang=\"{}\"><body><p>{}</p><p><a href=\"{url}\">{}</a></p></body></html>",
        handlebars::html_escape(language),
        handlebars::html_escape(&text),
        handlebars::html_escape(&consent.ask_button),
    );
    let filled = Filled {
        title: Some(format!("{sender}: {}", consent.ask_subject)),
        text: format!("{text}\n\n{}: {url}\n", consent.ask_button),
        html: Some(html),
        locale: language.into(),
    };
    direct(door, "email", parcel(door, format!("msg_{}", random()?), address, filled)).await
}
