//! The channels that the operator has set up: each a platform with its settings, limits, failure domains and driver.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::auth::{Auth, Encoding};
use super::file::{KINDS, Platform};
use super::follow::Requests;
use super::guard::{Guard, Network, System};
use super::http::Http;
use super::kafka::Kafka;
use super::outbox::Outbox;
use super::platforms::Platforms;
use super::pool::Pool;
use super::publish::{amqp, irc, mqtt, nats, smpp, xmpp};
use super::smtp::Smtp;
use super::tls::Tls;
use super::token::Tokens;
use super::{Driver, Repeat};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError, suggest};
use crate::quantity::Limit;
use crate::receipt::{Arrived, BadReceipt, Reading, Receipt, Receipts};
use crate::render::message::{Format, Markup};

/// Attempts at one time, where neither the platform nor the operator says.
const CONCURRENCY: usize = 32;

/// A setting that every platform reached over HTTP has: a PEM file of further authorities.
const CA_FILE: &str = "ca_file";

/// The limits of a channel, by what each is for.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    pub channel: Vec<Limit>,
    /// Of all channels of the account together.
    pub account: Vec<Limit>,
    /// Of each host by this channel, where each address has its own.
    pub host: Vec<Limit>,
    /// Of each address, by all channels of the account together.
    pub address: Vec<Limit>,
}

pub struct Channel {
    pub name: String,
    /// Given by the store; 0 until then.
    pub id: u16,
    pub platform: Arc<Platform>,
    pub kind: String,
    pub weight: u32,
    /// Failure domains: itself, its platform, and what both depend on.
    pub depends: Vec<String>,
    /// The platform's and the operator's, beside each other.
    pub rates: Rates,
    pub host_concurrency: Option<usize>,
    /// Channels with the same account share their limits. A digest, since what tells accounts apart may be a secret.
    pub account: Option<String>,
    pub concurrency: usize,
    pub repeat: Repeat,
    pub format: Format,
    pub markup: Markup,
    pub address_kind: String,
    pub driver: Arc<dyn Driver>,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) public_url: String,
}

impl Channel {
    /// Whether its receipts come by the platform's reference rather than by our id.
    pub fn by_reference(&self) -> bool {
        self.platform.receipts.as_ref().is_some_and(|receipts| receipts.by_reference())
    }

    /// Whether its platform reports what arrived.
    pub fn confirms(&self) -> bool {
        self.platform.receipts.as_ref().is_some_and(Receipts::confirm)
    }

    /// Reads what came to `/v1/receipts/<channel>`; `None` if the platform reports nothing.
    pub fn receipts(&self, arrived: &Arrived<'_>) -> Option<Result<Reading, BadReceipt>> {
        let receipts = self.platform.receipts.as_ref().filter(|receipts| !receipts.by_connection())?;
        Some(receipts.read(arrived, &|name| self.settings.get(name).cloned(), &self.public_url))
    }

    /// Reads what came over its connection; `None` if it says nothing that counts.
    pub fn reported(&self, said: &Value) -> Result<Option<Receipt>, BadReceipt> {
        self.platform.receipts.as_ref().map_or(Ok(None), |receipts| receipts.reported(said))
    }
}

/// Sets up every channel of the configuration, in the order of their names.
pub fn build(config: &Config, platforms: &Platforms, clock: Arc<Clock>) -> Result<Vec<Channel>, ConfigError> {
    build_with(config, platforms, clock, Arc::new(System))
}

/// As `build`, with a network of one's own.
pub fn build_with(
    config: &Config,
    platforms: &Platforms,
    clock: Arc<Clock>,
    network: Arc<dyn Network>,
) -> Result<Vec<Channel>, ConfigError> {
    config
        .channels
        .iter()
        .map(|(name, own)| {
            channel(config, name, own, platforms, &clock, &network)
                .map_err(|message| ConfigError::Wrong { place: format!("channels.{name}"), message })
        })
        .collect()
}

/// Sets up one, whatever is wrong with the others.
pub fn one(config: &Config, name: &str, platforms: &Platforms, clock: Arc<Clock>) -> Result<Channel, ConfigError> {
    let wrong = |message| ConfigError::Wrong { place: format!("channels.{name}"), message };
    let Some(own) = config.channels.get(name) else {
        let known: Vec<&str> = config.channels.keys().map(String::as_str).collect();
        let near = suggest(name, known.iter().copied());
        return Err(wrong(match known.is_empty() {
            true => "there is no such channel: the configuration has none".into(),
            false => format!("there is no such channel{near} (known: {})", known.join(" ")),
        }));
    };
    channel(config, name, own, platforms, &clock, &(Arc::new(System) as Arc<dyn Network>)).map_err(wrong)
}

