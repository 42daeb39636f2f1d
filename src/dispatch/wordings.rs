//! The words for the recipients of one page, or of rows decided again: each wording looked up or rendered once, and written
//! before anything goes out in it.

use std::cmp::Ordering;
use std::sync::Arc;

use super::lane::Lane;
use super::live::Live;
use super::{Engine, lock};
use crate::audience::Subscriber;
use crate::audience::route::{Blocked, Candidate, ChannelId, Way};
use crate::render::message::Message;
use crate::store::{Wording, WordingKey};

pub fn wording_key(subscriber: &Subscriber, lane: &Lane) -> WordingKey {
    WordingKey {
        locale: subscriber.locale.clone(),
        zone: subscriber.zone.clone(),
        format: lane.settings.format,
        markup: lane.settings.markup,
    }
}

#[derive(Default)]
pub(super) struct Wordings {
    /// Sorted by key. Without a message: it does not render.
    known: Vec<(WordingKey, Option<Arc<Message>>)>,
    /// Rendered just now, and not yet on disk.
    unwritten: Vec<Wording>,
}

impl Wordings {
    /// The message in this recipient's language and format.
    pub async fn of(
        &mut self,
        engine: &Engine,
        live: &Live,
        subscriber: &Subscriber,
        lane: &Lane,
    ) -> Option<Arc<Message>> {
        match self.known.binary_search_by(|(key, _)| compare(key, subscriber, lane)) {
            Ok(at) => self.known[at].1.clone(),
            Err(at) => {
                let key = wording_key(subscriber, lane);
                let message = match stored(engine, live, &key).await {
                    Some(message) => Some(message),
                    None => self.render(engine, live, &key).await,
                };
                self.known.insert(at, (key, message.clone()));
                message
            }
        }
    }

    /// Of these ways one in whose format the message does not render.
    pub async fn missing(
        &mut self,
        engine: &Engine,
        live: &Live,
        subscriber: &Subscriber,
        ways: &[Way],
    ) -> Option<ChannelId> {
        for way in ways {
            let Some(lane) = engine.lanes.get(&way.channel) else { continue };
            if self.of(engine, live, subscriber, lane).await.is_none() {
                return Some(way.channel);
            }
        }
        None
    }

    async fn render(&mut self, engine: &Engine, live: &Live, key: &WordingKey) -> Option<Arc<Message>> {
        match engine.words.message(&live.broadcast, key).await {
            Ok(message) => {
                let bytes = message.to_bytes();
                let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
                let digest = digest.as_ref().try_into().unwrap_or([0; 32]);
                self.unwritten.push(Wording { broadcast: live.broadcast.id, key: key.clone(), digest, bytes });
                Some(Arc::new(message))
            }
            Err(error) => {
                tracing::error!(broadcast = %live.broadcast.id, locale = key.locale, format = %key.format, error, "a message does not render");
                None
            }
        }
    }

    /// What is to be on disk before anything goes out.
    pub fn unwritten(&mut self) -> Vec<Wording> {
        std::mem::take(&mut self.unwritten)
    }

    /// It is on disk: from now on it is read from memory.
    pub fn written(self, live: &Live) {
        let mut words = lock(&live.words);
        for (key, message) in self.known {
            if let Some(message) = message {
                words.entry(key).or_insert(message);
            }
        }
    }
}

/// For somebody to whom this channel has nothing to say: the next way is theirs.
pub(super) fn without(candidates: &mut [Candidate], channel: ChannelId) {
    let of = candidates.iter_mut().filter(|candidate| candidate.id == channel);
    of.for_each(|candidate| candidate.blocked = Some(Blocked::NoWords));
}

fn compare(key: &WordingKey, subscriber: &Subscriber, lane: &Lane) -> Ordering {
    let known = (&*key.locale, &*key.zone, key.format, key.markup);
    known.cmp(&(&*subscriber.locale, &*subscriber.zone, lane.settings.format, lane.settings.markup))
}

/// A message that is on disk, from memory if it was read before.
pub(super) async fn stored(engine: &Engine, live: &Live, key: &WordingKey) -> Option<Arc<Message>> {
    if let Some(message) = lock(&live.words).get(key) {
        return Some(message.clone());
    }
    let bytes = engine.store.wording(live.broadcast.id, key).await.ok().flatten()?;
    let message = Arc::new(Message::from_bytes(&bytes).ok()?);
    lock(&live.words).insert(key.clone(), message.clone());
    Some(message)
}
