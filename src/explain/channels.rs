//! The channels as they are set up today, and the names of all that there ever were: what a decision is made again with.

use std::collections::BTreeMap;

use crate::audience::Address;
use crate::audience::route::{Candidate, ChannelId, Way};
use crate::channel::Repeat;
use crate::dispatch::lane::Settings;
use crate::store::{Recipient, Result, Store};

pub struct Channels {
    set_up: Vec<(Candidate, Repeat)>,
    names: BTreeMap<ChannelId, String>,
}

impl Channels {
    pub async fn new<'a>(store: &dyn Store, set_up: impl Iterator<Item = &'a Settings>) -> Result<Channels> {
        let set_up: Vec<_> = set_up.map(|settings| (settings.candidate(None), settings.repeat)).collect();
        let mut names: BTreeMap<ChannelId, String> =
            store.channels(Vec::new()).await?.into_iter().map(|(name, id, _)| (id, name)).collect();
        names.extend(set_up.iter().map(|(candidate, _)| (candidate.id, candidate.name.clone())));
        Ok(Channels { set_up, names })
    }

    pub fn name(&self, id: ChannelId) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| format!("channel {}", id.0))
    }

    /// As if all of them worked.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.set_up.iter().map(|(candidate, _)| candidate.clone()).collect()
    }

    /// `None`: it is not set up any more.
    pub fn repeat(&self, id: ChannelId) -> Option<Repeat> {
        self.set_up.iter().find(|(candidate, _)| candidate.id == id).map(|(_, repeat)| *repeat)
    }

    /// `hooks (url, place 1)`.
    pub fn way(&self, recipient: &Recipient, way: Way) -> String {
        let kind = address(recipient, way.place).map_or("an address that is gone", |address| address.kind.as_str());
        format!("{} ({kind}, place {})", self.name(way.channel), way.place)
    }
}

/// An address of the recipient, as it was decided for them, or as it is.
pub fn address(recipient: &Recipient, place: u16) -> Option<&Address> {
    let known = recipient.then.iter().chain(&recipient.today);
    known.flat_map(|subscriber| &subscriber.addresses).find(|address| address.place == place)
}
