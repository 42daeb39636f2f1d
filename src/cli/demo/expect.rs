//! How many messages the demo should lead to: counted from the text of the import file and the list of scenes, by code that
//! shares nothing with the engine, so that both can be wrong only in different ways.

use std::collections::BTreeMap;

use anyhow::Context;

use super::people::NO_MAILBOXES;

/// Who speaks to whom by which ways, as the demo's plan has it: the first audience of a person owns them.
const WAYS: &[(&str, &[&[&str]])] = &[
    ("executives", &[&["whatsapp", "telegram", "slack"], &["phone", "email"]]),
    ("staff", &[&["whatsapp", "telegram", "slack"], &["phone"], &["email"]]),
    ("public", &[&["url", "telegram"]]),
    ("businesses", &[&["url"], &["email"], &["phone"]]),
    ("press", &[&["email"]]),
    ("regulators", &[&["email"]]),
    ("customers", &[&["whatsapp", "telegram", "slack"], &["phone"], &["email"]]),
];

/// What the incident touches.
const TOUCHED: &[&str] = &["facebook", "instagram", "whatsapp", "messenger"];

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub messages: u64,
    /// Recipients that no way reached, each scene counting.
    pub unreachable: u64,
}

/// `down_at`: for each scene, whether WhatsApp is down. In the last one only those are told who were told before.
pub fn count(file: &str, down_at: &[bool]) -> anyhow::Result<Expected> {
    let mut reader = csv::Reader::from_reader(file.as_bytes());
    let names = reader.headers().context("the demo's file has no header")?.clone();
    let mut expected = Expected::default();
    for record in reader.records() {
        let record = record.context("the demo's file")?;
        let row: BTreeMap<&str, &str> = names.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty()).collect();
        let list = |name: &str| row.get(name).into_iter().flat_map(|cell| cell.split(';')).collect::<Vec<_>>();
        let (audiences, wants) = (list("audiences"), list("components"));
        let Some((audience, ways)) = WAYS.iter().find(|(audience, _)| audiences.contains(audience)) else { continue };
        if !wants.is_empty() && !wants.iter().any(|wanted| TOUCHED.contains(wanted)) {
            continue;
        }
        for (scene, down) in down_at.iter().enumerate() {
            let usable = |kind: &&&str| match **kind {
                "whatsapp" => row.contains_key("whatsapp") && !down,
                "email" => row.get("email_verified") == Some(&"true") && !row["email"].ends_with(NO_MAILBOXES),
                kind => row.contains_key(kind),
            };
            // Chats and outlets are one member of a route, of which the first address serves; executives get both of the second.
            let several = |way: usize| *audience == "executives" && way == 1;
            let found = ways.iter().enumerate().find_map(|(at, way)| match way.iter().filter(usable).count() {
                0 => None,
                kinds => Some(if several(at) { kinds } else { 1 }),
            });
            match found {
                Some(messages) => expected.messages += messages as u64,
                None if scene + 1 < down_at.len() => expected.unreachable += 1,
                None => {} // never told, so the end is no news to them
            }
        }
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::super::people;
    use super::*;

    #[test]
    fn each_rule_counts() {
        let head = "audiences,components,whatsapp,phone,email,email_verified\n";
        let count = |row: &str, down: &[bool]| {
            let expected = count(&format!("{head}{row}\n"), down).expect("counts");
            (expected.messages, expected.unreachable)
        };
        assert_eq!(count("customers,,,+1,a@b,true", &[true, false]), (2, 0));
        assert_eq!(
            count("executives;staff,,+1,+1,a@b,true", &[true, false]),
            (3, 0),
            "two ways at once, then the chat"
        );
        assert_eq!(count("customers,workplace,,+1,,", &[true, false]), (0, 0), "not interested");
        assert_eq!(count("customers,workplace;whatsapp,,+1,,", &[true, false]), (2, 0));
        assert_eq!(count("customers,,,,a@gone.example,true", &[true, true, false]), (0, 2), "refused");
        assert_eq!(count("customers,,,,a@b,false", &[true, false]), (0, 1), "unverified");
        assert_eq!(count("customers,,,,,", &[true, false]), (0, 1), "without an address");
    }

    #[test]
    fn the_scenario_states_how_many_are_unreachable() {
        let file = people::csv("http://127.0.0.1:1/hooks");
        let expected = count(&file, &[true, true, false]).expect("counts");
        assert_eq!(expected.unreachable, 2 * people::UNREACHABLE as u64);
    }
}
