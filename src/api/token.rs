//! Who may do what. A bearer token is known by its SHA-256; what the store says of it is kept in memory and read again when a
//! token is not known or what is known has aged, so that a token withdrawn stops working within `FRESH`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::problem::Problem;
use crate::clock::{Clock, Instant};
use crate::incident::words;
use crate::ingest::event::Principal;
use crate::store::{Store, TokenRow};

words!(Scope { Ingest = "ingest", Read = "read", Broadcast = "broadcast", Admin = "admin" });

/// How long a token's rights are believed without asking the store.
const FRESH: Duration = Duration::from_secs(2);

/// Whoever sent the request. An open server (loopback, no tokens) allows everything to `local`, a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: String,
    pub person: bool,
    scopes: Option<Vec<String>>,
}

impl Caller {
    pub fn local() -> Caller {
        Caller { name: "local".into(), person: false, scopes: None }
    }

    /// Nobody in particular, at an open server.
    pub fn is_local(&self) -> bool {
        self.scopes.is_none()
    }

    pub fn may(&self, scope: Scope) -> bool {
        let Some(scopes) = &self.scopes else { return true };
        scopes.iter().any(|held| held == scope.word() || held == Scope::Admin.word())
    }

    pub fn needs(&self, scope: Scope) -> Result<(), Problem> {
        match self.may(scope) {
            true => Ok(()),
            false => Err(Problem::forbidden(format!("token {:?} has no scope {scope}", self.name))),
        }
    }

    pub fn principal(&self) -> Principal {
        match self.person {
            true => Principal::Person(self.name.clone()),
            false => Principal::Machine(self.name.clone()),
        }
    }
}

#[derive(Default)]
struct Known {
    tokens: Arc<HashMap<[u8; 32], TokenRow>>,
    read: Option<Instant>,
}

pub struct Tokens {
    store: Arc<dyn Store>,
    clock: Arc<Clock>,
    known: ArcSwap<Known>,
    /// Held while the store is asked: many requests at once ask once.
    asking: Mutex<()>,
}

impl Tokens {
    pub fn new(store: Arc<dyn Store>, clock: Arc<Clock>) -> Tokens {
        Tokens { store, clock, known: ArcSwap::default(), asking: Mutex::default() }
    }

    /// Whether a token was known when the store was last asked.
    pub fn has(&self, hash: &[u8; 32]) -> bool {
        self.known.load().tokens.contains_key(hash)
    }

    /// The tokens there are, as of `FRESH` ago at most; of now, where `hash` is given and not among them.
    pub async fn all(&self, hash: Option<&[u8; 32]>) -> Result<Arc<HashMap<[u8; 32], TokenRow>>, Problem> {
        if let Some(tokens) = self.fresh(hash) {
            return Ok(tokens);
        }
        let _asking = self.asking.lock().await;
        if let Some(tokens) = self.fresh(hash) {
            return Ok(tokens);
        }
        let read = self.clock.monotonic();
        let tokens: Arc<HashMap<_, _>> = Arc::new(self.store.access().tokens().await?.into_iter().collect());
        self.known.store(Arc::new(Known { tokens: tokens.clone(), read: Some(read) }));
        Ok(tokens)
    }

    fn fresh(&self, hash: Option<&[u8; 32]>) -> Option<Arc<HashMap<[u8; 32], TokenRow>>> {
        let known = self.known.load();
        let aged = known.read.is_none_or(|read| self.clock.monotonic().saturating_sub(read) >= FRESH);
        let asked_for = hash.is_none_or(|hash| known.tokens.contains_key(hash)) && !known.tokens.is_empty();
        (!aged && asked_for).then(|| known.tokens.clone())
    }
}

pub fn hash(token: &str) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or([0; 32])
}

pub fn caller(row: &TokenRow) -> Caller {
    Caller { name: row.name.clone(), person: row.person, scopes: Some(row.scopes.clone()) }
}

/// What a request needs, by its method and path; `None`: no token at all. What is not listed needs `admin`.
pub fn needed(method: &str, path: &str) -> Option<Scope> {
    let Some(rest) = path.strip_prefix("/v1/") else {
        let console = (path == "/console" || path.starts_with("/console/")) && !path.starts_with("/console/sign-");
        return (path == "/metrics" || console).then_some(Scope::Read);
    };
    let noun = rest.split(['/', ':', '?']).next().unwrap_or_default();
    match (method, noun) {
        (_, "receipts") => None, // a platform proves itself by its signature
        ("POST", "events") => Some(Scope::Ingest),
        // A vendor proves itself by its signature, or sends a token as it can: the place itself asks.
        ("POST", "sources") if !rest.contains(':') => None,
        (_, "subscribers") => Some(Scope::Admin), // people's addresses
        // Everyone may report a problem, if the operator lets them; a token makes it somebody's: the place itself asks.
        ("POST", "reports") => None,
        ("GET" | "HEAD", _) => Some(Scope::Read),
        ("POST", "broadcasts" | "channels" | "deliveries" | "incidents" | "preview" | "send" | "sources") => {
            Some(Scope::Broadcast)
        }
        _ => Some(Scope::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_needs_its_scope() {
        for (method, path, expected) in [
            ("POST", "/v1/events", Some(Scope::Ingest)),
            ("GET", "/v1/incidents", Some(Scope::Read)),
            ("GET", "/v1/stream", Some(Scope::Read)),
            ("GET", "/metrics", Some(Scope::Read)),
            ("POST", "/v1/broadcasts/brd_1:stop", Some(Scope::Broadcast)),
            ("POST", "/v1/broadcasts:stop", Some(Scope::Broadcast)),
            ("POST", "/v1/channels/x:pause", Some(Scope::Broadcast)),
            ("POST", "/v1/send", Some(Scope::Broadcast)),
            ("POST", "/v1/preview", Some(Scope::Broadcast)),
            ("GET", "/v1/subscribers", Some(Scope::Admin)),
            ("POST", "/v1/subscribers:import", Some(Scope::Admin)),
            ("DELETE", "/v1/anything", Some(Scope::Admin)),
            ("POST", "/v1/receipts/sms", None),
            ("POST", "/v1/sources/prometheus", None),
            ("POST", "/v1/sources/prometheus:mute", Some(Scope::Broadcast)),
            ("GET", "/v1/sources", Some(Scope::Read)),
            ("POST", "/v1/reports", None),
            ("GET", "/v1/signals", Some(Scope::Read)),
            ("GET", "/v1/watchers", Some(Scope::Read)),
            ("POST", "/v1/incidents/inc_1:confirm", Some(Scope::Broadcast)),
            ("GET", "/report", None),
            ("POST", "/report", None),
            ("GET", "/healthz", None),
            ("POST", "/unsubscribe/uns_1", None),
            ("GET", "/", None),
            ("GET", "/console", Some(Scope::Read)),
            ("GET", "/console/incidents/inc_1", Some(Scope::Read)),
            ("POST", "/console/sign-in", None),
            ("GET", "/assets/console.css", None),
        ] {
            assert_eq!(needed(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn admin_may_all_and_every_other_scope_only_its_own() {
        let with = |scopes: &[&str]| Caller {
            name: "t".into(),
            person: false,
            scopes: Some(scopes.iter().map(|scope| scope.to_string()).collect()),
        };
        for scope in Scope::ALL {
            assert!(with(&["admin"]).may(*scope));
            assert!(Caller::local().may(*scope));
            for held in ["ingest", "read", "broadcast"] {
                assert_eq!(with(&[held]).may(*scope), held == scope.word());
            }
            assert!(!with(&[]).may(*scope));
        }
    }
}
