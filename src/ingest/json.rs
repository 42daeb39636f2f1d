//! JSON as it is read from outside. Enters: bytes. Leaves: a value in which no object names a key twice: of two statuses in one
//! event nobody could say which one was meant.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::event::BadEvent;
use super::fields::quoted;

pub(super) fn read(body: &[u8]) -> Result<Value, BadEvent> {
    let unique: Unique =
        serde_json::from_slice(body).map_err(|error| BadEvent::new("", format!("is not JSON: {error}")))?;
    Ok(unique.0)
}

struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Whole).map(Unique)
    }
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {} is given twice", quoted(&key))));
            }
            let Unique(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_as_any_reader_reads_it() {
        for text in [r#"{"a":[1,-2,2.5,"x\u00e9",null,true,{"b":{}}],"c":18446744073709551615}"#, "[]", "\"x\"", " 1 "]
        {
            let usual: Value = serde_json::from_str(text).expect("json");
            assert_eq!(read(text.as_bytes()), Ok(usual));
        }
    }

    #[test]
    fn what_is_not_json_or_names_a_key_twice_is_refused() {
        let deep = "[".repeat(10_000);
        for (text, message) in [
            ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
            ("{\"id\": }", "is not JSON: expected value at line 1 column 8"),
            ("{} {}", "is not JSON: trailing characters at line 1 column 4"),
            (deep.as_str(), "is not JSON: recursion limit exceeded at line 1 column 128"),
            ("{\"a\":{\"b\":1,\n\"b\":2}}", "is not JSON: the key \"b\" is given twice at line 2 column 3"),
        ] {
            assert_eq!(read(text.as_bytes()).expect_err("refused").to_string(), message);
        }
        assert!(read(b"\"\xc0\xa0\"").is_err());
    }
}
