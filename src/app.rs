//! Composition root: the only place that knows all parts. `build` reads everything and fails early; nothing is sent before
//! `run_until_stopped`.

mod door;
pub mod heartbeat;
mod muted;
mod readiness;
mod reports;
mod upkeep;
mod words;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use ring::hmac;
use tokio_util::sync::CancellationToken;

use self::heartbeat::Heartbeat;
pub use self::reports::NotKept;
use self::words::FrozenWords;
use crate::api::certificate::{self, Certificate};
use crate::audience::route::ChannelId;
use crate::channel::platforms::Platforms;
use crate::channel::registry::{self, Channel};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Place};
use crate::dispatch::{self, Engine, lane};
use crate::ingest::kafka::{Health, Kafka};
use crate::ingest::source::{Formats, Sources};
use crate::offer;
use crate::plan::{self, Confirms, Plan, Plans};
use crate::render::{Templates, clearances};
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;
use crate::store::{Frozen, Store};
use crate::watch::Watchers;

pub struct App {
    pub config: Config,
    pub clock: Arc<Clock>,
    pub store: Arc<dyn Store>,
    pub engine: Arc<Engine>,
    pub plans: ArcSwap<Plans>,
    pub templates: ArcSwap<Templates>,
    pub channels: Vec<(ChannelId, Channel)>,
    pub sources: Sources,
    pub watchers: Watchers,
    /// Held by the signal that proposes an incident.
    pub proposing: tokio::sync::Mutex<()>,
    /// One at a time: what is muted is as a whole in the store, and in memory.
    muting: tokio::sync::Mutex<()>,
    pub key: hmac::Key,
    pub max_event_age: Duration,
    /// `None`: the listener speaks plain HTTP.
    pub certificate: Option<Arc<Certificate>>,
    /// `None`: no brokers are configured.
    pub kafka: Option<Health>,
    /// `None`: nobody is told that we live.
    pub heartbeat: Option<Heartbeat>,
    pub stop: CancellationToken,
}

/// Everything built and bound, and nothing running yet.
pub struct Built {
    pub app: Arc<App>,
    listener: TcpListener,
    outcomes: tokio::sync::mpsc::UnboundedReceiver<dispatch::recorder::Entry>,
    kafka: Option<Kafka>,
}

/// How long attempts on the wire may take to end when the process stops.
const LAST_ATTEMPTS: Duration = Duration::from_secs(20);

impl App {
    /// The file of the embedded store, for what works on that file.
    pub fn store_path(config: &Config) -> anyhow::Result<PathBuf> {
        match place(config)? {
            Place::File(path) => Ok(path),
            Place::Server(server) => {
                bail!("store.url: {} is no file, and this is for a store in a file", server.name())
            }
        }
    }

    /// The store, for the process that sends from it.
    pub async fn own_store(config: &Config, clock: &Arc<Clock>) -> anyhow::Result<Arc<dyn Store>> {
        let (room, outcomes) = (config.server.queue, config.kafka.offers());
        Ok(match place(config)? {
            Place::File(path) => Arc::new(Sqlite::own(&path, room)?.noting_outcomes(outcomes)),
            Place::Server(server) => {
                let store = Postgres::own(&server, clock.clone(), config.store.connections, room).await?;
                Arc::new(store.noting_outcomes(outcomes))
            }
        })
    }

    /// The store, beside the process that may send from it.
    pub async fn visit_store(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
        Ok(match place(config)? {
            Place::File(path) => Arc::new(Sqlite::visit(&path)?),
            Place::Server(server) => Arc::new(Postgres::visit(&server).await?),
        })
    }

    pub async fn build(mut config: Config, clock: Arc<Clock>) -> anyhow::Result<Built> {
        // Every TLS connection uses the one provider; a second call, as in tests, changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = Certificate::load(&config.server)?;
        let heartbeat = Heartbeat::build(&config.heartbeat)?;
        let listener = TcpListener::bind(config.server.listen)
            .with_context(|| format!("server.listen: {} can't be listened on", config.server.listen))?;
        config.server.listen = listener.local_addr()?;
        let store = App::own_store(&config, &clock).await?;
        if !config.server.listen.ip().is_loopback() && store.access().tokens().await?.is_empty() {
            bail!(
                "server.listen: {} is reachable by others, and no token protects it; make one with loudhailer token create",
                config.server.listen
            );
        }
        offer::begin(&config.kafka, &*store).await?;
        let plans = load_plans(&config)?;
        let (lanes, channels) = App::channels(&config, &clock, &*store).await?;
        for (_, said) in unconfirmable(&plans.all, channels.iter().map(|(_, channel)| channel)) {
            tracing::warn!("{said}");
        }
        let kafka = Kafka::new(&config.kafka, clock.clone()).context("kafka")?;
        let sources = Sources::build(&config, &load_formats(&config)?)?;
        sources.mute(muted::kept(&*store).await?);
        let watchers = Watchers::build(&config)?;
        let seed = fastrand::u64(..);
        let templates = Arc::new(load_templates(&config)?);
        let (mut app, outcomes) = App::assemble(config, clock, store, plans, templates, lanes, seed).await?;
        app.channels = channels;
        app.sources = sources;
        app.watchers = watchers;
        app.certificate = certificate;
        app.heartbeat = heartbeat;
        app.kafka = kafka.as_ref().map(Kafka::health);
        Ok(Built { app: Arc::new(app), listener, outcomes, kafka })
    }

