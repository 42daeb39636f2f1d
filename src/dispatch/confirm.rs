//! Plans that ask for a confirmation: a delivery that was accepted waits for its receipt, on disk, and where none comes in time
//! its recipient is told by the next route, too.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lane::Lane;
use super::{Engine, lock, recorder};
use crate::clock::Time;
use crate::id::SubscriberId;
use crate::plan::{Priority, Route, Step};
use crate::store::{CONFIRMS, Result, UNDECIDED};

/// Confirmations that are given up in one commit.
const ROWS: usize = 512;

/// Who has confirmed after they were given up: what is in memory for want of it is decided afresh before it is sent.
#[derive(Default)]
pub(crate) struct Confirmed {
    late: BTreeMap<SubscriberId, u64>,
    count: u64,
}

impl Confirmed {
    pub fn note(&mut self, id: SubscriberId) {
        self.count += 1;
        self.late.insert(id, self.count);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn since(&self, id: SubscriberId, count: u64) -> bool {
        self.late.get(&id).is_some_and(|confirmed| *confirmed > count)
    }
}

/// When the confirmation of what a channel has accepted now is given up; `None` if none is waited for: the plan asks for none, the
/// channel reports nothing, or there is no further route.
pub(super) fn due(step: &Step, lane: &Lane, now: Time) -> Option<Time> {
    let span = step.confirm_within?;
    let next = route_of(&step.routes, &lane.settings.name, &lane.settings.kind)? + 1;
    (lane.settings.confirms && next < step.routes.len()).then(|| now.plus(span.0))
}

fn route_of(routes: &[Route], name: &str, kind: &str) -> Option<usize> {
    routes.iter().position(|route| route.0.iter().any(|member| member == name || member == kind))
}

/// The routes that are left where no confirmation came by some channels (name and kind): those behind them, taken for want of it.
/// A row that is tried by another member of such a route goes on by that route.
#[derive(Debug, PartialEq)]
pub(super) struct Left<'a> {
    pub routes: &'a [Route],
    pub for_want: bool,
}

pub(super) fn left<'a>(routes: &'a [Route], lapsed: &[(&str, &str)], own: Option<(&str, &str)>) -> Left<'a> {
    let of = |(name, kind): &(&str, &str)| route_of(routes, name, kind);
    let Some(last) = lapsed.iter().filter_map(of).max() else { return Left { routes, for_want: false } };
    match own.filter(|own| !lapsed.contains(own)).as_ref().and_then(of) {
        Some(at) if at <= last => Left { routes: &routes[at..=at], for_want: false },
        _ => Left { routes: &routes[last + 1..], for_want: true },
    }
}

/// Gives up the confirmations that are due. False where there was none.
pub(super) async fn lapse(engine: &Arc<Engine>, priority: Priority, now: Time) -> Result<bool> {
    // Taken before the store is asked: what is hinted meanwhile stays.
    lock(&engine.hints).remove(&(priority, CONFIRMS));
    let again = |_: &_| engine.hint(priority, CONFIRMS, now);
    match engine.store.next_lapse(priority).await.inspect_err(again)? {
        Some(due) if due <= now => {}
        next => {
            next.into_iter().for_each(|next| engine.hint(priority, CONFIRMS, next));
            return Ok(false);
        }
    }
    let counted = engine.in_step.read().await;
    let ended = engine.store.lapse(priority, now, ROWS).await.inspect_err(again)?;
    for (id, recipients) in &ended {
        if let Some(live) = engine.live(*id) {
            live.ended(*recipients);
        }
    }
    drop(counted);
    engine.hint(priority, CONFIRMS, now);
    engine.hint(priority, UNDECIDED, now);
    for id in ended.keys() {
        if let Some(live) = engine.live(*id) {
            recorder::finish(engine, &live).await;
        }
    }
    engine.happened();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_route_is_the_one_behind_the_last_that_was_not_confirmed() {
        let routes: Vec<Route> =
            ["chat+push", "sms", "voice"].map(|t| Route::try_from(t.to_string()).expect("route")).into();
        let left = |lapsed: &[(&str, &str)], own| {
            let left = left(&routes, lapsed, own);
            left.routes.iter().map(|route| String::from(route.clone())).collect::<Vec<_>>()
        };
        let (chat, push, sms) = (("wa", "chat"), ("ntfy", "push"), ("sms-a", "sms"));
        assert_eq!(left(&[], None), ["chat+push", "sms", "voice"]);
        assert_eq!(left(&[chat], None), ["sms", "voice"]);
        assert_eq!(left(&[chat, sms], None), ["voice"]);
        assert_eq!(left(&[chat], Some(push)), ["chat+push"], "the other member of the route is still tried");
        assert_eq!(left(&[chat], Some(sms)), ["sms", "voice"]);
        assert_eq!(left(&[chat, push], Some(push)), ["sms", "voice"]);
        assert!(left(&[("call", "voice")], None).is_empty());
    }
}
