//! The machine's door.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{HttpResponse, HttpServer, web};

use crate::app::App;

/// The server over a bound listener; it runs when it is awaited.
pub fn serve(app: Arc<App>, listener: TcpListener) -> std::io::Result<Server> {
    let workers = app.config.server.workers.max(1);
    let server = HttpServer::new(move || {
        actix_web::App::new().app_data(web::Data::from(app.clone())).route("/healthz", web::get().to(HttpResponse::Ok))
    })
    .workers(workers)
    .disable_signals()
    .shutdown_timeout(10)
    .listen(listener)?;
    Ok(server.run())
}
