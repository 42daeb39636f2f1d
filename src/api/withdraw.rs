//! `/unsubscribe/{token}`: POST suppresses the address at once, whatever its body (RFC 8058), and again is the same; GET shows a
//! page with a button and changes nothing, since mail scanners follow links. A forged token is 404.

use actix_web::{HttpResponse, web};

use super::gate::Door;
use super::page::{self, Language};
use super::problem::Problem;
use crate::id::Withdrawal;

fn read(door: &Door, token: &str) -> Option<Withdrawal> {
    Withdrawal::read(token, &door.app.key).ok()
}

pub async fn show(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Some(Withdrawal { subscriber, .. }) = read(&door, &token) else { return Ok(page::dead_link(&door)) };
    let locale = page::locale(&door, subscriber).await?;
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(&locale, &door.app.config.sender.locale);
    Ok(page::with_button(&door, Language(language), &said.leave_title, &said.leave, &said.leave_button))
}

pub async fn withdraw(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Some(Withdrawal { subscriber, place }) = read(&door, &token) else { return Ok(page::dead_link(&door)) };
    let app = &door.app;
    let found = app.store.subscriber(subscriber).await?;
    let locale = found.as_ref().map_or(app.config.sender.locale.clone(), |found| found.locale.clone());
    let address = found.and_then(|found| found.addresses.into_iter().find(|address| address.place == place));
    // Whose address is gone hears nothing anyway.
    if let Some(address) = address {
        app.store.suppress(&address.kind, &address.value, "unsubscribed", app.clock.calendar()).await?;
        if let Some(now) = app.store.subscriber(subscriber).await? {
            app.engine.subscriber_changed(subscriber, now.version).await;
        }
        metrics::counter!("loudhailer_unsubscribed_total").increment(1);
    }
    let templates = app.templates.load();
    let (language, said) = templates.consent(&locale, &app.config.sender.locale);
    Ok(page::saying(&door, Language(language), &said.left_title, &said.left))
}
