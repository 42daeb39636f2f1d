//! `/docs`: the API as a page, written from the same document as `/openapi.json`; `/docs/problems`: every problem that an answer
//! may name, by its word. Both are for everyone.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use super::page;
use crate::api::{kinds, openapi};

pub async fn operations() -> HttpResponse {
    static PAGE: LazyLock<Value> = LazyLock::new(|| written(openapi::document()));
    page::answer(StatusCode::OK, "docs", PAGE.clone())
}

pub async fn problems() -> HttpResponse {
    let items: Vec<Value> = kinds::ALL
        .iter()
        .map(|kind| {
            json!({ "name": kind.word, "status": kind.status.as_u16(), "title": kind.title, "means": kind.means,
                "remedy": kind.remedy() })
        })
        .collect();
    page::answer(StatusCode::OK, "problems", json!({ "items": items }))
}

/// What the page needs of the document, in the order of its tags.
fn written(document: &Value) -> Value {
    let tags: Vec<Value> = listed(&document["tags"])
        .map(|tag| {
            let mut operations: Vec<Value> = Vec::new();
            for place in ["paths", "webhooks"] {
                for (path, methods) in members(&document[place]) {
                    let of = members(methods).filter(|(_, operation)| operation["tags"][0] == tag["name"]);
                    operations.extend(of.map(|(method, operation)| shown(document, method, path, operation)));
                }
            }
            let id = text(&tag["name"]).to_lowercase().replace(' ', "-");
            json!({ "id": id, "name": tag["name"], "text": spoken(&tag["description"]), "operations": operations })
        })
        .collect();
    let schemas: Vec<Value> = members(&document["components"]["schemas"])
        .map(|(name, schema)| {
            let mut fields = Vec::new();
            collect(document, schema, &mut fields);
            let is = if fields.is_empty() { kind(schema) } else { Vec::new() };
            json!({ "name": name, "text": spoken(&schema["description"]), "fields": fields, "is": is })
        })
        .collect();
    json!({ "version": document["info"]["version"], "text": spoken(&document["info"]["description"]), "tags": tags,
        "schemas": schemas })
}

fn shown(document: &Value, method: &str, path: &str, operation: &Value) -> Value {
    let shared = &document["components"]["parameters"];
    let parameters: Vec<Value> = openapi::parameters(operation, shared)
        .map(|parameter| {
            json!({ "name": parameter["name"], "in": parameter["in"], "required": parameter["required"],
                "text": spoken(&parameter["description"]), "is": kind(&parameter["schema"]) })
        })
        .collect();
    let responses: Vec<Value> = members(&operation["responses"])
        .map(|(status, response)| {
            let word = text(&response["$ref"]).rsplit('/').next().unwrap_or_default();
            if kinds::ALL.iter().any(|kind| kind.word == word) {
                return json!({ "status": status, "problem": word });
            }
            let response = resolved(document, response);
            json!({ "status": status, "text": spoken(&response["description"]), "content": content(&response["content"]) })
        })
        .collect();
    let (good, problems): (Vec<Value>, Vec<Value>) =
        responses.into_iter().partition(|response| response["problem"].is_null());
    json!({
        "id": operation["operationId"], "method": method.to_uppercase(), "path": path, "summary": spoken(&operation["summary"]),
        "text": spoken(&operation["description"]), "scope": operation["security"][0]["token"][0], "parameters": parameters,
        "body": content(&operation["requestBody"]["content"]), "responses": good, "problems": problems,
    })
}

/// Media types with what they carry; pages and texts say it by their type.
fn content(content: &Value) -> Value {
    members(content).map(|(media, body)| json!({ "media": media, "is": kind(&body["schema"]) })).collect()
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// The fields of an object, those of what it extends first.
fn collect(document: &Value, schema: &Value, fields: &mut Vec<Value>) {
    for base in listed(&schema["allOf"]) {
        collect(document, resolved(document, base), fields);
    }
    for (name, field) in members(&schema["properties"]) {
        fields
            .push(json!({ "name": name, "is": kind(field), "text": spoken(&field["description"]), "required": false }));
    }
    for needed in listed(&schema["required"]) {
        fields.iter_mut().filter(|field| field["name"] == *needed).for_each(|field| field["required"] = json!(true));
    }
}

/// What a value may be, in pieces: `{plain}` is written as it is, `{schema}` leads to its own entry.
fn kind(schema: &Value) -> Vec<Value> {
    let word = |text: &str| vec![json!({ "plain": text })];
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return vec![json!({ "schema": name })];
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(kind).reduce(either).unwrap_or_default();
    }
    if let [base] = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default() {
        return kind(base);
    }
    if let Some(choices) = schema["enum"].as_array() {
        let names: Vec<&str> = choices.iter().map(|choice| choice.as_str().unwrap_or("null")).collect();
        return word(&names.join(" · "));
    }
    if let Some(only) = schema["const"].as_str() {
        return word(&format!("“{only}”"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    types.iter().map(|name| of_type(name, schema)).reduce(either).unwrap_or_default()
}

fn of_type(name: &str, schema: &Value) -> Vec<Value> {
    match name {
        "array" => std::iter::once(json!({ "plain": "list of" })).chain(kind(&schema["items"])).collect(),
        "object" if schema["additionalProperties"].is_object() => {
            std::iter::once(json!({ "plain": "object of" })).chain(kind(&schema["additionalProperties"])).collect()
        }
        "string" => vec![json!({ "plain": if schema["format"] == "date-time" { "time" } else { "text" } })],
        "integer" => vec![json!({ "plain": "whole number" })],
        "boolean" => vec![json!({ "plain": "true or false" })],
        other => vec![json!({ "plain": other })],
    }
}

fn either(mut one: Vec<Value>, other: Vec<Value>) -> Vec<Value> {
    one.push(json!({ "plain": "or" }));
    one.extend(other);
    one
}

/// A sentence with its `code` apart: pieces `{said}` and `{code}`.
fn spoken(sentence: &Value) -> Vec<Value> {
    let pieces = text(sentence).split('`').enumerate().filter(|(_, piece)| !piece.is_empty());
    pieces.map(|(at, piece)| if at % 2 == 1 { json!({ "code": piece }) } else { json!({ "said": piece }) }).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn listed(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_every_schema_stands_on_the_page() {
        let document = openapi::document();
        let page = written(document);
        let shown: usize = listed(&page["tags"]).map(|tag| listed(&tag["operations"]).count()).sum();
        let paths: usize = members(&document["paths"]).map(|(_, methods)| members(methods).count()).sum();
        assert_eq!(shown, paths + members(&document["webhooks"]).count());
        assert_eq!(listed(&page["schemas"]).count(), members(&document["components"]["schemas"]).count());
        let empty = listed(&page["schemas"]).find(|schema| schema["is"] == json!([]) && schema["fields"] == json!([]));
        assert_eq!(empty, None);
    }

    #[test]
    fn what_a_value_may_be_is_said_in_words() {
        let said = |schema: Value| kind(&schema).iter().map(|piece| piece.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(
            said(json!({ "type": ["array", "null"], "items": { "$ref": "#/components/schemas/Address" } })),
            r#"{"plain":"list of"} {"schema":"Address"} {"plain":"or"} {"plain":"null"}"#
        );
        assert_eq!(said(json!({ "enum": ["a", null] })), r#"{"plain":"a · null"}"#);
        assert_eq!(said(json!({ "type": "string", "format": "date-time" })), r#"{"plain":"time"}"#);
    }
}