    /// The channels of the configuration, numbered by the store, and their lanes.
    async fn channels(
        config: &Config,
        clock: &Arc<Clock>,
        store: &dyn Store,
    ) -> anyhow::Result<(Vec<lane::Settings>, Vec<(ChannelId, Channel)>)> {
        let platforms = load_platforms(config)?;
        let channels = registry::build(config, &platforms, clock.clone())?;
        let names = channels.iter().map(|channel| channel.name.clone()).collect();
        Ok(numbered(channels, &store.channels(names).await?))
    }

    /// The channels of the configuration that the store has a number for: for who looks, and gives none.
    pub async fn known_channels(config: &Config, store: &dyn Store) -> anyhow::Result<Vec<lane::Settings>> {
        let channels = registry::build(config, &load_platforms(config)?, Arc::new(Clock::system()))?;
        Ok(numbered(channels, &store.channels(Vec::new()).await?).0)
    }

    /// The application over a store and lanes of any kind, deterministic in `seed`: what `build` and the simulation share.
    pub async fn assemble(
        config: Config,
        clock: Arc<Clock>,
        store: Arc<dyn Store>,
        plans: Plans,
        templates: Arc<Templates>,
        lanes: Vec<lane::Settings>,
        seed: u64,
    ) -> anyhow::Result<(App, tokio::sync::mpsc::UnboundedReceiver<dispatch::recorder::Entry>)> {
        let key = installation_key(&*store).await?;
        let words = FrozenWords::new(config.clone(), store.clone(), templates.clone());
        let parts = dispatch::Parts {
            store: store.clone(),
            clock: clock.clone(),
            words: Arc::new(words),
            lanes,
            key: key.clone(),
            public_url: config.public_url(),
            without_unsubscribe: config
                .audiences
                .iter()
                .filter(|(_, audience)| !audience.unsubscribe)
                .map(|(name, _)| name.clone())
                .collect(),
            settings: dispatch::Settings {
                lane: config.engine.lane,
                page: config.engine.page,
                attempt_room: config.engine.attempt_room,
            },
            seed,
        };
        let (engine, outcomes) = Engine::new(parts).await?;
        let frozen = Frozen { digest: templates.digest(), kind: "templates", bytes: templates.to_bytes() };
        store.freeze(frozen).await?;
        let app = App {
            max_event_age: config.events.max_event_age.0,
            certificate: None,
            kafka: None,
            heartbeat: None,
            plans: ArcSwap::from_pointee(plans),
            templates: ArcSwap::new(templates),
            channels: Vec::new(),
            sources: Sources::default(),
            watchers: Watchers::default(),
            proposing: tokio::sync::Mutex::default(),
            muting: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            config,
            clock,
            store,
            engine,
            key,
        };
        Ok((app, outcomes))
    }

    pub fn channel(&self, name: &str) -> Option<&(ChannelId, Channel)> {
        self.channels.iter().find(|(_, channel)| channel.name == name)
    }

    pub fn channel_name(&self, id: ChannelId) -> &str {
        self.channels.iter().find(|(known, _)| *known == id).map_or("", |(_, channel)| &channel.name)
    }
}

impl Built {
    pub fn port(&self) -> u16 {
        self.app.config.server.listen.port()
    }

