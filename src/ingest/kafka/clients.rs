//! librdkafka's clients. Enters: the `[kafka]` section. Leaves: a consumer and a producer set so that nothing is lost, with the
//! operator's settings passed through, and a context that reports to Health instead of to standard error.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureProducer;
use rdkafka::statistics::Statistics;
use tokio::sync::watch;

use super::health::{self, Noise, Signs, Status};
use super::progress::Progress;
use crate::clock::{Clock, Instant};
use crate::config;

/// What at-least-once rests on; the operator's settings can't change it.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "true"),
    ("enable.auto.offset.store", "false"),
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("group.protocol", "classic"),
    ("enable.partition.eof", "false"),
    ("enable.idempotence", "true"),
];

/// Named elsewhere in the section.
const ELSEWHERE: &[(&str, &str)] =
    &[("bootstrap.servers", "brokers"), ("metadata.broker.list", "brokers"), ("group.id", "group")];

#[derive(Debug, thiserror::Error)]
#[error("kafka: {0}")]
pub struct KafkaSetup(String);

impl KafkaSetup {
    /// Never shows a setting's value, which may be a password.
    pub(super) fn of(error: &KafkaError) -> KafkaSetup {
        match error {
            KafkaError::ClientConfig(_, description, key, _) => KafkaSetup(format!("settings.{key:?}: {description}")),
            other => KafkaSetup(other.to_string()),
        }
    }
}

/// The settings as given, none of which is ours to set.
pub(super) fn check(config: &config::Kafka) -> Result<(), KafkaSetup> {
    for key in config.settings.keys() {
        if let Some((_, ours)) = FIXED.iter().find(|(fixed, _)| fixed == key) {
            return Err(KafkaSetup(format!("settings.{key:?} is always {ours:?}: no record would be safe otherwise")));
        }
        if let Some((_, place)) = ELSEWHERE.iter().find(|(elsewhere, _)| elsewhere == key) {
            return Err(KafkaSetup(format!("settings.{key:?} is set by kafka.{place}")));
        }
    }
    Ok(())
}

/// A consumer that has joined its group, and what its context shares with whoever reads from it.
pub(super) struct Client {
    pub stream: StreamConsumer<Context>,
    pub progress: Arc<Mutex<Progress>>,
    pub last: Arc<Mutex<Instant>>,
    pub status: watch::Sender<Status>,
}

pub(super) fn consumer(
    config: &config::Kafka,
    group: &str,
    topics: &[String],
    signs: &Signs,
    clock: &Arc<Clock>,
) -> Result<Client, KafkaSetup> {
    let context = Context {
        group: group.into(),
        clock: clock.clone(),
        signs: signs.clone(),
        progress: Arc::default(),
        last: Arc::new(Mutex::new(clock.monotonic())),
        noise: Mutex::default(),
    };
    let (progress, last) = (context.progress.clone(), context.last.clone());
    let mut client = base(config);
    // The first start reads what is there already: an alarm may be older than the broker.
    set_unless(&mut client, config, "auto.offset.reset", "earliest");
    set_unless(&mut client, config, "auto.commit.interval.ms", "1000");
    // So long an urgent event waits for a node that fell.
    set_unless(&mut client, config, "session.timeout.ms", "10000");
    set_unless(&mut client, config, "queued.max.messages.kbytes", "16384");
    set_unless(&mut client, config, "queued.min.messages", "10000");
    client.set("group.id", group).set("statistics.interval.ms", "1000");
    for (key, value) in FIXED.iter().filter(|(key, _)| *key != "enable.idempotence") {
        client.set(*key, *value);
    }
    let stream: StreamConsumer<Context> =
        client.create_with_context(context).map_err(|error| KafkaSetup::of(&error))?;
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    stream.subscribe(&names).map_err(|error| KafkaSetup::of(&error))?;
    Ok(Client { stream, progress, last, status: signs.status.clone() })
}

pub(super) fn producer(config: &config::Kafka, clock: Arc<Clock>) -> Result<FutureProducer<Quiet>, KafkaSetup> {
    let mut client = base(config);
    // Then the record is tried again from here, where a stop can end it.
    set_unless(&mut client, config, "message.timeout.ms", "30000");
    client.set("enable.idempotence", "true");
    let context = Quiet { clock, noise: Mutex::default() };
    client.create_with_context(context).map_err(|error| KafkaSetup::of(&error))
}

/// Of what is offered to others. A record waits as long as it takes: one that was given up could be repeated only after those that
/// came later.
pub fn offering(config: &config::Kafka, clock: Arc<Clock>) -> Result<FutureProducer<Quiet>, KafkaSetup> {
    let mut client = base(config);
    client.set("message.timeout.ms", "0").set("enable.idempotence", "true").set("acks", "all");
    let context = Quiet { clock, noise: Mutex::default() };
    client.create_with_context(context).map_err(|error| KafkaSetup::of(&error))
}

fn base(config: &config::Kafka) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Warning);
    client.set("bootstrap.servers", &config.brokers);
    set_unless(&mut client, config, "client.id", "loudhailer");
    set_unless(&mut client, config, "reconnect.backoff.max.ms", "5000");
    // Where a network loses everything, a broker is away after so long.
    set_unless(&mut client, config, "socket.timeout.ms", "10000");
    // A topic that is made after the start is found within this time.
    set_unless(&mut client, config, "topic.metadata.refresh.interval.ms", "10000");
    set_unless(&mut client, config, "log.connection.close", "false");
    for (key, value) in &config.settings {
        client.set(key.as_str(), value.expose());
    }
    client
}

