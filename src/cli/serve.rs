//! `loudhailer serve`.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, runtime, show};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::fault;
use crate::store::StoreError;
use crate::telemetry;

pub fn run(config: Config) -> Result<(), Failure> {
    telemetry::init(&config.log).map_err(Failure::Wrong)?;
    runtime()?.block_on(async {
        let clock = Arc::new(Clock::ahead(fault::clock_ahead()));
        let built = App::build(config, clock).await.map_err(failure)?;
        let app = built.app.clone();
        tracing::info!(listen = %app.config.server.listen, public_url = app.config.public_url(), "ready");
        show::line(&format!("listening on {}://{}", app.config.server.scheme(), app.config.server.listen))?;
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

/// What is in the way now, such as another broker, is no fault of the configuration.
fn failure(error: anyhow::Error) -> Failure {
    let in_use = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::AddrInUse;
    let in_the_way = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<StoreError>() || cause.downcast_ref::<std::io::Error>().is_some_and(in_use)
    };
    match error.chain().any(in_the_way) {
        true => Failure::Failed(error),
        false => Failure::Wrong(format!("{error:#}")),
    }
}