fn channel(
    config: &Config,
    name: &str,
    own: &config::Channel,
    platforms: &Platforms,
    clock: &Arc<Clock>,
    network: &Arc<dyn Network>,
) -> Result<Channel, String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err("a channel's name has letters, digits, - and _ only: it stands in URLs".into());
    }
    let platform = platforms.get(&own.platform)?;
    let kind = own.kind.clone().unwrap_or_else(|| platform.kind.clone());
    if !KINDS.contains(&kind.as_str()) {
        let near = suggest(&kind, KINDS.iter().copied());
        return Err(format!("unknown kind {kind:?}{near} (known: {})", KINDS.join(" ")));
    }
    let settings = settings(platform, own)?;
    let setting = |name: &str| settings.get(name).cloned();
    let limits = &platform.limits;
    let account = limits.account.as_ref().and_then(|account| Some(account_key(platform, &account.constant(setting)?)));
    let concurrency = own.concurrency.or(limits.concurrency).unwrap_or(CONCURRENCY);
    if concurrency == 0 {
        return Err("concurrency: a channel makes at least one attempt at one time".into());
    }
    let mut depends = vec![name.to_string()];
    for domain in [&platform.name].into_iter().chain(&platform.depends).chain(&own.depends) {
        if !depends.contains(domain) {
            depends.push(domain.clone());
        }
    }
    let public_url = config.public_url();
    let hidden = || settings.iter().map(|(name, value)| (name.clone(), config::Secret::new(value.clone()))).collect();
    let driver: Arc<dyn Driver> = match platform.driver.as_str() {
        "outbox" => Arc::new(Outbox),
        "http" | "webhook" => {
            let callback = format!("{public_url}/v1/receipts/{name}?delivery=");
            let requests = Requests::new(platform, &setting, callback)?;
            let tls = match settings.get(CA_FILE) {
                Some(file) => Tls::with_authorities(Path::new(file))?,
                None => Tls::default(),
            };
            let guard = if requests.send.is_per_host() && !own.allow_private { Guard::PublicOnly } else { Guard::Open };
            let at_one_host = match requests.send.is_per_host() {
                true => limits.host.concurrency.unwrap_or(concurrency).min(concurrency),
                false => concurrency,
            };
            let patience = platform.send.as_ref().map_or(std::time::Duration::from_secs(15), |send| send.timeout.0);
            let pool = Pool::new(network.clone(), guard, tls, at_one_host, patience);
            let secrets = platform.settings.iter().filter(|(_, s)| s.secret).filter_map(|(name, _)| setting(name));
            let secrets = secrets.collect();
            let tokens = match &platform.auth {
                Auth::Token(ask) => Some(Tokens::new(ask, &setting)?),
                _ => None,
            };
            Arc::new(Http::new(platform.clone(), requests, tokens, pool, clock.clone(), secrets))
        }
        "smtp" => Arc::new(Smtp::new(&hidden(), &config.sender, concurrency, clock.clone())?),
        "mqtt" => mqtt::driver(&hidden(), concurrency)?,
        "nats" => nats::driver(&hidden(), concurrency)?,
        "amqp" => amqp::driver(&hidden(), concurrency)?,
        "irc" => irc::driver(&hidden(), concurrency)?,
        "xmpp" => xmpp::driver(&hidden(), concurrency)?,
        "smpp" => smpp::driver(&hidden(), concurrency)?,
        "kafka" => Arc::new(Kafka::new(&hidden(), concurrency)?),
        other => return Err(format!("driver {other:?} is not there")),
    };
    Ok(Channel {
        name: name.into(),
        id: 0,
        kind,
        weight: own.weight,
        depends,
        rates: rates(platform, own, account.is_some(), &*driver)?,
        host_concurrency: limits.host.concurrency,
        account,
        concurrency,
        repeat: platform.repeat,
        format: platform.format,
        markup: platform.markup,
        address_kind: platform.address.kind.clone(),
        driver,
        platform: platform.clone(),
        settings,
        public_url,
    })
}

/// Limits of hosts and addresses are kept in memory alone.
const LONGEST_KEYED: std::time::Duration = std::time::Duration::from_secs(60);

fn rates(platform: &Platform, own: &config::Channel, account: bool, driver: &dyn Driver) -> Result<Rates, String> {
    let limits = &platform.limits;
    let per_host = driver.host(&platform.address.example).is_some();
    if !own.account_rate.is_empty() && !account {
        return Err(format!("account_rate: platform {:?} does not say what an account is", platform.name));
    }
    if !own.host_rate.is_empty() && !per_host {
        return Err(format!("host_rate: the addresses of platform {:?} name no host; use rate", platform.name));
    }
    let both = |platforms: &[Limit], own: &[Limit]| platforms.iter().chain(own).copied().collect::<Vec<_>>();
    let host = both(limits.host.rate.as_slice(), &own.host_rate);
    let address = both(limits.address.as_slice(), &own.address_rate);
    for (key, limit) in host.iter().map(|limit| ("host", limit)).chain(address.iter().map(|limit| ("address", limit))) {
        if limit.window > LONGEST_KEYED {
            return Err(format!("{limit}: a limit of each {key} has a window of 1min at most"));
        }
    }
    // Without accounts the platform's limits are the channel's.
    let (channel, account) = match account {
        true => (own.rate.clone(), both(&limits.rate, &own.account_rate)),
        false => (both(&limits.rate, &own.rate), Vec::new()),
    };
    Ok(Rates { channel, account, host: if per_host { host } else { Vec::new() }, address })
}

