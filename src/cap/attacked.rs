//! The properties of an alert that was read: what it begins goes out again, is read, and says the same.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::alert::Alert;
use super::event::{Target, event, opens};
use super::told::Told;
use super::{read, write};
use crate::config::Config;
use crate::id::{IncidentId, UpdateId};
use crate::incident::{Clearance, Facts, Mode, Text};
use crate::ingest::event::{BadEvent, Principal};

/// # Panics
/// If one of them does not hold.
pub fn attacked(alert: &Alert) -> Result<(), BadEvent> {
    static CONFIG: LazyLock<Config> =
        LazyLock::new(|| Config::from_toml("", "", std::iter::empty()).expect("the default"));
    if !opens(alert) {
        return Ok(());
    }
    let target = Target { id: alert.identifier.clone(), key: alert.reference().key(), known: None };
    let by = Principal::Machine("fuzz".into());
    let event = event(alert, &target, &BTreeMap::new(), &by)?;
    assert_eq!((&event.source, &event.id, event.at), (&alert.sender, &alert.identifier, alert.sent));
    let facts: Facts = serde_json::from_value(event.says.into()).expect("checked fields");
    let id = UpdateId { incident: IncidentId(1), number: 1 };
    let told = [Told { id, sent: alert.sent, facts: facts.view(Clearance::Public) }];
    let written = write::alert(&CONFIG, Mode::Real, &told, 0).expect("one is told");
    let again = read(written.as_bytes()).unwrap_or_else(|error| panic!("{error}: {written}"));
    let Some(Text::ByLocale(titles)) = facts.title else { panic!("no title by language") };
    for info in &again.infos {
        assert_eq!(Some(&info.event), titles.get(&info.language), "{written}");
        assert_eq!(info.web, facts.support_url, "{written}");
    }
    assert_eq!(again.infos.len(), titles.len(), "{written}");
    Ok(())
}
