//! The machine's door: JSON over HTTP under `/v1`, health, metrics, and the links that messages carry. Errors are problem
//! documents; ids are prefixed; times are RFC 3339 in UTC. Every request passes `gate` first.

pub mod asyncapi;
mod body;
pub mod broadcasts;
mod cap;
pub mod certificate;
pub mod channels;
mod deliveries;
mod events;
mod explain;
pub mod gate;
mod health;
mod import;
mod incidents;
pub mod kinds;
pub mod messages;
pub mod openapi;
mod page;
pub mod places;
mod preview;
mod problem;
mod proxy;
mod receipts;
mod registry;
pub(crate) mod reports;
mod send;
mod sources;
mod stream;
mod subscriber;
mod ticks;
mod token;
mod watchers;
mod withdraw;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{HttpServer, web};

use crate::app::App;
use places::{Places, delete, get, patch, post};
pub use problem::Problem;
pub use token::{Caller, Scope, hash as token_hash};

/// A client that has not finished its TLS handshake by then is let go …
const HANDSHAKE: Duration = Duration::from_secs(5);
/// … and so many of a worker's may be at it at one time, so that many slow ones do not keep the others out.
const HANDSHAKES: usize = 4096;

/// The server over a bound listener; it runs when it is awaited.
pub fn serve(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let workers = app.config.server.workers.max(1);
    let certificate = app.certificate.clone();
    let door = gate::Door::new(app).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let door = web::Data::new(door);
    let server = HttpServer::new(move || {
        actix_web::App::new()
            .app_data(door.clone())
            .wrap(from_fn(gate::gate))
            .configure(|config| drop(places::register(config)))
            .default_service(web::to(async || problem::Problem::not_found("there is nothing at this place").error()))
    })
    .workers(workers)
    .disable_signals()
    .shutdown_timeout(10);
    let server = match certificate {
        None => server.listen(listener)?,
        Some(certificate) => server
            .tls_handshake_timeout(HANDSHAKE)
            .max_connection_rate(HANDSHAKES)
            .listen_rustls_0_23(listener, certificate.config().map_err(std::io::Error::other)?)?,
    };
    Ok(server.run())
}

fn routes(places: &mut Places<'_>) {
    places.add("/v1/events", [post(events::take)]);
    places.add("/v1/sources", [get(sources::list)]);
    places.add("/v1/sources/{name:[^/:]+}:mute", [post(sources::mute)]);
    places.add("/v1/sources/{name:[^/:]+}:unmute", [post(sources::unmute)]);
    places.add("/v1/sources/{name:[^/:]+}", [post(sources::take)]);
    places.add("/v1/incidents", [get(incidents::list)]);
    places.add("/v1/incidents/{id:[^/:]+}:confirm", [post(incidents::confirm)]);
    places.add("/v1/incidents/{id:[^/:]+}:dismiss", [post(incidents::dismiss)]);
    places.add("/v1/incidents/{id}/cap", [get(cap::show)]);
    places.add("/v1/incidents/{id}", [get(incidents::one)]);
    places.add("/v1/reports", [post(reports::take)]);
    places.add("/v1/signals", [get(reports::list)]);
    places.add("/v1/watchers", [get(watchers::list)]);
    places.add("/v1/broadcasts:stop", [post(broadcasts::stop_all)]);
    places.add("/v1/broadcasts", [get(broadcasts::list)]);
    places.add("/v1/broadcasts/{id:[^/:]+}:stop", [post(broadcasts::stop)]);
    places.add("/v1/broadcasts/{id:[^/:]+}:pause", [post(broadcasts::pause)]);
    places.add("/v1/broadcasts/{id:[^/:]+}:resume", [post(broadcasts::resume)]);
    places.add("/v1/broadcasts/{id:[^/:]+}:release", [post(broadcasts::release)]);
    places.add("/v1/broadcasts/{id:[^/:]+}/messages", [get(messages::list)]);
    places.add("/v1/broadcasts/{id:[^/:]+}/explain", [get(explain::recipient)]);
    places.add("/v1/broadcasts/{id:[^/:]+}", [get(broadcasts::one)]);
    places.add("/v1/deliveries", [get(deliveries::list)]);
    places.add("/v1/deliveries/{id:[^/:]+}:replay", [post(deliveries::replay)]);
    places.add("/v1/deliveries/{id:[^/:]+}/explain", [get(explain::delivery)]);
    places.add("/v1/deliveries/{id:[^/:]+}", [get(deliveries::one)]);
    places.add("/v1/channels", [get(channels::list)]);
    places.add("/v1/channels/{name:[^/:]+}:pause", [post(channels::pause)]);
    places.add("/v1/channels/{name:[^/:]+}:resume", [post(channels::resume)]);
    places.add("/v1/channels/{name:[^/:]+}:compromised", [post(channels::compromised)]);
    places.add("/v1/channels/{name:[^/:]+}", [get(channels::one)]);
    places.add("/v1/preview", [post(preview::show)]);
    places.add("/v1/send", [post(send::send)]);
    places.add("/v1/plans", [get(registry::plans)]);
    places.add("/v1/components", [get(registry::components)]);
    places.add("/v1/regions", [get(registry::regions)]);
    places.add("/v1/audiences", [get(registry::audiences)]);
    places.add("/v1/stream", [get(stream::follow)]);
    places.add("/v1/receipts/{channel}", [post(receipts::take), get(receipts::take)]);
    subscribers(places);
    places.add("/openapi.json", [get(openapi::show)]);
    places.add("/asyncapi.json", [get(asyncapi::show)]);
    places.add("/healthz", [get(health::alive)]);
    places.add("/readyz", [get(health::ready)]);
    places.add("/metrics", [get(health::metrics)]);
    places.add("/unsubscribe/{token}", [get(withdraw::show), post(withdraw::withdraw)]);
    places.add("/confirm/{token}", [get(subscriber::confirm::show), post(subscriber::confirm::confirm)]);
}

fn subscribers(places: &mut Places<'_>) {
    const ADDRESS: &str = "/v1/subscribers/{id:[^/:]+}/addresses/{place:[0-9]+}";
    places.add("/v1/subscribers:import", [post(import::subscribers)]);
    places.add("/v1/subscribers", [get(subscriber::list), post(subscriber::create)]);
    places.add(&format!("{ADDRESS}:verify"), [post(subscriber::verify)]);
    places.add(&format!("{ADDRESS}:test"), [post(subscriber::test)]);
    places.add(&format!("{ADDRESS}:rotate"), [post(subscriber::rotate)]);
    places.add(&format!("{ADDRESS}:unsuppress"), [post(subscriber::unsuppress)]);
    places.add(
        "/v1/subscribers/{id:[^/:]+}",
        [get(subscriber::one), patch(subscriber::change), delete(subscriber::remove)],
    );
}
