//! The people's door: a page of what is open for everyone at `/`, the same as a feed of alerts under `/feed`, the API's own pages under `/docs`, and the console, which only
//! reads, under `/console`. Pages are written on the server from `pages/`, escaped; one style sheet and one script come with the
//! binary; nothing is loaded from elsewhere. Who may see the console is decided where it is for the API: a browser shows a session
//! in place of a token.

mod broadcast;
mod channels;
mod docs;
mod feed;
mod files;
mod incidents;
mod messages;
mod page;
mod progress;
mod report;
pub mod session;
mod sign;
mod status;
mod words;

use crate::api::places::{Places, get, post};
pub use page::{Refused, is_page};

/// What the pages keep in memory.
#[derive(Default)]
pub struct Web {
    status: status::Kept,
    feed: feed::Kept,
}

pub fn pages(places: &mut Places<'_>) {
    places.add("/", [get(status::show)]);
    places.add("/report", [get(report::form), post(report::send)]);
    places.add("/feed/cap.xml", [get(feed::show)]);
    places.add("/feed/cap/{update}.xml", [get(feed::one)]);
    places.add("/assets/{name}", [get(files::send)]);
    places.add("/docs", [get(docs::operations)]);
    places.add("/docs/problems", [get(docs::problems)]);
    places.add("/console/sign-in", [get(sign::form), post(sign::sign_in)]);
    places.add("/console/sign-out", [post(sign::sign_out)]);
    places.add("/console", [get(incidents::overview)]);
    places.add("/console/", [get(incidents::overview)]);
    places.add("/console/incidents/{id}", [get(incidents::one)]);
    places.add("/console/broadcasts", [get(broadcast::list)]);
    places.add("/console/broadcasts/{id}", [get(broadcast::one)]);
    places.add("/console/broadcasts/{id}/mail", [get(broadcast::mail)]);
    places.add("/console/channels", [get(channels::list)]);
    places.nothing("/console/{rest:.*}", page::nothing_here);
}
