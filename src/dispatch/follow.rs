//! Which earlier message a delivery follows: a correction stands in the place of the words that were wrong, and where the plan says
//! so, an update under the first message of its incident or in its place. That is found in what earlier broadcasts of the thread left
//! in the store, and a page waits until their last attempts are there: so it is the same at every try, whatever happens between.

use super::Engine;
use super::live::Delivery;
use crate::audience::route::ChannelId;
use crate::channel::{Following, Follows};
use crate::id::BroadcastId;
use crate::plan::{Follow, Purpose};
use crate::store::{Broadcast, DeliveryRow, Earlier, Result};

/// What a broadcast wishes to follow.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    id: BroadcastId,
    follow: Option<Follow>,
    /// Broadcasts whose words this one corrects.
    wrong: &'a [i64],
}

impl<'a> Wish<'a> {
    pub fn of(broadcast: &'a Broadcast) -> Wish<'a> {
        let corrects = matches!(broadcast.purpose, Purpose::Correction | Purpose::Retraction);
        let wrong = if corrects { &broadcast.selection.told_by[..] } else { &[] };
        Wish { id: broadcast.id, follow: broadcast.step.follow, wrong }
    }

    /// Whether it may come true by a channel that can do so much.
    pub fn may(&self, can: Following) -> bool {
        let plan = match self.follow {
            Some(Follow::Thread) => can.reply,
            Some(Follow::Edit) => can.edit,
            None => false,
        };
        plan || !self.wrong.is_empty() && can.edit
    }

    /// `earlier`: what the address got by this channel in the thread, oldest first, this broadcast the last.
    pub fn follows(&self, can: Following, earlier: &[Earlier]) -> Option<Follows> {
        let (own, earlier): (Vec<&Earlier>, Vec<&Earlier>) = earlier.iter().partition(|one| one.broadcast == self.id);
        if own.iter().any(|own| own.gone) {
            return None;
        }
        let wrong = |one: &&&Earlier| self.wrong.contains(&one.broadcast.0);
        let wrong = || earlier.iter().rev().filter(wrong).find_map(|one| one.reference.clone());
        if can.edit
            && let Some(reference) = wrong()
        {
            return Some(Follows::Edit(reference));
        }
        // Where what was to be followed had gone, the message in its stead is the first.
        let since = earlier.iter().rposition(|one| one.gone).unwrap_or(0);
        let first = || earlier[since..].iter().find_map(|one| one.reference.clone());
        match self.follow? {
            Follow::Thread if can.reply => first().map(Follows::Reply),
            Follow::Edit if can.edit => first().map(Follows::Edit),
            Follow::Thread | Follow::Edit => None,
        }
    }
}

/// What deliveries of one broadcast by one channel follow. Nothing is read where none of them may.
pub(super) async fn look_up(
    engine: &Engine,
    broadcast: &Broadcast,
    channel: ChannelId,
    deliveries: &mut [Delivery],
) -> Result<()> {
    let Some(lane) = engine.lanes.get(&channel) else { return Ok(()) };
    let (wish, can) = (Wish::of(broadcast), lane.settings.driver.follows());
    if deliveries.is_empty() || !wish.may(can) {
        return Ok(());
    }
    let who = deliveries.iter().map(|delivery| (delivery.subscriber, delivery.place)).collect();
    let earlier = engine.store.earlier(broadcast, channel, who).await?;
    for (delivery, earlier) in deliveries.iter_mut().zip(earlier) {
        delivery.follows = wish.follows(can, &earlier).map(Box::new);
    }
    Ok(())
}

/// What a delivery follows, or followed, as it stands.
pub async fn of(engine: &Engine, row: &DeliveryRow) -> Result<Option<Follows>> {
    let Some(lane) = engine.lanes.get(&row.channel) else { return Ok(None) };
    let can = lane.settings.driver.follows();
    let Some(broadcast) = engine.store.broadcast(row.id.broadcast).await? else { return Ok(None) };
    let wish = Wish::of(&broadcast);
    if !wish.may(can) {
        return Ok(None);
    }
    let who = vec![(row.id.subscriber, row.id.place)];
    let earlier = engine.store.earlier(&broadcast, row.channel, who).await?;
    let follows = earlier.first().and_then(|earlier| wish.follows(can, earlier));
    // What changed a message is known by its name: one of its own was sent before its platform could do so.
    let own = |follows: &Follows| match (follows, &row.reference) {
        (Follows::Edit(of), Some(reference)) => of == reference,
        _ => true,
    };
    Ok(follows.filter(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Following = Following { reply: true, edit: true };

    /// The fifth broadcast's.
    fn wish(follow: Option<Follow>, wrong: &[i64]) -> Wish<'_> {
        Wish { id: BroadcastId(5), follow, wrong }
    }

    fn got(id: i64, reference: &str) -> Earlier {
        let reference = Some(reference.to_string()).filter(|reference| !reference.is_empty());
        Earlier { broadcast: BroadcastId(id), reference, gone: false }
    }

    fn gone(id: i64, reference: &str) -> Earlier {
        Earlier { gone: true, ..got(id, reference) }
    }

    fn reply(to: &str) -> Option<Follows> {
        Some(Follows::Reply(to.into()))
    }

    fn edit(of: &str) -> Option<Follows> {
        Some(Follows::Edit(of.into()))
    }

    #[test]
    fn an_update_follows_the_first_message_as_the_plan_says_and_the_platform_can() {
        let (thread, edits) = (Some(Follow::Thread), Some(Follow::Edit));
        let told = [got(1, ""), got(2, "a"), got(3, "b"), got(5, "")];
        assert_eq!(wish(thread, &[]).follows(BOTH, &told), reply("a"));
        assert_eq!(wish(edits, &[]).follows(BOTH, &told), edit("a"));
        assert_eq!(wish(None, &[]).follows(BOTH, &told), None);
        assert_eq!(wish(thread, &[]).follows(BOTH, &[got(1, ""), got(5, "own")]), None, "nobody knows an earlier one");
        let can = |reply, edit| Following { reply, edit };
        for (follow, can, may) in [
            (thread, can(true, false), true),
            (thread, can(false, true), false),
            (edits, can(true, false), false),
            (edits, can(false, true), true),
            (None, BOTH, false),
        ] {
            assert_eq!(wish(follow, &[]).may(can), may, "{follow:?} {can:?}");
            assert_eq!(wish(follow, &[]).follows(can, &told).is_some(), may, "{follow:?} {can:?}");
        }
    }

    #[test]
    fn a_correction_stands_in_the_place_of_what_was_wrong_whatever_the_plan_says() {
        let told = [got(1, "a"), got(2, "b"), got(3, "c")];
        for follow in [None, Some(Follow::Thread), Some(Follow::Edit)] {
            assert_eq!(wish(follow, &[2]).follows(BOTH, &told), edit("b"));
        }
        assert_eq!(wish(None, &[1, 2]).follows(BOTH, &told), edit("b"), "the last of what was said of it");
        assert_eq!(wish(None, &[4]).follows(BOTH, &told), None, "it was told by another channel");
        assert_eq!(wish(Some(Follow::Thread), &[4]).follows(BOTH, &told), reply("a"));
        let can = Following { reply: true, edit: false };
        assert!(!wish(None, &[2]).may(can) && wish(None, &[2]).may(BOTH));
        assert_eq!(wish(None, &[2]).follows(can, &told), None);
        assert_eq!(wish(Some(Follow::Thread), &[2]).follows(can, &told), reply("a"));
    }

    #[test]
    fn what_has_gone_is_not_followed_again_and_the_message_in_its_stead_is() {
        let told = [got(1, "a"), got(2, "a"), gone(3, "b"), got(4, "c")];
        assert_eq!(wish(Some(Follow::Thread), &[]).follows(BOTH, &told), reply("b"));
        let own = [got(1, "a"), gone(5, "")];
        for wish in [wish(Some(Follow::Edit), &[]), wish(Some(Follow::Thread), &[1]), wish(None, &[1])] {
            assert_eq!(wish.follows(BOTH, &own), None, "a message of its own is sent");
        }
    }
}