fn set_unless(client: &mut ClientConfig, config: &config::Kafka, key: &str, value: &str) {
    if !config.settings.contains_key(key) {
        client.set(key, value);
    }
}

/// The producer's context: log lines alone.
pub struct Quiet {
    clock: Arc<Clock>,
    noise: Mutex<Noise>,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(&self.noise, self.clock.monotonic(), level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        log(&self.noise, self.clock.monotonic(), RDKafkaLogLevel::Warning, &error.to_string(), reason);
    }
}

fn log(noise: &Mutex<Noise>, now: Instant, level: RDKafkaLogLevel, facility: &str, line: &str) {
    // Settings of the consumer are unknown to the producer and the other way round: no fault.
    if facility == "CONFWARN" || level as i32 >= RDKafkaLogLevel::Notice as i32 {
        tracing::debug!(facility, "librdkafka: {line}");
    } else if let Some(left_out) = lock(noise).allow(now) {
        tracing::warn!(facility, left_out, "librdkafka: {line}");
    }
}

/// The consumer's context: status, rebalances, log lines.
pub(super) struct Context {
    group: String,
    clock: Arc<Clock>,
    signs: Signs,
    progress: Arc<Mutex<Progress>>,
    /// When the last record came, by the monotonic clock.
    last: Arc<Mutex<Instant>>,
    noise: Mutex<Noise>,
}

/// Records wait and none comes for so long, with none in hand: something is wrong that nothing else reports.
const STALL: Duration = Duration::from_secs(30);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(&self.noise, self.clock.monotonic(), level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        let (connected, partitions, lag) = health::read(&statistics);
        let now = self.clock.monotonic();
        // They come to who polls, every second.
        self.signs.polls(now);
        let quiet = now.saturating_sub(*lock(&self.last));
        let stalled = connected && lag > 0 && lock(&self.progress).open() == 0 && quiet >= STALL;
        metrics::gauge!("loudhailer_kafka_lag", "group" => self.group.clone()).set(lag as f64);
        self.signs.status.send_if_modified(|status| {
            let before = status.clone();
            if stalled && !status.stalled {
                tracing::error!(lag, "records wait in Kafka but none has come for {} s", quiet.as_secs());
            }
            if connected && !status.connected {
                tracing::info!(partitions, "connected to Kafka");
                status.last_error = None;
            }
            (status.connected, status.partitions, status.lag, status.stalled) = (connected, partitions, lag, stalled);
            before != *status
        });
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let text = format!("{error}: {reason}");
        log(&self.noise, self.clock.monotonic(), RDKafkaLogLevel::Warning, "ERROR", &text);
        let away = error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::AllBrokersDown);
        self.signs.status.send_modify(|status| {
            status.connected &= !away;
            // It comes after the reason why, a refused password for instance, which says more.
            if !away || status.last_error.is_none() {
                status.last_error = Some(text);
            }
        });
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            // Of those that are others' by then a later resumption knows nothing, and one that came back would stay paused.
            if let Err(error) = consumer.resume(partitions) {
                tracing::debug!(%error, "partitions that go to another could not be resumed");
            }
            let revoked = metrics::counter!("loudhailer_kafka_revoked_total", "group" => self.group.clone());
            revoked.increment(partitions.count() as u64);
            let mut progress = lock(&self.progress);
            for partition in partitions.elements() {
                progress.forget(partition.topic(), partition.partition());
            }
        }
    }

    fn commit_callback(&self, result: rdkafka::error::KafkaResult<()>, _: &rdkafka::TopicPartitionList) {
        if let Err(error) = result {
            let line = format!("offsets were not committed, and will be with the next: {error}");
            log(&self.noise, self.clock.monotonic(), RDKafkaLogLevel::Warning, "COMMIT", &line);
        }
    }
}

/// A lock whose holder panicked still holds what was written whole before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn with(key: &str, value: &str) -> config::Kafka {
        config::Kafka {
            brokers: "127.0.0.1:9".into(),
            group: "g".into(),
            topics: vec!["t".into()],
            urgent_topics: vec![],
            dead_suffix: ".dead".into(),
            outcomes: String::new(),
            settings: [(key.to_string(), Secret::new(value))].into(),
        }
    }

    #[test]
    fn settings_that_would_lose_records_are_refused() {
        for (key, value, message) in [
            (
                "enable.auto.offset.store",
                "true",
                "kafka: settings.\"enable.auto.offset.store\" is always \"false\": no record would be safe otherwise",
            ),
            ("group.id", "x", "kafka: settings.\"group.id\" is set by kafka.group"),
        ] {
            assert_eq!(check(&with(key, value)).expect_err("refused").to_string(), message);
        }
        assert!(check(&with("sasl.password", "hunter2")).is_ok());
    }

    #[test]
    fn a_wrong_setting_is_named_and_no_value_of_a_secret_shown() {
        let clock = Arc::new(Clock::system());
        let error = |key, value| producer(&with(key, value), clock.clone()).err().expect("refused").to_string();
        let unknown = error("sasl.pasword", "hunter2");
        assert!(unknown.contains("sasl.pasword") && !unknown.contains("hunter2"), "{unknown}");
        assert!(error("acks", "1").contains("acks"), "{}", error("acks", "1"));
        assert!(producer(&with("session.timeout.ms", "6000"), clock.clone()).is_ok());
    }
}
