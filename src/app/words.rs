//! The words of a broadcast, rendered from the set of templates that was in force when it was drawn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::cap::{told, write};
use crate::config::Config;
use crate::dispatch::Words;
use crate::incident::Text;
use crate::plan::Purpose;
use crate::render::message::{Format, Message, Segment};
use crate::render::{self, Scene, Templates, Wording, Wrong};
use crate::store::{Broadcast, Store, WordingKey};

pub struct FrozenWords {
    config: Config,
    store: Arc<dyn Store>,
    /// By digest: today's set, and those of broadcasts drawn before it changed.
    sets: Mutex<BTreeMap<[u8; 32], Arc<Templates>>>,
}

impl FrozenWords {
    pub fn new(config: Config, store: Arc<dyn Store>, current: Arc<Templates>) -> FrozenWords {
        FrozenWords { config, store, sets: Mutex::new([(current.digest(), current)].into()) }
    }

    async fn set(&self, digest: [u8; 32]) -> Result<Arc<Templates>, String> {
        let known = self.sets.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&digest).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let bytes = self.store.frozen(digest).await.map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or("its set of templates is not in the store")?;
        let set = Templates::from_bytes(&bytes)
            .map_err(|problems| problems.first().map_or(String::new(), ToString::to_string))?;
        let set = Arc::new(set);
        self.sets.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(digest, set.clone());
        Ok(set)
    }
}

impl FrozenWords {
    /// The alert of what is told now, with those before it as its references. It is for everyone, in all languages at once.
    async fn alert(&self, broadcast: &Broadcast, key: &WordingKey) -> Result<Message, String> {
        if !told::is_for_everyone(&self.config, broadcast) {
            return Err(format!("an alert is for everyone: audience {} has no public clearance", broadcast.audience));
        }
        let told = told::of(&*self.store, &self.config, broadcast.incident).await.map_err(|error| error.to_string())?;
        let at = told.iter().position(|told| told.id.number == broadcast.number);
        let alert = at.and_then(|at| write::alert(&self.config, broadcast.selection.mode, &told, at));
        Ok(Message {
            format: key.format,
            markup: key.markup,
            locale: key.locale.clone(),
            title: None,
            text: vec![Segment::Words(alert.ok_or("nothing of it is told to everyone")?)],
            html: None,
            status: None,
        })
    }
}

#[async_trait]
impl Words for FrozenWords {
    async fn message(&self, broadcast: &Broadcast, key: &WordingKey) -> Result<Message, String> {
        if key.format == Format::Cap {
            return self.alert(broadcast, key).await;
        }
        let set = self.set(broadcast.templates).await?;
        let incident = self.store.incident(broadcast.incident).await.map_err(|error| error.to_string())?;
        let updates = self.store.updates(broadcast.incident).await.map_err(|error| error.to_string())?;
        let opened = incident.map_or(broadcast.created, |(incident, _)| incident.opened);
        let corrects =
            updates.iter().find(|update| update.number == broadcast.number).and_then(|update| update.corrects);
        // Whom the wrong words had not reached is not told of them.
        let corrects = corrects.filter(|_| broadcast.purpose != Purpose::Update);
        let wrong = corrects.and_then(|number| updates.iter().find(|update| update.number == number));
        let said: Option<&Text> =
            wrong.and_then(|update| update.facts.summary.as_ref().or(update.facts.title.as_ref()));
        let before = updates.iter().rev().find(|update| update.number < broadcast.number);
        let audience = self.config.audiences.get(&broadcast.audience);
        let folder =
            audience.and_then(|audience| audience.templates.clone()).unwrap_or_else(|| broadcast.audience.clone());
        let scene = Scene {
            facts: &broadcast.facts,
            incident: &broadcast.incident_key,
            update: broadcast.number,
            mode: broadcast.selection.mode,
            code: &broadcast.code,
            sender: &self.config.sender,
            components: &self.config.components,
            regions: &self.config.regions,
            opened,
            now: broadcast.released.unwrap_or(broadcast.created),
            wrong: wrong.map(|update| Wrong { number: update.number, sent: update.taken, said }),
            window_before: before.and_then(|update| update.facts.ended_at),
        };
        let wording = Wording {
            template: folder.clone(),
            clearance: audience.map_or(set.clearance(&folder), |audience| audience.clearance),
            occasion: broadcast.occasion,
            locale: key.locale.clone(),
            zone: key.zone.clone(),
            format: key.format,
            markup: key.markup,
        };
        let rendered = render::render(&set, &scene, &wording).map_err(|error| error.to_string())?;
        for fallback in &rendered.fallbacks {
            tracing::info!(broadcast = %broadcast.id, file = rendered.file, %fallback, "words fell back");
        }
        Ok(rendered.message)
    }
}
