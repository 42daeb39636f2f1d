//! `/openapi.json`: the API for programs that read OpenAPI 3.1, and for the page at `/docs`. `openapi.json` beside this file says
//! what is particular to each operation; what follows from the code is added here: the scopes, and the problems by their list.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use serde_json::{Map, Value, json};

use super::{kinds, token};

const WRITTEN: &str = include_str!("openapi.json");

/// What a webhook gets; published on its own too.
const UPDATE: &str = include_str!("../../docs/schemas/incident.update.v1.json");

pub async fn show() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")).json(document())
}

/// # Panics
/// If one of the two files is no JSON, which a test would have seen.
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut document: Value = serde_json::from_str(WRITTEN).expect("it is in the binary");
        document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
        document["components"]["schemas"]["IncidentUpdate"] = update();
        for kind in kinds::ALL {
            document["components"]["responses"][kind.word] = problem(kind);
        }
        let shared = document["components"]["parameters"].clone();
        for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
            for (method, operation) in operations.as_object_mut().into_iter().flatten() {
                complete(&method.to_uppercase(), path, operation, &shared);
            }
        }
        document
    });
    &DOCUMENT
}

/// The schema stands alone in its file: here its own definitions lie deeper.
fn update() -> Value {
    let text = UPDATE.replace("\"#/$defs/", "\"#/components/schemas/IncidentUpdate/$defs/");
    serde_json::from_str(&text).expect("it is in the binary")
}

fn problem(kind: &kinds::Kind) -> Value {
    let mut problem = json!({
        "description": format!("{}: {}", kind.title, kind.means),
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    if matches!(kind.status.as_u16(), 429 | 503) {
        problem["headers"] = json!({ "Retry-After": { "schema": { "type": "integer" }, "description": "Seconds." } });
    }
    problem
}

/// Adds what follows from the place: who may, and what may stand in the way.
fn complete(method: &str, path: &str, operation: &mut Value, shared: &Value) {
    let scope = token::needed(method, path);
    // A place that asks for itself says so in the file.
    let asks = scope.is_some() || operation.get("security").is_some();
    if operation.get("security").is_none() {
        operation["security"] = scope.map_or_else(|| json!([]), |scope| json!([{ "token": [scope.word()] }]));
    }
    let places: Vec<Value> = parameters(operation, shared).map(|parameter| parameter["in"].clone()).collect();
    let takes = |place: &str| places.iter().any(|known| known == place);
    let has_body = operation.get("requestBody").is_some();
    let page = crate::web::is_page(path);
    let mut may = vec![(true, &kinds::TOO_MANY_REQUESTS), (true, &kinds::UNAVAILABLE)];
    may.extend([&kinds::UNAUTHORIZED, &kinds::FORBIDDEN].map(|kind| (asks && !page, kind)));
    may.extend([&kinds::BAD_REQUEST, &kinds::TOO_SLOW].map(|kind| (has_body && !page, kind)));
    let streamed = path.ends_with(":import");
    may.push((has_body && !page && !streamed, &kinds::TOO_LARGE));
    may.extend([(takes("query") && !page, &kinds::BAD_REQUEST), (takes("path") && !page, &kinds::NOT_FOUND)]);
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (_, kind) in may.into_iter().filter(|(may, _)| *may) {
        respond(responses, kind);
    }
}

/// An operation's parameters, those that it shares with others too.
pub fn parameters<'a>(operation: &'a Value, shared: &'a Value) -> impl Iterator<Item = &'a Value> {
    operation["parameters"].as_array().into_iter().flatten().map(|parameter| {
        let name = parameter["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        name.map_or(parameter, |name| &shared[name])
    })
}

fn respond(responses: &mut Map<String, Value>, kind: &kinds::Kind) {
    let answer = || json!({ "$ref": format!("#/components/responses/{}", kind.word) });
    responses.entry(kind.status.as_str()).or_insert_with(answer);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::places;

    fn operations() -> impl Iterator<Item = (String, String, &'static Value)> {
        let paths = document()["paths"].as_object().expect("paths");
        paths.iter().flat_map(|(path, operations)| {
            let operations = operations.as_object().expect("operations");
            operations.iter().map(|(method, operation)| (method.to_uppercase(), path.clone(), operation))
        })
    }

    #[test]
    fn every_place_of_the_server_is_described_and_nothing_else() {
        let there: BTreeSet<places::Noted> = places::all().into_iter().collect();
        let described: BTreeSet<places::Noted> = operations().map(|(method, path, _)| (method, path)).collect();
        let missing: Vec<_> = there.difference(&described).collect();
        let invented: Vec<_> = described.difference(&there).collect();
        assert!(missing.is_empty() && invented.is_empty(), "not described: {missing:?}; not there: {invented:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(document(), &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let place = reference.strip_prefix('#').and_then(|pointer| document().pointer(pointer));
            assert!(place.is_some(), "{reference}");
        }
        let schemas = document()["components"]["schemas"].as_object().expect("schemas");
        let text = document().to_string();
        for name in schemas.keys() {
            assert!(text.contains(&format!("\"#/components/schemas/{name}\"")), "{name} is used nowhere");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_each_parameter_of_its_path() {
        let mut names = BTreeSet::new();
        for (method, path, operation) in operations() {
            let name = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no name"));
            assert!(names.insert(name), "{name} stands twice");
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            let given: BTreeSet<&str> = parameters(operation, &document()["components"]["parameters"])
                .filter(|parameter| parameter["in"] == "path")
                .filter_map(|parameter| parameter["name"].as_str())
                .collect();
            let named: BTreeSet<&str> = path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
            assert_eq!(given, named, "{method} {path}");
        }
    }

    #[test]
    fn every_tag_is_explained() {
        let tags = document()["tags"].as_array().expect("tags");
        for (method, path, operation) in operations() {
            let known = tags.iter().any(|tag| tag["name"] == operation["tags"][0]);
            assert!(known, "{method} {path}: {}", operation["tags"]);
        }
    }
}
