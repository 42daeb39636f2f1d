//! The people's door: a page of what is open for everyone at `/`, and the console, which only reads, under `/console`. Pages are
//! written on the server from `pages/`, escaped; one style sheet and one script come with the binary; nothing is loaded from
//! elsewhere. Who may see the console is decided where it is for the API: a browser shows a session in place of a token.

mod broadcast;
mod channels;
mod files;
mod incidents;
mod messages;
mod page;
mod progress;
mod session;
mod sign;
mod status;
mod words;

use actix_web::web::{self, ServiceConfig, get, post};

pub use page::{Refused, is_page};
pub use session::COOKIE;

/// What the pages keep in memory.
#[derive(Default)]
pub struct Web {
    pub sessions: session::Sessions,
    status: status::Kept,
}

pub fn configure(config: &mut ServiceConfig) {
    config
        .route("/", get().to(status::show))
        .route("/assets/{name}", get().to(files::send))
        .route("/console/sign-in", get().to(sign::form))
        .route("/console/sign-in", post().to(sign::sign_in))
        .route("/console/sign-out", post().to(sign::sign_out))
        .route("/console", get().to(incidents::overview))
        .route("/console/", get().to(incidents::overview))
        .route("/console/incidents/{id}", get().to(incidents::one))
        .route("/console/broadcasts", get().to(broadcast::list))
        .route("/console/broadcasts/{id}", get().to(broadcast::one))
        .route("/console/broadcasts/{id}/mail", get().to(broadcast::mail))
        .route("/console/channels", get().to(channels::list))
        .service(web::resource("/console/{rest:.*}").to(page::nothing_here));
}
