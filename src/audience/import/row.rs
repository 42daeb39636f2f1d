//! A Row: a subscriber as the file has them, checked in every value, and what the file says nothing of.

use super::column::{Column, Given};
use crate::audience::Subscriber;

/// A subscriber to be written, and what the file says nothing of.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub subscriber: Subscriber,
    pub(super) given: Given,
}

impl Row {
    /// Fills in what the file says nothing of from the subscriber who is there. Nobody who withdrew comes back by a file.
    pub fn over(&mut self, known: &Subscriber) {
        let Row { subscriber, given } = self;
        macro_rules! keep {
            ($($column:ident $field:ident),+) => {
                $(if !given.has(&Column::$column) { subscriber.$field = known.$field.clone(); })+
            };
        }
        keep!(Name name, Locale locale, Zone zone, Quiet quiet, Severity severity, Exercises exercises,
            Audiences audiences, Components components, Regions regions);
        subscriber.withdrawn = known.withdrawn;
        let mut ours = std::mem::take(&mut subscriber.addresses);
        for old in &known.addresses {
            match ours.iter().position(|new| new.kind == old.kind && new.value == old.value) {
                Some(at) => subscriber.addresses.push(ours.remove(at)),
                None if given.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&old.kind)) => {
                    subscriber.addresses.push(old.clone());
                }
                None => {}
            }
        }
        subscriber.addresses.append(&mut ours);
    }
}
