//! Send times for the hosts that deliveries of a lane wait for, where several nodes keep the limits of hosts together. The lane goes on
//! with others meanwhile, and all hosts that are wanted by then are asked for at once.

use std::sync::Arc;
use std::time::Duration;

use super::Lane;
use crate::dispatch::{Engine, lock};

/// Asks as often as somebody wants some, until the engine stops.
pub async fn ask(engine: Arc<Engine>, lane: Arc<Lane>) {
    loop {
        tokio::select! {
            biased;
            () = engine.stop.cancelled() => return,
            () = lane.wanting.notified() => {}
        }
        let wanted = lock(&lane.inner).hosts.limits.wanted(engine.clock.monotonic());
        let (hosts, wanted): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
        if wanted.is_empty() {
            continue;
        }
        match engine.grant(&wanted).await {
            Ok(times) => {
                let now = engine.clock.monotonic();
                let mut inner = lock(&lane.inner);
                for (host, times) in hosts.iter().zip(times) {
                    inner.hosts.granted(host, &times, now);
                }
                if inner.hosts.limits.want() {
                    lane.wanting.notify_one();
                }
                drop(inner);
                lane.wake();
            }
            // Whoever waits for them asks again after a while.
            Err(error) => {
                let channel = &lane.settings.name;
                tracing::error!(%error, channel, "no send times of hosts could be had; who waits for one goes on waiting");
                engine.clock.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
