//! Whether an answer is what the API's description says: as much of JSON Schema as the description uses, and stricter, since a
//! name that is not described is wrong.

use serde_json::{Map, Value};

/// What is wrong with `value`, by place; empty: it fits.
pub fn wrong(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(document, schema, value, "", &mut found);
    found
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} leads nowhere")),
        None => schema,
    }
}

fn look(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let tries: Vec<Vec<String>> = choices.iter().map(|choice| wrong(document, choice, value)).collect();
        if tries.iter().filter(|wrong| wrong.is_empty()).count() != 1 {
            found.push(format!("{at}: {value} is not one of {} choices: {tries:?}", choices.len()));
        }
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        found.push(format!("{at}: {value} is none of {choices:?}"));
    }
    if let Some(only) = schema.get("const")
        && only != value
    {
        found.push(format!("{at}: {value} is not {only}"));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
        found.push(format!("{at}: {value} is no {types:?}"));
    }
    match value {
        Value::Array(items) if schema.get("items").is_some() => {
            for (n, item) in items.iter().enumerate() {
                look(document, &schema["items"], item, &format!("{at}/{n}"), found);
            }
        }
        Value::Object(members) => members_fit(document, schema, members, at, found),
        _ => {}
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other} is no type"),
    }
}

fn members_fit(document: &Value, schema: &Value, members: &Map<String, Value>, at: &str, found: &mut Vec<String>) {
    let (mut known, mut needed) = (Map::new(), Vec::new());
    collect(document, schema, &mut known, &mut needed);
    for name in needed {
        if !members.contains_key(&name) {
            found.push(format!("{at}/{name} is missing"));
        }
    }
    for (name, value) in members {
        let at = format!("{at}/{name}");
        match (known.get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => look(document, schema, value, &at, found),
            (None, others @ Value::Object(_)) => look(document, others, value, &at, found),
            // An object whose members are not described is whatever it is.
            (None, _) if known.is_empty() => {}
            (None, _) => found.push(format!("{at} is not described")),
        }
    }
}

/// An object's own members and those of what it extends.
fn collect(document: &Value, schema: &Value, known: &mut Map<String, Value>, needed: &mut Vec<String>) {
    for base in schema["allOf"].as_array().into_iter().flatten() {
        collect(document, resolved(document, base), known, needed);
    }
    known.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, of)| (name.clone(), of.clone())));
    needed
        .extend(schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str().map(String::from)));
}
