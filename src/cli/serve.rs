//! `loudhailer serve`.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, runtime};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::telemetry;

pub fn run(config: Config) -> Result<(), Failure> {
    telemetry::init(&config.log).map_err(Failure::Wrong)?;
    runtime()?.block_on(async {
        let clock = Arc::new(Clock::system());
        let built = App::build(config, clock).await.map_err(|error| Failure::Wrong(format!("{error:#}")))?;
        let app = built.app.clone();
        tracing::info!(listen = %app.config.server.listen, public_url = app.config.public_url(), "ready");
        println!("listening on http://{}", app.config.server.listen);
        let stop = app.stop.clone();
        let mut terminate = signal(SignalKind::terminate()).map_err(anyhow::Error::from)?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            tracing::info!("stopping: no more is taken, open attempts end");
            stop.cancel();
        });
        built.run_until_stopped().await.map_err(Failure::Failed)
    })
}
