//! The webhook: a CloudEvent-shaped JSON of type `incident.update`, with the facts that its audience may read and the words
//! that people get. Its shape is docs/schemas/incident.update.v1.json; names are added to it, never changed.

use serde_json::{Map, Value, json};

use super::markdown;
use super::message::Markup;
use super::write::Writer;
use crate::clock::Time;
use crate::incident::{Clearance, Kind};

pub const TYPE: &str = "incident.update";

pub(super) fn text(writer: &Writer<'_>) -> Result<String, String> {
    let scene = writer.view.scene;
    let event = json!({
        "specversion": "1.0",
        "id": writer.field("delivery", "")?,
        "source": format!("https://{}", writer.view.status_page()),
        "type": TYPE,
        "time": scene.now,
        "subject": scene.incident,
        "datacontenttype": "application/json",
        "data": data(writer)?,
    });
    serde_json::to_string(&event).map_err(|error| error.to_string())
}

fn data(writer: &Writer<'_>) -> Result<Value, String> {
    let view = &writer.view;
    let (scene, facts) = (view.scene, view.scene.facts);
    let values = writer.values();
    let named = |ids: &[String], titles: Vec<String>| -> Vec<Value> {
        ids.iter().zip(titles).map(|(id, title)| json!({ "id": super::clean::clean(id), "title": title })).collect()
    };
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            data.insert(name.into(), value);
        }
    };
    put("incident", json!(scene.incident));
    put("update", json!(scene.update));
    put("mode", json!(scene.mode));
    put("kind", json!(facts.kind.unwrap_or(Kind::Incident)));
    put("occasion", json!(writer.wording.occasion));
    put("clearance", json!(view.clearance));
    put("status", values["status"].clone());
    put("components", Value::Array(named(&facts.components, view.services())));
    put("regions", Value::Array(named(&facts.regions, view.regions())));
    put("restored_percent", json!(facts.restored_percent));
    put("times", times(writer));
    put("texts", texts(writer, values)?);
    put("cause", strip(values["cause"].clone()));
    put("data_effect", json!(facts.impact.data));
    put("support_url", values["support_url"].clone());
    put("check_code", json!(scene.code));
    if let Some(wrong) = &scene.wrong {
        put("corrects", json!({ "update": wrong.number, "sent": wrong.sent }));
    }
    if view.clearance >= Clearance::Partner {
        put("severity", json!(facts.severity));
        let impact = &facts.impact;
        put(
            "impact",
            strip(json!({
                "users": impact.users,
                "businesses": impact.businesses,
                "functions": impact.functions.iter().map(|f| super::clean::clean(f)).collect::<Vec<_>>(),
            })),
        );
    }
    if view.clearance >= Clearance::Internal {
        put("owner", values["owner"].clone());
    }
    Ok(Value::Object(data))
}

fn times(writer: &Writer<'_>) -> Value {
    let (view, facts) = (&writer.view, writer.view.scene.facts);
    let all: [(&str, Option<Time>); 4] = [
        ("started_at", Some(view.started())),
        ("ended_at", facts.ended_at),
        ("next_update_at", view.coming(facts.next_update_at)),
        ("expected_restored_at", view.coming(facts.expected_restored_at)),
    ];
    all.into_iter().filter_map(|(name, time)| Some((name.to_string(), json!(time?)))).collect::<Map<_, _>>().into()
}

/// The words as people get them, and the texts of the facts in the same language.
fn texts(writer: &Writer<'_>, values: &Value) -> Result<Value, String> {
    let body = markdown::convert(&writer.part("body")?, Markup::Plain);
    let mut texts = Map::new();
    texts.insert("locale".into(), json!(writer.view.locale.tag));
    texts.insert("headline".into(), json!(writer.labelled(writer.line("headline")?, Markup::Plain, " ")));
    texts.insert("short".into(), json!(writer.labelled(writer.line("short")?, Markup::Plain, " ")));
    texts.insert("body".into(), json!(writer.labelled(body, Markup::Plain, "\n\n")));
    for name in ["title", "summary", "workaround", "action", "alternatives", "compensation", "internal_notes"] {
        if let Some(text) = values.get(name).filter(|value| value.is_string()) {
            texts.insert(name.into(), text.clone());
        }
    }
    Ok(Value::Object(texts))
}

/// Without names that have no value.
fn strip(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}