    /// Sends and serves until `app.stop` is cancelled; then stops taking, lets open attempts end, and returns.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let Built { app, listener, outcomes, kafka } = self;
        app.engine.start(outcomes);
        let _reports = reports::listen(&app);
        let consumer = kafka.map(|kafka| tokio::spawn(kafka.run(app.clone(), app.stop.clone())));
        let watching = app.watchers.start(&app);
        let upkeep = tokio::spawn(upkeep::retention(app.clone()));
        let settings = tokio::spawn(upkeep::settings(app.clone()));
        let offering = upkeep::offering(&app);
        let sums = tokio::spawn(crate::telemetry::sum_up());
        let following = tokio::spawn(certificate::follow(app.clone()));
        let server = crate::api::serve(app.clone(), listener)?;
        let handle = server.handle();
        let serving = tokio::spawn(server);
        let beating = tokio::spawn(heartbeat::run(app.clone()));
        tokio::select! {
            () = app.stop.cancelled() => {}
            () = app.engine.broken.cancelled() => app.stop.cancel(),
        }
        // Taking ends first, so that what is accepted is also what is written.
        let ends = tokio::time::Instant::now() + LAST_ATTEMPTS;
        let taking = async {
            handle.stop(true).await;
            if let Some(consumer) = consumer {
                let _ = consumer.await;
            }
            futures_util::future::join_all(watching).await;
        };
        let _ = tokio::time::timeout(LAST_ATTEMPTS / 2, taking).await;
        app.engine.shut_down(ends.saturating_duration_since(tokio::time::Instant::now())).await;
        upkeep.abort();
        settings.abort();
        sums.abort();
        following.abort();
        beating.abort();
        if let Some(offering) = offering {
            offering.finish().await;
        }
        app.store.close().await?;
        let _ = tokio::time::timeout(Duration::from_secs(5), serving).await;
        if app.engine.broken.is_cancelled() {
            bail!("a part of the engine panicked: start again, and what was under way goes on");
        }
        Ok(())
    }
}

fn numbered(
    channels: Vec<Channel>,
    numbers: &[(String, ChannelId, bool)],
) -> (Vec<lane::Settings>, Vec<(ChannelId, Channel)>) {
    let mut lanes = Vec::new();
    let mut numbered = Vec::new();
    for channel in channels {
        let Some((_, id, paused)) = numbers.iter().find(|(name, ..)| *name == channel.name) else { continue };
        lanes.push(lane_settings(&channel, *id, *paused));
        numbered.push((*id, channel));
    }
    (lanes, numbered)
}

fn place(config: &Config) -> anyhow::Result<Place> {
    config.store.place().map_err(|why| anyhow::anyhow!(why))
}

fn optional(path: &Path) -> Option<&Path> {
    (!path.as_os_str().is_empty()).then_some(path)
}

pub fn load_templates(config: &Config) -> anyhow::Result<Templates> {
    let clearances = clearances(config.audiences.iter());
    Templates::load(optional(&config.paths.templates), clearances).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("templates can't be used:\n{}", lines.join("\n"))
    })
}

pub fn load_plans(config: &Config) -> anyhow::Result<Plans> {
    let plans = plan::load(optional(&config.paths.plans))?;
    let mut known: BTreeSet<&str> = config.audiences.keys().map(String::as_str).collect();
    known.insert("");
    for plan in &plans {
        for step in &plan.steps {
            if !known.contains(step.audience.as_str()) {
                let nearest = known.iter().min_by_key(|name| strsim::levenshtein(name, &step.audience)).unwrap_or(&"");
                bail!(
                    "plan {}, step {}: audience {:?} is not registered; did you mean {nearest:?}?",
                    plan.name,
                    step.name,
                    step.audience
                );
            }
        }
    }
    let audiences = config.audiences.iter().map(|(name, audience)| (name.clone(), audience.clearance)).collect();
    Ok(Plans::new(plans, audiences, config.components.keys().cloned().collect(), config.engine.deadline.0))
}

/// What plans ask channels to confirm in vain; see `plan::unconfirmable`.
pub fn unconfirmable<'a>(plans: &[Plan], channels: impl Iterator<Item = &'a Channel>) -> Vec<(bool, String)> {
    let channels =
        channels.map(|channel| Confirms { name: &channel.name, kind: &channel.kind, reports: channel.confirms() });
    plan::unconfirmable(plans, &channels.collect::<Vec<_>>())
}

pub fn load_formats(config: &Config) -> Result<Formats, ConfigError> {
    Formats::load(optional(&config.paths.sources))
}

pub fn load_platforms(config: &Config) -> Result<Platforms, ConfigError> {
    Platforms::load(optional(&config.paths.channels))
}

fn lane_settings(channel: &Channel, id: ChannelId, paused: bool) -> lane::Settings {
    lane::Settings {
        id,
        name: channel.name.clone(),
        kind: channel.kind.clone(),
        address_kind: channel.address_kind.clone(),
        weight: channel.weight,
        domains: channel.depends.iter().cloned().collect(),
        rates: channel.rates.clone(),
        account: channel.account.clone(),
        host_concurrency: channel.host_concurrency,
        concurrency: channel.concurrency,
        repeat: channel.repeat,
        format: channel.format,
        markup: channel.markup,
        by_reference: channel.by_reference(),
        confirms: channel.confirms(),
        paused,
        driver: channel.driver.clone(),
    }
}

/// Signs delivery ids and unsubscribe links; made by the store once, and backed up with it.
pub async fn installation_key(store: &dyn Store) -> anyhow::Result<hmac::Key> {
    use base64::Engine;
    let text = store.meta("key").await?.context("the store has no key")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).context("the store's key is damaged")?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}
