//! A row while it is read: what the record has stated so far. It leaves as a Row, with what the options say where the record says
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::column::{Column, Given};
use super::reader::{Reader, Refused};
use super::{Options, Row};
use crate::audience::{Address, Subscriber};
use crate::id::SubscriberId;
use crate::incident::Severity;

pub(super) struct Draft {
    pub subscriber: Subscriber,
    pub addresses: Vec<Stated>,
    pub verified: BTreeMap<String, bool>,
    pub secret: Option<String>,
}

/// An address as a row states it.
pub(super) struct Stated {
    pub kind: String,
    pub value: String,
    pub verified: Option<bool>,
    pub secret: Option<String>,
}

/// The kind of address that has a secret.
const SIGNED: &str = "url";

impl Draft {
    pub(super) fn new(options: &Options) -> Draft {
        let subscriber = Subscriber {
            id: SubscriberId(0),
            version: 0,
            key: None,
            name: None,
            locale: options.locale.clone(),
            zone: options.zone.clone(),
            quiet: None,
            severity: Severity::Info,
            exercises: false,
            withdrawn: false,
            audiences: BTreeSet::new(),
            components: BTreeSet::new(),
            regions: BTreeSet::new(),
            addresses: Vec::new(),
        };
        Draft { subscriber, addresses: Vec::new(), verified: BTreeMap::new(), secret: None }
    }

    pub(super) fn list(&mut self, column: &Column) -> Option<&mut BTreeSet<String>> {
        match column {
            Column::Audiences => Some(&mut self.subscriber.audiences),
            Column::Components => Some(&mut self.subscriber.components),
            Column::Regions => Some(&mut self.subscriber.regions),
            _ => None,
        }
    }
}

impl Reader {
    pub(super) fn finish(&self, draft: Draft, given: Given) -> Result<Row, Refused> {
        let Draft { mut subscriber, addresses, verified, secret } = draft;
        if addresses.is_empty() && subscriber.key.is_none() {
            return Err("has neither a key nor an address".into());
        }
        if subscriber.audiences.is_empty() {
            match &self.options.audience {
                Some(audience) => drop(subscriber.audiences.insert(audience.clone())),
                None => return Err("audiences: names none, so nobody would ever tell them anything".into()),
            }
        }
        if let Some(unknown) = subscriber.audiences.iter().find(|name| !self.options.audiences.contains(*name)) {
            let known = self.options.audiences.iter();
            let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
            let nearest = nearest.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
            return Err(format!("audiences: {unknown:?} is not registered{nearest}"));
        }
        subscriber.addresses = addresses
            .into_iter()
            .map(|stated| Address {
                place: 0,
                verified: stated.verified.or(verified.get(&stated.kind).copied()).unwrap_or(self.options.verified),
                secrets: match stated.kind == SIGNED {
                    true => stated.secret.or(secret.clone()).into_iter().collect(),
                    false => Vec::new(),
                },
                kind: stated.kind,
                value: stated.value,
                suppressed: false,
            })
            .collect();
        let mut given = given;
        if self.options.audience.is_some() {
            given.note(&Column::Audiences);
        }
        Ok(Row { subscriber, given })
    }
}
