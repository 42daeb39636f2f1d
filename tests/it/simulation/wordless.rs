//! A message that does not render in the format of one way: templates are checked so that this does not happen, and if it does, the
//! next way is taken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use loudhailer::app::App;
use loudhailer::audience::route::{Blocked, ChannelId, LeftOut, Way};
use loudhailer::channel::{Driver, Holds, Outcome, Parcel};
use loudhailer::clock::{Clock, Time};
use loudhailer::config::Config;
use loudhailer::dispatch::{Engine, Parts, Words};
use loudhailer::ingest::event::{Principal, parse_value};
use loudhailer::pipeline;
use loudhailer::render::message::{Format, Message};
use loudhailer::store::sqlite::Sqlite;
use loudhailer::store::{Broadcast, Decision, Store, SubscriberDraft, Upserted, WordingKey};
use serde_json::json;

use super::channels::lane_of;
use super::full::{reader, runtime};
use super::variety::Variety;
use super::words::{plans, templates};
use super::world::START;

const HOOK: ChannelId = ChannelId(1);
const MAIL: ChannelId = ChannelId(2);

/// Those of the application, but for webhooks.
struct WithoutWebhooks(Arc<dyn Words>);

#[async_trait]
impl Words for WithoutWebhooks {
    async fn message(&self, broadcast: &Broadcast, key: &WordingKey) -> Result<Message, String> {
        match key.format {
            Format::Webhook => Err("it does not render".into()),
            _ => self.0.message(broadcast, key).await,
        }
    }
}

/// Notes who is written to, and says the first time that it is to come again in three minutes.
#[derive(Default)]
struct Later {
    to: Mutex<Vec<String>>,
    tries: AtomicUsize,
}

#[async_trait]
impl Driver for Later {
    async fn send(&self, parcel: Parcel) -> Outcome {
        self.to.lock().expect("not poisoned").push(parcel.to.to_string());
        match self.tries.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let (after, detail) = (Some(Duration::from_secs(180)), String::new());
                Outcome::Deferred { after, holds: Holds::Address, throttled: false, detail }
            }
            _ => Outcome::Accepted { reference: None },
        }
    }
}

#[test]
fn where_a_message_does_not_render_for_one_way_the_next_is_taken_at_every_try_and_the_reason_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    runtime().block_on(async {
        let clock = Arc::new(Clock::from(Time(START)));
        let store = Arc::new(Sqlite::inline(&folder.path().join("0.db")).expect("opens"));
        let driver = Arc::new(Later::default());
        let lanes = || {
            let kinds = [(HOOK, "hook", "url"), (MAIL, "email", "email")];
            kinds.map(|(id, kind, address)| lane_of(id.0, kind, kind, address, driver.clone())).into()
        };
        let config = Config::from_toml("", "none", std::iter::empty()).expect("default");
        let plans = plans(&Variety::default());
        let assembled = App::assemble(config, clock.clone(), store.clone(), plans, templates(), lanes(), 1).await;
        let (mut app, _) = assembled.expect("assembles");
        let parts = Parts {
            store: store.clone(),
            clock: clock.clone(),
            words: Arc::new(WithoutWebhooks(app.engine.words.clone())),
            lanes: lanes(),
            key: app.key.clone(),
            public_url: String::new(),
            without_unsubscribe: Default::default(),
            settings: app.engine.settings,
            seed: 1,
        };
        let (engine, outcomes) = Engine::new(parts).await.expect("is built");
        engine.start(outcomes);
        app.engine = engine;

        let draft = SubscriberDraft { id: None, subscriber: reader(None) };
        let upserted = store.upsert(vec![draft], Time(START)).await.expect("upserts");
        let [Upserted::Created(who)] = upserted[..] else { panic!("{upserted:?}") };
        let event = json!({
            "source": "world", "id": "e", "incident": "outage", "at": clock.calendar(), "status": "investigating",
            "severity": "major", "title": "Outage"
        });
        let event = parse_value(event, &Principal::Machine("world".into())).expect("event");
        let drawn = pipeline::ingest(&app, event, None).await.expect("ingests").broadcasts;
        clock.sleep(Duration::from_secs(600)).await;
        let to = driver.to.lock().expect("not poisoned").clone();
        assert_eq!(to, ["k@example.org", "k@example.org"], "by mail, the first time and again");
        let mut decisions = Vec::new();
        for id in drawn {
            let recipient = store.recipient(id, who).await.expect("reads").expect("is there");
            decisions.extend(recipient.decided.map(|(_, decided)| decided.decision));
        }
        let left = LeftOut { way: Way { place: 1, channel: HOOK }, why: Blocked::NoWords };
        assert_eq!(decisions, [Decision::Ways(vec![Way { place: 2, channel: MAIL }], vec![left])]);
    });
}