fn account_key(platform: &Platform, value: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{}\n{value}", platform.name).as_bytes());
    format!("{}-{}", platform.name, Encoding::Hex.write(&digest.as_ref()[..8]))
}

/// The operator's settings over the platform's defaults.
fn settings(platform: &Platform, own: &config::Channel) -> Result<BTreeMap<String, String>, String> {
    let mut settings = BTreeMap::new();
    let over_http = matches!(platform.driver.as_str(), "http" | "webhook");
    for (name, value) in &own.settings {
        let known = platform.settings.contains_key(name) || (over_http && name == CA_FILE);
        if !known {
            let near = suggest(name, platform.settings.keys().map(String::as_str));
            return Err(format!("platform {:?} has no setting {name:?}{near}", platform.name));
        }
        if value.expose().chars().any(char::is_control) {
            return Err(format!("setting {name:?} has a control character in it"));
        }
        settings.insert(name.clone(), value.expose().to_string());
    }
    for (name, setting) in &platform.settings {
        match (&setting.default, settings.contains_key(name)) {
            (_, true) => {}
            (Some(default), false) => drop(settings.insert(name.clone(), default.clone())),
            (None, false) if setting.optional => {}
            (None, false) => return Err(format!("setting {name:?} is missing: {}", setting.help)),
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    fn built(text: &str) -> Result<Vec<Channel>, String> {
        let config = Config::from_toml(text, "own.toml", std::iter::empty()).map_err(|error| error.to_string())?;
        let platforms = Platforms::load(None).map_err(|error| error.to_string())?;
        build(&config, &platforms, Arc::new(Clock::manual(Time(0)))).map_err(|error| error.to_string())
    }

    const KANNEL: &str = r#"
[channels.sms-eu]
platform = "kannel"
depends = ["carrier-a"]
rate = ["7/s"]
[channels.sms-eu.settings]
url = "http://127.0.0.1:13013"
username = "u"
password = "p"
from = "ALERT"
"#;

    #[test]
    fn a_channel_is_its_platform_with_the_operators_words_over_it() {
        let channels = built(KANNEL).expect("builds");
        let [channel] = channels.as_slice() else { panic!("one channel") };
        assert_eq!((channel.name.as_str(), channel.kind.as_str(), channel.weight), ("sms-eu", "sms", 1));
        assert_eq!(channel.depends, ["sms-eu", "kannel", "carrier-a"]);
        assert_eq!(channel.rates.channel, ["7/s".parse().expect("limit")]);
        assert_eq!(channel.address_kind, "phone");
    }

    #[test]
    fn channels_of_one_account_share_a_key_that_does_not_show_it() {
        let bot = |name: &str, token: &str| {
            format!("[channels.{name}]\nplatform = \"telegram\"\nsettings.token = \"{token}\"\n")
        };
        let channels = built(&(bot("a", "1:secret") + &bot("b", "1:secret") + &bot("c", "2:other"))).expect("builds");
        let [a, b, c] = [0, 1, 2].map(|at: usize| channels[at].account.clone().expect("an account"));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert!(!a.contains("secret"));
        let bot =
            bot("a", "1:secret") + "rate = [\"5/s\"]\naccount_rate = [\"900/min\"]\naddress_rate = [\"20/min\"]\n";
        let rates = &built(&bot).expect("builds")[0].rates;
        let shown = |limits: &[Limit]| limits.iter().map(Limit::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(
            [&rates.channel, &rates.account, &rates.address, &rates.host].map(|limits| shown(limits)),
            ["5/s", "30/s 900/min", "1/s 20/min", ""]
        );
    }

    #[test]
    fn a_missing_or_wrong_word_is_refused_with_its_place_and_the_nearest_right_one() {
        let error = |from: &str, to: &str| built(&KANNEL.replacen(from, to, 1)).err().expect(to);
        assert!(
            error("\"kannel\"", "\"kanel\"")
                .starts_with("channels.sms-eu: unknown platform \"kanel\"; did you mean \"kannel\"?")
        );
        assert!(error("password", "pasword").contains("no setting \"pasword\"; did you mean \"password\"?"));
        assert!(error("password = \"p\"", "").contains("setting \"password\" is missing"));
        assert!(error("\"ALERT\"", "\"A\\nB\"").contains("control character"));
        assert!(error("depends =", "kind = \"smss\"\ndepends =").contains("did you mean \"sms\"?"));
        assert!(error("http://127.0.0.1:13013", "127.0.0.1:13013").contains("http"));
        assert!(error("rate =", "account_rate =").contains("does not say what an account is"));
        assert!(error("rate =", "host_rate =").contains("name no host; use rate"));
        assert!(error("rate = [\"7/s\"]", "address_rate = [\"3/h\"]").contains("3/h: a limit of each address"));
    }
}
