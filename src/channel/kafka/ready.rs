//! Whether the cluster answers. The producer is made when the first record comes, and anew after an error that it can't outlive; before
//! the first record, and after each that failed, the cluster is asked for its metadata, once for all who wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, Producer};
use tokio::sync::{Mutex as Turn, watch};
use tokio::time::Instant;

use crate::channel::{Fault, Holds, Outcome};

/// At most; less where the operator has less patience.
const ANSWER: Duration = Duration::from_secs(10);

/// So long at one time.
const SLICE: Duration = Duration::from_secs(1);

pub(super) type Client = FutureProducer<Context>;

pub(super) struct Ready {
    config: ClientConfig,
    patience: Duration,
    /// The producer, while the cluster is taken to answer.
    known: Mutex<Option<Arc<Made>>>,
    /// Whoever asks; and what came of it the last time, where that was a failure.
    asking: Turn<Asked>,
}

#[derive(Default)]
struct Asked {
    made: Option<Arc<Made>>,
    failed: Option<(Instant, Outcome)>,
}

struct Made {
    client: Client,
    refusal: watch::Receiver<Option<Code>>,
}

impl Made {
    /// Blocks. librdkafka would go on asking to the end, whatever it is told; so it is asked for a second at a time.
    fn answers(&self, topic: &str, patience: Duration) -> Result<(), Outcome> {
        let until = Instant::now() + patience;
        loop {
            let next = (Instant::now() + SLICE).min(until);
            let left = next.saturating_duration_since(Instant::now());
            let Err(error) = self.client.client().fetch_metadata(Some(topic), left) else { return Ok(()) };
            if let Some(code) = *self.refusal.borrow() {
                return Err(refused(code));
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            if next >= until {
                return Err(silent(&error));
            }
        }
    }
}

impl Ready {
    pub fn new(config: ClientConfig, patience: Duration) -> Ready {
        Ready { config, patience: patience.min(ANSWER), known: Mutex::default(), asking: Turn::default() }
    }

    /// A producer of a cluster that answers.
    pub async fn producer(&self, topic: &str) -> Result<Client, Outcome> {
        let came = Instant::now();
        if let Some(made) = self.known().as_ref() {
            return Ok(made.client.clone());
        }
        let mut asked = self.asking.lock().await;
        if let Some(made) = self.known().as_ref() {
            return Ok(made.client.clone());
        }
        // Asked while this one waited: it would hear the same.
        if let Some((at, outcome)) = &asked.failed
            && *at >= came
        {
            return Err(outcome.clone());
        }
        match self.ask(&mut asked, topic).await {
            Ok(made) => {
                *self.known() = Some(made.clone());
                Ok(made.client.clone())
            }
            Err(outcome) => {
                asked.failed = Some((Instant::now(), outcome.clone()));
                Err(outcome)
            }
        }
    }

    /// A record of this producer has failed: the next one asks first.
    pub fn doubt(&self, client: &Client) {
        let mut known = self.known();
        // Compared by the client underneath, since another may have been made since.
        if known.as_ref().is_some_and(|made| std::ptr::eq(made.client.client(), client.client())) {
            *known = None;
        }
    }

    async fn ask(&self, asked: &mut Asked, topic: &str) -> Result<Arc<Made>, Outcome> {
        // After a fatal error a producer takes no record any more.
        let made = match asked.made.take().filter(|made| made.client.client().fatal_error().is_none()) {
            Some(made) => made,
            None => Arc::new(self.make()?),
        };
        asked.made = Some(made.clone());
        let (asking, topic, patience) = (made.clone(), topic.to_string(), self.patience);
        let answer = tokio::task::spawn_blocking(move || asking.answers(&topic, patience)).await;
        let outcome = match answer {
            Ok(Ok(())) => return Ok(made),
            Ok(Err(outcome)) => outcome,
            Err(_) => silent(&KafkaError::Canceled),
        };
        // A wrong password stays wrong for this producer.
        if matches!(outcome, Outcome::Rejected { .. }) {
            asked.made = None;
        }
        Err(outcome)
    }

    fn make(&self) -> Result<Made, Outcome> {
        let (refusal, seen) = watch::channel(None);
        let client: Client = self.config.create_with_context(Context { refusal }).map_err(|error| {
            // It names the setting; its text may show a value.
            let name = match &error {
                KafkaError::ClientConfig(_, _, key, _) => key.as_str(),
                _ => "client",
            };
            Outcome::Rejected {
                fault: Fault::Channel,
                detail: format!("librdkafka does not take its settings: {name}"),
            }
        })?;
        Ok(Made { client, refusal: seen })
    }

    fn known(&self) -> MutexGuard<'_, Option<Arc<Made>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silent(error: &KafkaError) -> Outcome {
    let why = error.rdkafka_error_code().map_or("no answer".to_string(), |code| code.to_string());
    let detail = format!("the cluster does not answer: {why}");
    Outcome::Deferred { after: None, holds: Holds::Channel, throttled: false, detail }
}

fn refused(code: Code) -> Outcome {
    let detail = match code {
        Code::SSL => "TLS: the certificate is not trusted; see ca_file",
        _ => "the login was refused; see user, password and mechanism",
    };
    Outcome::Rejected { fault: Fault::Channel, detail: detail.into() }
}

/// Notes what somebody has to mend. What librdkafka says in its own words may name topics, which are addresses, and is not kept.
pub(super) struct Context {
    refusal: watch::Sender<Option<Code>>,
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(code = ?error.rdkafka_error_code(), "librdkafka has trouble");
        match error.rdkafka_error_code() {
            // Other failures of a handshake may pass.
            Some(Code::SSL) if !reason.contains("certificate") => {}
            Some(code @ (Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL)) => {
                self.refusal.send_replace(Some(code));
            }
            _ => {}
        }
    }
}
