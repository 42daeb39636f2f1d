//! The channels: what is set up, and a driver that answers as the world decides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::audience::route::ChannelId;
use loudhailer::channel::registry::Rates;
use loudhailer::channel::{Driver, Outcome, Parcel, Repeat};
use loudhailer::clock::Clock;
use loudhailer::dispatch::lane;
use loudhailer::quantity::Limit;
use loudhailer::render::message::{Format, Markup};

use super::world::{Answer, Attempt, World};

pub struct Channel {
    pub id: u16,
    pub name: &'static str,
    pub kind: &'static str,
    pub address_kind: &'static str,
    rates: &'static [&'static str],
    /// Attempts at one time.
    pub concurrency: usize,
    pub repeat: Repeat,
    /// Its platform tells a delivery by its own reference, not by our id.
    pub by_reference: bool,
}

pub const CHANNELS: [Channel; 4] = [
    Channel {
        id: 1,
        name: "sms-a",
        kind: "sms",
        address_kind: "phone",
        rates: &["5/s"],
        concurrency: 4,
        repeat: Repeat::Unsafe,
        by_reference: true,
    },
    Channel {
        id: 2,
        name: "sms-b",
        kind: "sms",
        address_kind: "phone",
        rates: &["3/s"],
        concurrency: 4,
        repeat: Repeat::Safe,
        by_reference: false,
    },
    Channel {
        id: 3,
        name: "mail",
        kind: "email",
        address_kind: "email",
        rates: &[],
        concurrency: 2,
        repeat: Repeat::Unsafe,
        by_reference: true,
    },
    Channel {
        id: 4,
        name: "hook",
        kind: "hook",
        address_kind: "url",
        rates: &["2/s", "16/2min"],
        concurrency: 3,
        repeat: Repeat::Safe,
        by_reference: false,
    },
];

impl Channel {
    pub fn of(id: u16) -> &'static Channel {
        &CHANNELS[usize::from(id) - 1]
    }

    pub fn limits(&self) -> Vec<Limit> {
        self.rates.iter().map(|rate| rate.parse().expect("a limit")).collect()
    }

    pub fn is_in(&self, domain: &str) -> bool {
        domain == self.name || domain.strip_suffix("-net") == Some(self.kind)
    }

    fn settings(&self, world: &Arc<World>, clock: &Arc<Clock>, base: Duration) -> lane::Settings {
        let driver = Simulated { world: world.clone(), clock: clock.clone(), channel: self.id, base };
        lane::Settings {
            rates: Rates { channel: self.limits(), ..Rates::default() },
            concurrency: self.concurrency,
            repeat: self.repeat,
            by_reference: self.by_reference,
            ..lane_of(self.id, self.name, self.kind, self.address_kind, Arc::new(driver))
        }
    }
}

pub fn lanes(world: &Arc<World>, clock: &Arc<Clock>, base: Duration) -> Vec<lane::Settings> {
    CHANNELS.iter().map(|channel| channel.settings(world, clock, base)).collect()
}

/// A channel that sends one at a time, without a limit.
pub fn lane_of(id: u16, name: &str, kind: &str, address_kind: &str, driver: Arc<dyn Driver>) -> lane::Settings {
    lane::Settings {
        id: ChannelId(id),
        name: name.to_string(),
        kind: kind.to_string(),
        address_kind: address_kind.to_string(),
        weight: 1,
        domains: [name.to_string(), format!("{kind}-net")].into(),
        rates: Rates::default(),
        account: None,
        host_concurrency: None,
        concurrency: 1,
        repeat: Repeat::Safe,
        format: if kind == "hook" { Format::Webhook } else { Format::Sms },
        markup: Markup::Plain,
        by_reference: false,
        confirms: false,
        paused: false,
        driver,
    }
}

struct Simulated {
    world: Arc<World>,
    clock: Arc<Clock>,
    channel: u16,
    base: Duration,
}

#[async_trait]
impl Driver for Simulated {
    async fn send(&self, parcel: Parcel) -> Outcome {
        let at = self.base + self.clock.monotonic();
        let reference = format!("r{}", self.world.chance().u64(..));
        let (outcome, latency) = self.world.fate(self.channel, at, &reference);
        // Without its tag, which each store makes with a key of its own.
        let short = parcel.id.rsplit_once('_').map_or(parcel.id.as_str(), |(short, _)| short).to_string();
        self.world.say(|| format!("{at:?} channel {} begins {short} to {}", self.channel, parcel.to));
        let body = parcel.filled().text;
        let number = self.world.begins(Attempt {
            at,
            answered: None,
            channel: self.channel,
            id: parcel.id,
            to: parcel.to,
            dated: parcel.at.0,
            body,
            answer: Answer::from(&outcome),
            reference,
        });
        self.clock.sleep(latency).await;
        let now = self.base + self.clock.monotonic();
        self.world.ends(number, now);
        self.world.say(|| format!("{now:?} channel {} answers {short} {}", self.channel, outcome.word()));
        outcome
    }
}
