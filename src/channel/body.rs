//! Bodies and queries of requests, cut into pieces.

use super::file::Send;
use super::pieces::{Pieces, Position, escape};
use super::template::{Name, Template};

/// `a=b&c=d` of a query or form.
pub fn members<'a>(
    list: impl IntoIterator<Item = &'a (&'a str, Template)>,
    setting: &dyn Fn(&str) -> Option<String>,
) -> Pieces {
    let (mut always, mut sometimes) = (Pieces::default(), Pieces::default());
    for (name, template) in list {
        let mut pieces = Pieces::default();
        let mut key = Vec::new();
        escape(name, Position::Query, &mut key);
        key.push(b'=');
        pieces.bytes(&key);
        if pieces.template(template, Position::Query, setting) {
            match needs(template) {
                needs if needs.is_empty() => {
                    if always != Pieces::default() {
                        always.bytes(b"&");
                    }
                    always.append(pieces);
                }
                needs => sometimes.member(b'&', needs, pieces),
            }
        }
    }
    always.append(sometimes);
    always
}

pub fn body(send: &Send, setting: &dyn Fn(&str) -> Option<String>) -> Result<(Pieces, Option<&'static str>), String> {
    let mut pieces = Pieces::default();
    if let Some(table) = &send.json {
        return Ok((object(table, setting)?, Some("application/json")));
    }
    if let Some(form) = &send.form {
        let list: Vec<(&str, Template)> = form.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        return Ok((members(&list, setting), Some("application/x-www-form-urlencoded")));
    }
    if let Some(text) = &send.text {
        if !pieces.template(text, Position::Raw, setting) {
            return Err("a setting is missing".into());
        }
        return Ok((pieces, Some("text/plain; charset=utf-8")));
    }
    Ok((pieces, None))
}

pub fn object(table: &toml::Table, setting: &dyn Fn(&str) -> Option<String>) -> Result<Pieces, String> {
    let (mut always, mut sometimes) = (Pieces::default(), Pieces::default());
    always.bytes(b"{");
    let mut first = true;
    for (key, value) in table {
        let mut pieces = Pieces::default();
        pieces.bytes(serde_json::Value::from(key.as_str()).to_string().as_bytes());
        pieces.bytes(b":");
        let Some((value, needs)) = json(value, setting)? else { continue };
        pieces.append(value);
        if needs.is_empty() {
            if !std::mem::take(&mut first) {
                always.bytes(b",");
            }
            always.append(pieces);
        } else {
            sometimes.member(b',', needs, pieces);
        }
    }
    always.append(sometimes);
    always.bytes(b"}");
    Ok(always)
}

type Valued = (Pieces, Vec<Name>);

/// A JSON value, and the names without which it is left out; `None`: left out always.
fn json(value: &toml::Value, setting: &dyn Fn(&str) -> Option<String>) -> Result<Option<Valued>, String> {
    let mut pieces = Pieces::default();
    match value {
        toml::Value::String(text) => {
            let template = Template::parse(text)?;
            // A string that is one placeholder keeps its type.
            let bare = matches!(template.only(), Some(Name::Urgent | Name::Stage | Name::RefNumber));
            let quote: &[u8] = if bare { b"" } else { b"\"" };
            pieces.bytes(quote);
            if !pieces.template(&template, Position::Json, setting) {
                return Ok(None);
            }
            pieces.bytes(quote);
            return Ok(Some((pieces, needs(&template))));
        }
        toml::Value::Table(table) => pieces = object(table, setting)?,
        toml::Value::Array(items) => {
            pieces.bytes(b"[");
            let mut first = true;
            for item in items {
                let Some((item, _)) = json(item, setting)? else { continue };
                if !std::mem::take(&mut first) {
                    pieces.bytes(b",");
                }
                pieces.append(item);
            }
            pieces.bytes(b"]");
        }
        toml::Value::Integer(n) => pieces.bytes(n.to_string().as_bytes()),
        toml::Value::Float(n) => pieces.bytes(serde_json::Value::from(*n).to_string().as_bytes()),
        toml::Value::Boolean(flag) => pieces.bytes(flag.to_string().as_bytes()),
        toml::Value::Datetime(time) => pieces.bytes(format!("\"{time}\"").as_bytes()),
    }
    Ok(Some((pieces, Vec::new())))
}

/// Every string of a value.
pub fn strings(value: &toml::Value, out: &mut Vec<String>) {
    match value {
        toml::Value::String(text) => out.push(text.clone()),
        toml::Value::Table(table) => table.values().for_each(|value| strings(value, out)),
        toml::Value::Array(items) => items.iter().for_each(|value| strings(value, out)),
        _ => {}
    }
}

/// The values of a parcel without which what the template stands in is left out.
pub fn needs(template: &Template) -> Vec<Name> {
    let of_parcel = |name: &Name| !matches!(name, Name::Setting(_));
    template.names().filter(|(name, optional)| *optional && of_parcel(name)).map(|(name, _)| name.clone()).collect()
}
