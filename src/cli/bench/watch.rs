//! The sinks of a run, on a thread of their own so that their processor time is not the broker's; and what is known of what came:
//! how many, when, and how long each urgent one took.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::sink::{Came, Receiver, hooks, mails};
use crate::channel::webhook::{SigningKey, new_secret};

/// Webhook receivers, each a host to the broker: a host gets only so many requests at one time.
pub const HOSTS: usize = 8;
/// How finely the rate is kept.
pub const SLICE: Duration = Duration::from_millis(100);
/// The name of the sinks' thread.
pub const THREAD: &str = "bench-sinks";
/// Part of every address of the ten that are told what is urgent.
pub const URGENT: &str = "urgent";

struct Inner {
    began: Instant,
    hasher: RandomState,
    /// Digests of the ids, so that what comes twice is seen.
    ids: HashSet<u64>,
    seen: u64,
    forged: u64,
    /// Messages in each slice since the leg began.
    slices: Vec<u64>,
    /// When the last of the many came.
    last: Option<Instant>,
    /// The id of each urgent one, and when it came.
    urgent: Vec<(String, Instant)>,
}

impl Inner {
    fn new() -> Inner {
        Inner {
            began: Instant::now(),
            hasher: RandomState::new(),
            ids: HashSet::new(),
            seen: 0,
            forged: 0,
            slices: Vec::new(),
            last: None,
            urgent: Vec::new(),
        }
    }
}

/// What came.
#[derive(Clone)]
pub struct Watch(Arc<Mutex<Inner>>);

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new leg begins: all is forgotten.
    pub fn begin(&self) {
        *self.lock() = Inner::new();
    }

    fn take(&self, came: &Came<'_>) {
        let mut inner = self.lock();
        let now = Instant::now();
        let digest = inner.hasher.hash_one(came.id);
        inner.ids.insert(digest);
        inner.seen += came.recipients as u64;
        inner.forged += u64::from(!came.genuine);
        if came.to.contains(URGENT) {
            inner.urgent.push((came.id.to_string(), now));
            return;
        }
        inner.last = Some(now);
        let slice = (now.duration_since(inner.began).as_millis() / SLICE.as_millis()) as usize;
        if inner.slices.len() <= slice {
            inner.slices.resize(slice + 1, 0);
        }
        inner.slices[slice] += came.recipients as u64;
    }

    /// Messages to the many, and to the few.
    pub fn came(&self) -> (u64, u64) {
        let inner = self.lock();
        let urgent = inner.urgent.len() as u64;
        (inner.seen.saturating_sub(urgent), urgent)
    }

    pub fn seen_distinct_forged(&self) -> (u64, u64, u64) {
        let inner = self.lock();
        (inner.seen, inner.ids.len() as u64, inner.forged)
    }

    /// Seconds from the leg's begin to the last of the many.
    pub fn seconds(&self) -> f64 {
        let inner = self.lock();
        inner.last.map_or(0.0, |last| last.duration_since(inner.began).as_secs_f64())
    }

    pub fn slices(&self) -> Vec<u64> {
        self.lock().slices.clone()
    }

    pub fn urgent(&self) -> Vec<(String, Instant)> {
        self.lock().urgent.clone()
    }
}

pub struct Sinks {
    pub watch: Watch,
    pub hooks: Vec<SocketAddr>,
    pub mail: SocketAddr,
    /// What webhooks are signed with.
    pub secret: String,
}

impl Sinks {
    pub fn start() -> anyhow::Result<Sinks> {
        let secret = new_secret().map_err(|_| anyhow::anyhow!("no randomness"))?;
        let key = Arc::new(SigningKey::parse(&secret).map_err(anyhow::Error::msg)?);
        let watch = Watch(Arc::new(Mutex::new(Inner::new())));
        let many = (0..HOSTS).map(|_| listen()).collect::<anyhow::Result<Vec<_>>>()?;
        let mail = listen()?;
        let at = |listener: &TcpListener| listener.local_addr().context("a sink's address");
        let sinks = Sinks {
            watch: watch.clone(),
            hooks: many.iter().map(at).collect::<anyhow::Result<_>>()?,
            mail: at(&mail)?,
            secret,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            for listener in many {
                let (listener, watch, key) = (tokio::net::TcpListener::from_std(listener)?, watch.clone(), key.clone());
                let take = move |came: Came<'_>| watch.take(&came);
                tokio::spawn(hooks(listener, Receiver { key, wait: Arc::default(), take }));
            }
            let take = move |came: Came<'_>| watch.take(&came);
            mails(tokio::net::TcpListener::from_std(mail)?, take).await;
            anyhow::Ok(())
        };
        // It ends with the process: the broker may have mail to send until then.
        std::thread::Builder::new().name(THREAD.into()).spawn(move || runtime.block_on(serve))?;
        Ok(sinks)
    }
}

fn listen() -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port of 127.0.0.1 can be listened on")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_many_are_counted_by_slices_and_the_urgent_are_kept() {
        let watch = Watch(Arc::new(Mutex::new(Inner::new())));
        let came = |id, to| Came { id, to, genuine: true, content: "", recipients: 1 };
        watch.take(&came("a", "/b1"));
        watch.take(&came("b", "b2@bench.invalid"));
        watch.take(&came("c", "/urgent3"));
        watch.take(&Came { genuine: false, ..came("c", "urgent3@bench.invalid") });
        assert_eq!(watch.came(), (2, 2));
        assert_eq!(watch.seen_distinct_forged(), (4, 3, 1));
        assert_eq!(watch.slices().iter().sum::<u64>(), 2);
        let urgent: Vec<String> = watch.urgent().into_iter().map(|(id, _)| id).collect();
        assert_eq!(urgent, ["c", "c"]);
        watch.begin();
        assert_eq!(watch.came(), (0, 0));
    }
}
