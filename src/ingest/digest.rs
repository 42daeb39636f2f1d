//! What tells equal content from other content. Enters: an event's data, however its keys are ordered or spaced. Leaves: its digest.

use serde_json::{Map, Value};

use super::event::TYPE;

/// SHA-256 over type, subject and data, each in one canonical form.
pub(super) fn digest(data: &Map<String, Value>, subject: Option<&str>) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(1024);
    canonical(&Value::String(TYPE.into()), &mut bytes);
    canonical(&subject.map_or(Value::Null, |subject| Value::String(subject.into())), &mut bytes);
    canonical_object(data, &mut bytes);
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref());
    digest
}

fn canonical(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            bytes.push(b'[');
            for item in items {
                canonical(item, bytes);
                bytes.push(b',');
            }
            bytes.push(b']');
        }
        Value::Object(map) => canonical_object(map, bytes),
        scalar => bytes.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

/// Sorted here, since a feature of another crate can make serde_json keep the order of arrival.
fn canonical_object(map: &Map<String, Value>, bytes: &mut Vec<u8>) {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    bytes.push(b'{');
    for (key, value) in entries {
        bytes.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
        bytes.push(b':');
        canonical(value, bytes);
        bytes.push(b',');
    }
    bytes.push(b'}');
}
