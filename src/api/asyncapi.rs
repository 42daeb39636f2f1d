//! `/asyncapi.json`: what is taken from Kafka and what is offered there, for programs that read AsyncAPI 3.0. It is docs/asyncapi.json.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use serde_json::{Value, json};

const WRITTEN: &str = include_str!("../../docs/asyncapi.json");

pub async fn show() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).json(document())
}

/// # Panics
/// If the file is no JSON, which a test would have seen.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut document: Value = serde_json::from_str(WRITTEN).expect("it is in the binary");
        document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
        document
    });
    &DOCUMENT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi;
    use crate::audience::Omission;
    use crate::channel::{Fault, ReceiptStatus};
    use crate::config::Config;
    use crate::store::DeliveryState;

    fn words(pointer: &str) -> Vec<&'static str> {
        let words = document().pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer}"));
        let mut words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        words.sort();
        words
    }

    fn sorted<'a>(words: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut words: Vec<&str> = words.into_iter().collect();
        words.sort();
        words
    }

    #[test]
    fn its_words_are_those_that_there_are() {
        let states = DeliveryState::ALL.iter().map(|word| word.word()).chain(["skipped", "unreachable"]);
        assert_eq!(words("/components/schemas/OutcomeData/properties/state/enum"), sorted(states));
        let faults = [Fault::Address, Fault::Message, Fault::Channel].map(Fault::word);
        let reasons = Omission::ALL.iter().map(|word| word.word()).chain(faults);
        assert_eq!(words("/components/schemas/OutcomeData/properties/reason/enum"), sorted(reasons));
        assert_eq!(words("/components/schemas/ReceiptData/properties/reason/enum"), sorted(faults));
        let statuses = ReceiptStatus::ALL.iter().map(|word| word.word());
        assert_eq!(words("/components/schemas/ReceiptData/properties/status/enum"), sorted(statuses));
    }

    #[test]
    fn what_it_shares_with_the_api_is_the_same_there() {
        let shared = [
            "Text",
            "Status",
            "Severity",
            "Mode",
            "Occasion",
            "BroadcastState",
            "Facts",
            "Impact",
            "Cause",
            "EventData",
        ];
        for name in shared.into_iter().chain(["CloudEvent"]) {
            let of = |document: &'static Value| document.pointer(&format!("/components/schemas/{name}"));
            assert!(of(document()).is_some() && of(document()) == of(openapi::document()), "{name}");
        }
    }

    #[test]
    fn its_topics_are_those_of_the_default_configuration() {
        let config = Config::from_toml("", "none", std::iter::empty()).expect("the default").kafka;
        let address = |channel: &str| document()["channels"][channel]["address"].as_str().expect("an address");
        let dead = |topic: &str| format!("{topic}{}", config.dead_suffix);
        assert_eq!((address("incidents"), address("urgent")), (&*config.topics[0], &*config.urgent_topics[0]));
        assert_eq!((address("dead"), address("urgentDead")), (&*dead("incidents"), &*dead("incidents.urgent")));
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let text = document().to_string();
        for part in text.split("\"$ref\":\"#").skip(1).filter_map(|part| part.split('"').next()) {
            assert!(document().pointer(part).is_some(), "{part}");
        }
        for kind in ["schemas", "messages"] {
            for name in document()["components"][kind].as_object().expect("components").keys() {
                assert!(text.contains(&format!("\"#/components/{kind}/{name}\"")), "{name} is used nowhere");
            }
        }
    }
}
