//! One address of a subscriber: asked whether it wants this, tried out, given a second secret.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::challenge::{self, said};
use super::{find, shown};
use crate::api::gate::Door;
use crate::api::problem::Problem;
use crate::audience::{Address, Subscriber};
use crate::channel::Outcome;
use crate::id::SubscriberId;
use crate::store::{SubscriberDraft, Upserted};

/// How long an answer waits for the other side before it says `pending`.
const PATIENCE: Duration = Duration::from_secs(10);

type Place = web::Path<(String, u16)>;

async fn at(door: &Door, place: &Place) -> Result<(Subscriber, Address), Problem> {
    let (id, number) = place.as_ref();
    let subscriber = find(door, id).await?;
    let address = subscriber.addresses.iter().find(|address| address.place == *number).cloned();
    let address = address.ok_or_else(|| Problem::not_found(format!("{id} has no address at place {number}")))?;
    Ok((subscriber, address))
}

/// Asks every address that is unverified and was not asked before.
pub async fn ask_all(door: &web::Data<Door>, id: SubscriberId) -> Result<Vec<(u16, String)>, Problem> {
    let subscriber = find(door, &id.to_string()).await?;
    let mut answers = Vec::new();
    for address in subscriber.addresses.iter().filter(|address| !address.verified && !address.suppressed) {
        if !matches!(address.kind.as_str(), "url" | "email") {
            continue;
        }
        let (task, subscriber, one) = (door.clone(), subscriber.clone(), address.clone());
        // Goes on when nobody waits any more: then the answer is seen in `verified`.
        let asking = actix_web::rt::spawn(async move { ask(&task, &subscriber, &one).await });
        let answer = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(problem))) => problem.detail,
            _ => "pending".into(),
        };
        answers.push((address.place, answer));
    }
    Ok(answers)
}

/// `verified`, `sent` (a mail), or what stood in the way.
async fn ask(door: &Door, subscriber: &Subscriber, address: &Address) -> Result<String, Problem> {
    match address.kind.as_str() {
        "url" => match challenge::challenge(door, address).await? {
            Ok(()) => {
                verified(door, subscriber.id, address.place).await?;
                Ok("verified".into())
            }
            Err(why) => Ok(why),
        },
        "email" => Ok(match challenge::mail(door, subscriber, address).await? {
            Outcome::Accepted { .. } => "sent".into(),
            other => said(&other),
        }),
        kind => Err(Problem::conflict(format!("a {kind} address can't be asked; an administrator sets verified"))),
    }
}

pub async fn verify(door: web::Data<Door>, place: Place) -> Result<HttpResponse, Problem> {
    let (subscriber, address) = at(&door, &place).await?;
    let answer = if address.verified { "verified".into() } else { ask(&door, &subscriber, &address).await? };
    let (_, address) = at(&door, &place).await?;
    Ok(HttpResponse::Ok().json(json!({ "verified": address.verified, "verification": answer })))
}

/// Changes one address as it is in the store now.
async fn change(door: &Door, id: SubscriberId, place: u16, set: impl Fn(&mut Address)) -> Result<Subscriber, Problem> {
    loop {
        let mut subscriber = find(door, &id.to_string()).await?;
        let Some(address) = subscriber.addresses.iter_mut().find(|address| address.place == place) else {
            return Err(Problem::not_found(format!("{id} has no address at place {place}")));
        };
        set(address);
        let drafts = vec![SubscriberDraft { id: Some(id), subscriber }];
        match door.app.store.upsert(drafts, door.app.clock.calendar()).await?.pop() {
            Some(Upserted::Stale) => continue,
            Some(Upserted::Updated(_) | Upserted::Unchanged(_)) => {
                let subscriber = find(door, &id.to_string()).await?;
                door.app.engine.subscriber_changed(id, subscriber.version).await;
                return Ok(subscriber);
            }
            _ => return Err(Problem::conflict("the subscriber is gone, or the address belongs to another one")),
        }
    }
}

pub async fn verified(door: &Door, id: SubscriberId, place: u16) -> Result<Subscriber, Problem> {
    change(door, id, place, |address| address.verified = true).await
}

/// Sends a signed event that means nothing, and answers what was answered.
pub async fn test(door: web::Data<Door>, place: Place) -> Result<HttpResponse, Problem> {
    let (_, address) = at(&door, &place).await?;
    webhooks_only(&address)?;
    let data = json!({ "text": "This is a test. Nothing has happened." });
    let outcome = challenge::webhook(&door, &address, "test", data).await?;
    Ok(HttpResponse::Ok().json(json!({ "outcome": outcome.word(), "answer": said(&outcome) })))
}

/// A second secret: from now on both sign, and the older one goes at the next rotation.
pub async fn rotate(door: web::Data<Door>, place: Place) -> Result<HttpResponse, Problem> {
    let (subscriber, address) = at(&door, &place).await?;
    webhooks_only(&address)?;
    let secret = crate::channel::webhook::new_secret().map_err(|_| Problem::unavailable("no randomness", 1))?;
    change(&door, subscriber.id, address.place, |address| {
        let newest = address.secrets.first().cloned();
        address.secrets = std::iter::once(secret.clone()).chain(newest).collect();
    })
    .await?;
    Ok(HttpResponse::Ok().json(json!({ "place": address.place, "secret": secret })))
}

/// The person wants it again after all.
pub async fn unsuppress(door: web::Data<Door>, place: Place) -> Result<HttpResponse, Problem> {
    let (subscriber, address) = at(&door, &place).await?;
    door.app.store.unsuppress(&address.kind, &address.value).await?;
    let subscriber = find(&door, &subscriber.id.to_string()).await?;
    door.app.engine.subscriber_changed(subscriber.id, subscriber.version).await;
    Ok(HttpResponse::Ok().json(shown(&subscriber)))
}

fn webhooks_only(address: &Address) -> Result<(), Problem> {
    match address.kind.as_str() {
        "url" => Ok(()),
        kind => Err(Problem::conflict(format!("only a url address has secrets and tests; this one is {kind}"))),
    }
}
