//! The link of a confirmation mail: GET shows a page and changes nothing, POST confirms. A link forged or expired is 404.

use actix_web::{HttpResponse, web};

use super::address::verified;
use crate::api::gate::Door;
use crate::api::page;
use crate::api::problem::Problem;
use crate::id::Confirmation;

fn read(door: &Door, token: &str) -> Result<Confirmation, Problem> {
    let missing = || Problem::not_found("this link is not one of ours, or it has expired");
    let confirmation = Confirmation::read(token, &door.app.key).map_err(|_| missing())?;
    if confirmation.until < door.app.clock.calendar() { Err(missing()) } else { Ok(confirmation) }
}

pub async fn show(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    read(&door, &token)?;
    Ok(page::with_button(&door, "Confirm your address", "Press the button to be told about incidents.", "Confirm"))
}

pub async fn confirm(door: web::Data<Door>, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let Confirmation { subscriber, place, .. } = read(&door, &token)?;
    verified(&door, subscriber, place).await?;
    Ok(page::saying(&door, "Your address is confirmed", "You will be told about incidents from now on."))
}
