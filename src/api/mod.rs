//! The machine's door: JSON over HTTP under `/v1`, health, metrics, and the links that messages carry. Errors are problem
//! documents; ids are prefixed; times are RFC 3339 in UTC. Every request passes `gate` first.

mod body;
pub mod broadcasts;
pub mod channels;
mod deliveries;
mod events;
pub mod gate;
mod health;
mod import;
mod incidents;
pub mod messages;
mod page;
mod preview;
mod problem;
mod proxy;
mod receipts;
mod registry;
mod send;
mod stream;
mod subscriber;
mod token;
mod withdraw;

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, delete, get, patch, post};
use actix_web::{HttpServer, Resource};

use crate::app::App;
pub use problem::Problem;
pub use token::{Caller, Scope, hash as token_hash};

/// The server over a bound listener; it runs when it is awaited.
pub fn serve(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let workers = app.config.server.workers.max(1);
    let door = gate::Door::new(app).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    let door = web::Data::new(door);
    let server = HttpServer::new(move || {
        actix_web::App::new()
            .app_data(door.clone())
            .wrap(from_fn(gate::gate))
            .configure(routes)
            .configure(crate::web::configure)
            .default_service(web::to(async || problem::Problem::not_found("there is nothing at this place").error()))
    })
    .workers(workers)
    .disable_signals()
    .shutdown_timeout(10)
    .listen(listener)?;
    Ok(server.run())
}

/// A place that answers other methods with 405.
fn place(path: &str) -> Resource {
    web::resource(path).default_service(web::to(async || problem::Problem::method().error()))
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(place("/v1/events").route(post().to(events::take)))
        .service(place("/v1/incidents").route(get().to(incidents::list)))
        .service(place("/v1/incidents/{id}").route(get().to(incidents::one)))
        .service(place("/v1/broadcasts:stop").route(post().to(broadcasts::stop_all)))
        .service(place("/v1/broadcasts").route(get().to(broadcasts::list)))
        .service(place("/v1/broadcasts/{id:[^/:]+}:stop").route(post().to(broadcasts::stop)))
        .service(place("/v1/broadcasts/{id:[^/:]+}:pause").route(post().to(broadcasts::pause)))
        .service(place("/v1/broadcasts/{id:[^/:]+}:resume").route(post().to(broadcasts::resume)))
        .service(place("/v1/broadcasts/{id:[^/:]+}:release").route(post().to(broadcasts::release)))
        .service(place("/v1/broadcasts/{id:[^/:]+}/messages").route(get().to(messages::list)))
        .service(place("/v1/broadcasts/{id:[^/:]+}").route(get().to(broadcasts::one)))
        .service(place("/v1/deliveries").route(get().to(deliveries::list)))
        .service(place("/v1/deliveries/{id:[^/:]+}:replay").route(post().to(deliveries::replay)))
        .service(place("/v1/deliveries/{id:[^/:]+}").route(get().to(deliveries::one)))
        .service(place("/v1/channels").route(get().to(channels::list)))
        .service(place("/v1/channels/{name:[^/:]+}:pause").route(post().to(channels::pause)))
        .service(place("/v1/channels/{name:[^/:]+}:resume").route(post().to(channels::resume)))
        .service(place("/v1/channels/{name:[^/:]+}").route(get().to(channels::one)))
        .service(place("/v1/preview").route(post().to(preview::show)))
        .service(place("/v1/send").route(post().to(send::send)))
        .service(place("/v1/plans").route(get().to(registry::plans)))
        .service(place("/v1/components").route(get().to(registry::components)))
        .service(place("/v1/regions").route(get().to(registry::regions)))
        .service(place("/v1/audiences").route(get().to(registry::audiences)))
        .service(place("/v1/stream").route(get().to(stream::follow)))
        .service(place("/v1/receipts/{channel}").route(post().to(receipts::take)).route(get().to(receipts::take)))
        .configure(subscribers)
        .service(place("/healthz").route(get().to(health::alive)))
        .service(place("/readyz").route(get().to(health::ready)))
        .service(place("/metrics").route(get().to(health::metrics)))
        .service(place("/unsubscribe/{token}").route(get().to(withdraw::show)).route(post().to(withdraw::withdraw)))
        .service(
            place("/confirm/{token}")
                .route(get().to(subscriber::confirm::show))
                .route(post().to(subscriber::confirm::confirm)),
        );
}

fn subscribers(config: &mut ServiceConfig) {
    const ADDRESS: &str = "/v1/subscribers/{id:[^/:]+}/addresses/{place:[0-9]+}";
    config
        .service(place("/v1/subscribers:import").route(post().to(import::subscribers)))
        .service(place("/v1/subscribers").route(get().to(subscriber::list)).route(post().to(subscriber::create)))
        .service(place(&format!("{ADDRESS}:verify")).route(post().to(subscriber::verify)))
        .service(place(&format!("{ADDRESS}:test")).route(post().to(subscriber::test)))
        .service(place(&format!("{ADDRESS}:rotate")).route(post().to(subscriber::rotate)))
        .service(place(&format!("{ADDRESS}:unsuppress")).route(post().to(subscriber::unsuppress)))
        .service(
            place("/v1/subscribers/{id:[^/:]+}")
                .route(get().to(subscriber::one))
                .route(patch().to(subscriber::change))
                .route(delete().to(subscriber::remove)),
        );
}
