//! The link of a confirmation mail: GET shows a page and changes nothing, POST confirms. A link forged or expired is 404.

use actix_web::{HttpResponse, web};

use super::address::verified;
use crate::api::gate::Door;
use crate::api::kinds;
use crate::api::page::{self, Language};
use crate::api::problem::Problem;
use crate::id::Confirmation;

fn read(door: &Door, token: &str) -> Option<Confirmation> {
    let confirmation = Confirmation::read(token, &door.app.key).ok()?;
    (confirmation.until >= door.app.clock.calendar()).then_some(confirmation)
}

pub async fn show(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Some(Confirmation { subscriber, .. }) = read(&door, &token) else { return Ok(page::dead_link(&door)) };
    let locale = page::locale(&door, subscriber).await?;
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(&locale, &door.app.config.sender.locale);
    Ok(page::with_button(&door, Language(language), &said.confirm_title, &said.confirm, &said.confirm_button))
}

pub async fn confirm(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Some(Confirmation { subscriber, place, .. }) = read(&door, &token) else {
        return Ok(page::dead_link(&door));
    };
    let locale = match verified(&door, subscriber, place).await {
        Ok(subscriber) => subscriber.locale,
        // Whoever is gone has nothing to confirm.
        Err(problem) if std::ptr::eq(problem.kind, &kinds::NOT_FOUND) => return Ok(page::dead_link(&door)),
        Err(problem) => return Err(problem),
    };
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(&locale, &door.app.config.sender.locale);
    Ok(page::saying(&door, Language(language), &said.confirmed_title, &said.confirmed))
}
