//! The words of a broadcast as its page shows them: a choice by format, language and zone, and the chosen one as it looks where it
//! arrives. Enter the API's message documents; pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::words::{encoded, language};
use crate::render::sms;

/// Which of `items` is meant by `asked`: else one in the operator's language, else the first.
pub fn chosen<'a>(items: &'a [Value], asked: Option<&str>, locale: &str) -> Option<&'a Value> {
    let by_name = items.iter().find(|item| Some(name(item).as_str()) == asked);
    by_name.or_else(|| items.iter().find(|item| item["locale"] == locale)).or_else(|| items.first())
}

/// Names one message of a broadcast, whatever others come.
fn name(item: &Value) -> String {
    let part = |key: &str| item[key].as_str().unwrap_or_default();
    [part("format"), part("locale"), part("zone"), part("markup")].join(".")
}

/// The choice: formats, and under each the languages, with the zone where one language has several.
pub fn choice(items: &[Value], chosen: &Value, languages: &BTreeMap<String, String>) -> Value {
    let mut formats: Vec<(String, Vec<Value>)> = Vec::new();
    for item in items {
        let format = item["format"].as_str().unwrap_or_default();
        let alike = |other: &&Value| other["format"] == item["format"] && other["locale"] == item["locale"];
        let same_markup = |other: &&Value| alike(other) && other["markup"] == item["markup"];
        let mut label = language(item["locale"].as_str().unwrap_or_default(), languages);
        if items.iter().filter(same_markup).count() > 1 {
            label.push_str(&format!(", {}", item["zone"].as_str().unwrap_or_default().replace('_', " ")));
        }
        if items.iter().filter(alike).any(|other| other["markup"] != item["markup"]) {
            label.push_str(&format!(", {}", item["markup"].as_str().unwrap_or_default()));
        }
        let link = json!({ "label": label, "query": encoded(&name(item)), "chosen": item == chosen,
            "lang": item["locale"] });
        match formats.iter_mut().find(|(known, _)| known == format) {
            Some((_, links)) => links.push(link),
            None => formats.push((format.into(), vec![link])),
        }
    }
    formats.into_iter().map(|(format, links)| json!({ "format": format, "links": links })).collect()
}

/// One message as its page shows it.
pub fn shown(item: &Value, languages: &BTreeMap<String, String>) -> Value {
    let format = item["format"].as_str().unwrap_or_default();
    let text = item["text"].as_str().unwrap_or_default();
    let said_in = item["said_in"].as_str().or(item["locale"].as_str()).unwrap_or_default();
    let mut view = json!({
        "format": format, "title": item["title"], "text": text, "locale": said_in, "language": language(said_in, languages),
        "zone": item["zone"], "error": item["error"], "query": encoded(&name(item)), "html": item["html"].is_string(),
        "is": { (format): true },
    });
    if item["said_in"].is_string() && item["said_in"] != item["locale"] {
        view["asked_for"] = json!(language(item["locale"].as_str().unwrap_or_default(), languages));
    }
    match format {
        "sms" => {
            let count = sms::count(text);
            let alphabet = match count.alphabet {
                sms::Alphabet::Gsm7 => "GSM-7",
                sms::Alphabet::Ucs2 => "UCS-2",
            };
            view["sms"] = json!({ "alphabet": alphabet, "units": count.units, "segments": sms::segments(text),
                "count": count.segments, "several": count.segments != 1 });
        }
        "webhook" => {
            let pretty = serde_json::from_str::<Value>(text).and_then(|body| serde_json::to_string_pretty(&body));
            view["text"] = json!(pretty.unwrap_or_else(|_| text.into()));
        }
        _ => {}
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(format: &str, locale: &str, zone: &str) -> Value {
        json!({ "format": format, "markup": "plain", "locale": locale, "zone": zone, "said_in": locale, "text": "é".repeat(161) })
    }

    #[test]
    fn a_message_is_found_by_its_name_else_in_the_operators_language() {
        let items = [item("email", "de", "UTC"), item("email", "en", "UTC"), item("sms", "en", "Europe/Berlin")];
        let asked = |name| chosen(&items, name, "en").expect("some");
        assert_eq!(asked(Some("sms.en.Europe/Berlin.plain")), &items[2]);
        assert_eq!(asked(None), &items[1]);
        assert_eq!(asked(Some("gone")), &items[1]);
        assert_eq!(chosen(&items, None, "pt"), Some(&items[0]));
        assert_eq!(chosen(&[], None, "en"), None);
    }

    #[test]
    fn the_zone_stands_beside_a_language_only_where_there_are_several() {
        let items = [item("email", "de", "UTC"), item("email", "en", "UTC"), item("email", "en", "Europe/Berlin")];
        let names = BTreeMap::from([("en".to_string(), "English".to_string())]);
        let choice = choice(&items, &items[1], &names);
        let labels: Vec<&str> =
            choice[0]["links"].as_array().expect("links").iter().filter_map(|link| link["label"].as_str()).collect();
        assert_eq!(labels, ["de", "English, UTC", "English, Europe/Berlin"]);
        assert_eq!(choice[0]["links"][1]["chosen"], true);
    }

    #[test]
    fn an_sms_is_shown_in_the_segments_it_goes_out_in() {
        let view = shown(&item("sms", "en", "UTC"), &BTreeMap::new());
        assert_eq!((&view["sms"]["alphabet"], &view["sms"]["count"]), (&json!("GSM-7"), &json!(2)));
        assert_eq!(view["sms"]["segments"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn the_json_of_a_webhook_is_set_out_in_lines() {
        let mut hook = item("webhook", "en", "UTC");
        hook["text"] = json!("{\"a\":{\"b\":1}}");
        assert_eq!(shown(&hook, &BTreeMap::new())["text"], "{\n  \"a\": {\n    \"b\": 1\n  }\n}");
    }
}
