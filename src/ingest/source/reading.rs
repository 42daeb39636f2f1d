//! From a foreign document to native events, by a source file. Pure.

use std::collections::BTreeMap;

use minijinja::value::{Serde, Value as Seen};
use serde_json::{Map, Value};

use super::expression::{Expression, Names, short};
use super::{Format, TIMES};

/// As many events as one document may give.
const MOST: usize = 1000;
/// Longer keys end in a digest: their end may tell them apart.
const KEY: usize = 200;
const TITLE: usize = 1024;
const TEXT: usize = 16 * 1024;

/// Which expression of the file went wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Wrong {
    pub place: String,
    pub message: String,
}

impl Format {
    /// What a document says, event by event, as the file's expressions give it. `over` goes before the file's own.
    pub fn read(
        &self,
        document: &Value,
        headers: &BTreeMap<String, String>,
        over: &BTreeMap<String, Expression>,
    ) -> Result<Vec<Map<String, Value>>, Wrong> {
        let evaluate = |place: &str, expression: &Expression, names: &Names| {
            expression.value(names).map_err(|message| Wrong { place: place.into(), message })
        };
        let mut names = Names::from([
            ("doc".to_string(), Seen::from(Serde(document))),
            ("headers".to_string(), Seen::from(Serde(headers))),
        ]);
        if let Some(inner) = &self.document {
            let text = evaluate("document.json", &inner.json, &names)?;
            let within: Option<Value> = text.as_str().and_then(|text| serde_json::from_str(text).ok());
            let within = within.filter(Value::is_object).unwrap_or(Value::Null);
            let envelope = names.insert("doc".into(), Seen::from(Serde(&within))).unwrap_or_default();
            names.insert("envelope".into(), envelope);
        }
        let items: Vec<Seen> = match &self.each {
            None => vec![names["doc"].clone()],
            Some(each) => {
                let list = evaluate("each.in", &each.list, &names)?;
                let items =
                    list.try_iter().map_err(|_| Wrong { place: "each.in".into(), message: "is no list".into() })?;
                items.take(MOST + 1).collect()
            }
        };
        if items.len() > MOST {
            return Err(Wrong { place: "each.in".into(), message: format!("more than {MOST} events in one document") });
        }
        let mut events = Vec::new();
        for item in items {
            names.insert("it".into(), item);
            for (name, expression) in &self.names.0 {
                let value = evaluate(&format!("let.{name}"), expression, &names)?;
                names.insert(name.clone(), value);
            }
            let of = |field: &str| over.get(field).or_else(|| self.event.get(field));
            if let Some(when) = of("when")
                && !evaluate("event.when", when, &names)?.is_true()
            {
                continue;
            }
            let mut event = Map::new();
            for field in self.event.keys().chain(over.keys()).filter(|field| *field != "when") {
                let Some(expression) = of(field) else { continue };
                let value = evaluate(&format!("event.{field}"), expression, &names)?;
                let value = serde_json::to_value(&value).unwrap_or(Value::Null);
                let says_nothing = match &value {
                    Value::Null => true,
                    Value::String(text) => text.is_empty(),
                    Value::Array(items) => items.is_empty(),
                    _ => false,
                };
                if !says_nothing {
                    event.insert(field.clone(), value);
                }
            }
            events.push(event);
        }
        Ok(events)
    }
}

/// What a file gave, in the form that an event has: within its bounds, and lists where it has lists.
pub fn native(mut event: Map<String, Value>) -> Map<String, Value> {
    for (field, value) in event.iter_mut() {
        *value = match (field.as_str(), std::mem::take(value)) {
            ("components" | "regions" | "platforms_down", value) => {
                let items = if let Value::Array(items) = value { items } else { vec![value] };
                let items = items.into_iter().filter_map(|item| Some(Value::String(text(&item)?)));
                Value::Array(items.filter(|item| *item != "").take(KEY).collect())
            }
            ("incident" | "id" | "owner", value) => Value::String(key(&text(&value).unwrap_or_default())),
            ("title", value) => Value::String(cut(&text(&value).unwrap_or_default(), TITLE)),
            ("sequence" | "restored_percent", value) => value,
            (field, Value::String(given)) if !TIMES.contains(&field) => Value::String(cut(&given, TEXT)),
            (_, value) => value,
        };
    }
    event
}

fn text(value: &Value) -> Option<String> {
    crate::channel::pointer::scalar(value)
}

fn key(text: &str) -> String {
    let text = text.trim();
    if text.chars().count() <= KEY {
        return text.into();
    }
    let digest = short(text.as_bytes());
    text.chars().take(KEY - digest.len() - 1).collect::<String>() + "~" + &digest
}

/// At most so many bytes, between two characters.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.into();
    }
    let mut end = most - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn what_is_too_long_is_cut_and_keys_stay_different() {
        let long = "x".repeat(300);
        let event =
            native(map(json!({ "incident": format!("{long}1"), "title": "é".repeat(1000), "components": "web" })));
        let other = native(map(json!({ "incident": format!("{long}2") })));
        assert_eq!(event["incident"].as_str().map(str::len), Some(KEY));
        assert_ne!(event["incident"], other["incident"]);
        assert!(event["title"].as_str().is_some_and(|title| title.len() <= TITLE && title.ends_with("é…")));
        assert_eq!(event["components"], json!(["web"]));
    }
}
