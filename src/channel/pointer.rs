//! JSON Pointers (RFC 6901), with `*` for each element of a list where a file says `items`.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    text: String,
}

impl Pointer {
    pub fn parse(text: &str) -> Result<Pointer, String> {
        match text.is_empty() || text.starts_with('/') {
            true => Ok(Pointer { text: text.into() }),
            false => Err(format!("{text:?} is not a JSON pointer; it begins with /")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match value {
            // Nothing was answered, as most platforms do that took a message.
            Value::Null if !self.text.is_empty() => None,
            value => value.pointer(&self.text),
        }
    }

    /// The scalar there, as people would write it.
    pub fn text(&self, value: &Value) -> Option<String> {
        scalar(self.get(value)?)
    }

    /// Every value that the pointer reaches, `*` standing for each element of a list.
    pub fn each<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut reached = vec![value];
        for token in self.text.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            reached = reached
                .into_iter()
                .flat_map(|value| match (value, token.as_str()) {
                    (Value::Array(items), "*") => items.iter().collect(),
                    (Value::Array(items), index) => {
                        index.parse().ok().and_then(|at: usize| items.get(at)).into_iter().collect()
                    }
                    (Value::Object(members), key) => members.get(key).into_iter().collect::<Vec<_>>(),
                    _ => Vec::new(),
                })
                .collect();
        }
        reached
    }
}

/// A scalar as text; `None` for null, lists and objects.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pointer::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_reaches_each_element() {
        let value: Value = serde_json::from_str(r#"{"a":[{"b":[1,2]},{"b":[3]},{"c":4}]}"#).expect("json");
        let reached = |pointer: &str| -> Vec<String> {
            Pointer::parse(pointer).expect("pointer").each(&value).into_iter().map(Value::to_string).collect()
        };
        assert_eq!(reached("/a/*/b/*"), ["1", "2", "3"]);
        assert_eq!(reached("/a/1/b"), ["[3]"]);
        assert_eq!(reached("/a/9"), [""; 0]);
        assert!(Pointer::parse("a").is_err());
    }
}
