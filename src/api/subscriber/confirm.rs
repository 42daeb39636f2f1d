//! The link of a confirmation mail: GET shows a page and changes nothing, POST confirms. A link forged or expired is 404.

use actix_web::{HttpResponse, web};

use super::address::verified;
use crate::api::gate::Door;
use crate::api::page::{self, Language};
use crate::api::problem::Problem;
use crate::id::Confirmation;

fn read(door: &Door, token: &str) -> Result<Confirmation, Problem> {
    let missing = || Problem::not_found("this link is not one of ours, or it has expired");
    let confirmation = Confirmation::read(token, &door.app.key).map_err(|_| missing())?;
    if confirmation.until < door.app.clock.calendar() { Err(missing()) } else { Ok(confirmation) }
}

pub async fn show(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let locale = page::locale(&door, read(&door, &token)?.subscriber).await?;
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(&locale, &door.app.config.sender.locale);
    Ok(page::with_button(&door, Language(language), &said.confirm_title, &said.confirm, &said.confirm_button))
}

pub async fn confirm(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Confirmation { subscriber, place, .. } = read(&door, &token)?;
    let locale = verified(&door, subscriber, place).await?.locale;
    let templates = door.app.templates.load();
    let (language, said) = templates.consent(&locale, &door.app.config.sender.locale);
    Ok(page::saying(&door, Language(language), &said.confirmed_title, &said.confirmed))
}
