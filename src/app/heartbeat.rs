//! The heartbeat: an URL of a watchdog elsewhere is asked for, again and again, as long as everything here makes progress. Who hears
//! nothing for a while knows that we are down, whatever of us still answers. The URL is a secret: whoever has it can say that all is
//! well. Nothing waits for it, and nothing else comes of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{App, door};
use crate::channel::guard::{Guard, System};
use crate::channel::place::Place;
use crate::channel::pool::{Failure, Pool};
use crate::channel::tls::Tls;
use crate::config;
use crate::dispatch::progress::{LATE, Watch};

/// For a ping, for the store's answer, and for the door's.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before the first: what has just started is not connected to everything yet.
const START: Duration = Duration::from_secs(5);
/// The engine is looked at so often at least, however seldom a ping is due.
const LOOK: Duration = Duration::from_secs(LATE.as_secs() / 3);

const AGENT: &str = concat!("Loudhailer/", env!("CARGO_PKG_VERSION"));

/// What came of a time at which a ping was due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    Sent,
    /// The watchdog did not take it.
    Failed(String),
    /// Something here makes no progress.
    Withheld(String),
}

/// All so far, for who looks on.
#[derive(Debug, Clone, Default)]
pub struct Beats {
    pub count: u64,
    pub last: Option<Beat>,
}

pub struct Heartbeat {
    place: Place,
    every: Duration,
    pool: Pool,
    beats: watch::Sender<Beats>,
}

impl Heartbeat {
    /// `None`: no URL is configured.
    pub fn build(config: &config::Heartbeat) -> anyhow::Result<Option<Heartbeat>> {
        let place = config.place().map_err(|why| anyhow!("heartbeat.url: {why}"))?;
        Ok(place.map(|place| Heartbeat {
            place,
            every: config.every.0,
            pool: Pool::new(Arc::new(System), Guard::Open, Tls::default(), 1, PATIENCE),
            beats: watch::Sender::default(),
        }))
    }

    pub fn beats(&self) -> watch::Receiver<Beats> {
        self.beats.subscribe()
    }

    async fn ping(&self) -> Beat {
        let mut request = Request::new(Full::<Bytes>::default());
        *request.uri_mut() = self.place.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.place.authority.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        match self.pool.exchange(&self.place.origin, request).await {
            Ok(answer) if (200..300).contains(&answer.status) => Beat::Sent,
            Ok(answer) => Beat::Failed(format!("it answered {}", answer.status)),
            Err(Failure::NotSent(why) | Failure::Lost(why) | Failure::Forbidden(why)) => Beat::Failed(why.into()),
        }
    }

    /// Counted each time, and told when it changes.
    fn note(&self, beat: Beat) {
        let what = match &beat {
            Beat::Sent => "sent",
            Beat::Failed(_) => "failed",
            Beat::Withheld(_) => "withheld",
        };
        metrics::counter!("loudhailer_heartbeats_total", "what" => what).increment(1);
        let last = self.beats.borrow().last.clone();
        if last.as_ref() != Some(&beat) {
            let host = self.place.authority.to_str().unwrap_or_default();
            match &beat {
                Beat::Sent => tracing::info!(host, "the heartbeat's ping was taken"),
                Beat::Failed(why) => tracing::warn!(host, "the heartbeat's ping was not taken: {why}"),
                Beat::Withheld(why) => tracing::warn!(host, "no heartbeat is sent: {why}"),
            }
        }
        self.beats.send_modify(|beats| {
            beats.count += 1;
            beats.last = Some(beat);
        });
    }
}

/// Until `app.stop` is cancelled.
pub async fn run(app: Arc<App>) {
    let Some(heartbeat) = &app.heartbeat else { return };
    // The clock began when the process did.
    let (mut watch, mut due) = (Watch::default(), heartbeat.every.min(START));
    loop {
        let now = app.clock.monotonic();
        if now < due {
            tokio::select! {
                biased;
                () = app.stop.cancelled() => return,
                () = app.clock.sleep_until(due.min(now + LOOK)) => {}
            }
            watch.hanging(&app.engine);
            continue;
        }
        let beat = match in_the_way(&app, &mut watch).await {
            None => heartbeat.ping().await,
            Some(why) => Beat::Withheld(why),
        };
        // What is counted from is when it was due, so that no wait adds up.
        due = (due + heartbeat.every).max(app.clock.monotonic());
        heartbeat.note(beat);
    }
}

/// What makes no progress.
async fn in_the_way(app: &Arc<App>, watch: &mut Watch) -> Option<String> {
    let hanging = watch.hanging(&app.engine);
    match timeout(PATIENCE, app.readiness()).await {
        Err(_) => return Some("the store does not answer in time".into()),
        Ok(readiness) => {
            if let Some(missing) = readiness.missing() {
                return Some(missing.into());
            }
        }
    }
    if let Err(why) = door::answers(&app.config.server, app.certificate.as_deref(), PATIENCE).await {
        return Some(format!("the server's own listener: {why}"));
    }
    (!hanging.is_empty()).then(|| format!("dispatch makes no progress: {}", hanging.join(", ")))
}
