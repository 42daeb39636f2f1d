//! Whether events can be taken and sent: what `/readyz` answers, and the first that a heartbeat asks.

use std::sync::Arc;

use super::App;

pub struct Readiness {
    /// It takes writes.
    pub store: bool,
    /// `None`: it is not configured. Else its consumers are connected, poll, and are given what waits for them.
    pub kafka: Option<bool>,
    pub stopping: bool,
    /// A part of the engine has panicked.
    pub broken: bool,
}

impl App {
    pub async fn readiness(self: &Arc<App>) -> Readiness {
        Readiness {
            store: self.store.ready().await.is_ok(),
            kafka: self.kafka.as_ref().map(|kafka| kafka.ready()),
            stopping: self.stop.is_cancelled(),
            broken: self.engine.broken.is_cancelled(),
        }
    }
}

impl Readiness {
    pub fn ready(&self) -> bool {
        self.missing().is_none()
    }

    /// What is in the way first.
    pub fn missing(&self) -> Option<&'static str> {
        match self {
            Readiness { broken: true, .. } => Some("a part of the engine has panicked"),
            Readiness { stopping: true, .. } => Some("the server is stopping"),
            Readiness { store: false, .. } => Some("the store takes no writes"),
            Readiness { kafka: Some(false), .. } => Some("Kafka is away, or is not read"),
            _ => None,
        }
    }
}
