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

use super::nodes::link::Link;
use super::variety::Variety;
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
    /// Where its platform says that it reports deliveries: how many of a hundred.
    reports: Option<u32>,
}

/// Longer than any step of a world waits.
const REPORTED_WITHIN: Duration = Duration::from_secs(40);

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
        reports: Some(80),
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
        reports: Some(0),
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
        reports: None,
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
        reports: Some(50),
    },
];

/// Where the SMS channels share an account, its limits; long windows are kept in the store.
pub const ACCOUNT: [&str; 2] = ["6/s", "24/2min"];

pub fn limits(rates: &[&str]) -> Vec<Limit> {
    rates.iter().map(|rate| rate.parse().expect("a limit")).collect()
}

impl Channel {
    pub fn of(id: u16) -> &'static Channel {
        &CHANNELS[usize::from(id) - 1]
    }

    pub fn limits(&self) -> Vec<Limit> {
        limits(self.rates)
    }

    pub fn is_in(&self, domain: &str) -> bool {
        domain == self.name || domain.strip_suffix("-net") == Some(self.kind)
    }

    /// Whether a step that asks for confirmations waits for its reports.
    pub fn confirms(&self, variety: &Variety) -> bool {
        variety.confirmations && self.reports.is_some()
    }

    /// Whether its account is the one that worlds may have.
    pub fn in_account(&self) -> bool {
        self.kind == "sms"
    }

    fn settings(
        &self,
        world: &Arc<World>,
        clock: &Arc<Clock>,
        base: Duration,
        link: &Option<Arc<Link>>,
    ) -> lane::Settings {
        let shares = world.variety.account && self.in_account();
        let (world_of, clock, link) = (world.clone(), clock.clone(), link.clone());
        let driver = Simulated { world: world_of, clock, channel: self.id, base, link };
        lane::Settings {
            rates: Rates {
                channel: self.limits(),
                account: if shares { limits(&ACCOUNT) } else { Vec::new() },
                ..Rates::default()
            },
            account: shares.then(|| "telecom".into()),
            concurrency: self.concurrency,
            repeat: self.repeat,
            by_reference: self.by_reference,
            confirms: self.confirms(&world.variety),
            ..lane_of(self.id, self.name, self.kind, self.address_kind, Arc::new(driver))
        }
    }
}

/// `link`: of the node whose they are, where there are several.
pub fn lanes(world: &Arc<World>, clock: &Arc<Clock>, base: Duration, link: Option<Arc<Link>>) -> Vec<lane::Settings> {
    CHANNELS.iter().map(|channel| channel.settings(world, clock, base, &link)).collect()
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
    link: Option<Arc<Link>>,
}

impl Simulated {
    /// From a node that is dead nothing goes out, and nothing comes back to it.
    async fn lives(&self) {
        if let Some(link) = &self.link {
            link.lives().await;
        }
    }
}

#[async_trait]
impl Driver for Simulated {
    async fn send(&self, parcel: Parcel) -> Outcome {
        self.lives().await;
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
            node: self.link.as_ref().map_or(0, |link| link.node),
            id: parcel.id,
            to: parcel.to.to_string(),
            dated: parcel.at.0,
            body,
            answer: Answer::from(&outcome),
            reference,
        });
        self.clock.sleep(latency).await;
        self.lives().await;
        let now = self.base + self.clock.monotonic();
        self.world.ends(number, now);
        let channel = Channel::of(self.channel);
        if channel.confirms(&self.world.variety) && matches!(outcome, Outcome::Accepted { .. }) {
            let within = self.world.span(REPORTED_WITHIN);
            if self.world.percent(channel.reports.unwrap_or(0)) {
                self.world.will_report(now + within, number);
            }
        }
        self.world.say(|| format!("{now:?} channel {} answers {short} {}", self.channel, outcome.word()));
        outcome
    }
}
