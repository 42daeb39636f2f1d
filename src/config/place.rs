//! Where in the operator's file an error stands, and the nearest right name.

pub(super) fn place(text: &str, name: &str, span: Option<std::ops::Range<usize>>) -> String {
    match span {
        Some(span) => format!("{name}:{}", text[..span.start.min(text.len())].matches('\n').count() + 1),
        None => name.into(),
    }
}

/// The keys that lead to what an error of a merged table is about.
pub(super) fn path_of(error: &toml::de::Error) -> Vec<String> {
    let said = error.to_string();
    let within = said.trim_end().rsplit_once("\nin `").map(|(_, path)| path.trim_end_matches('`'));
    let mut path: Vec<String> = within.into_iter().flat_map(|path| path.split('.')).map(String::from).collect();
    if let Some(("unknown field ", rest)) = error.message().split_once('`')
        && let Some((field, _)) = rest.split_once('`')
        && path.last().is_none_or(|last| last != field)
    {
        path.push(field.into());
    }
    path
}

/// Where the operator's file says what these keys lead to, as far as it does: the merged table has no places of its own.
pub(super) fn place_of(text: &str, name: &str, path: &[String]) -> String {
    let Ok(table) = toml::de::DeTable::parse(text) else { return name.into() };
    let mut table = table.get_ref();
    let mut span = None;
    for key in path {
        let Some((key, value)) = table.get_key_value(key.as_str()) else { break };
        span = Some(key.span());
        let toml::de::DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    place(text, name, span)
}

/// `; did you mean "…"?`, or nothing if no name is near.
pub fn suggest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| (strsim::levenshtein(given, name), name))
        .filter(|(distance, name)| *distance <= 3 && *distance < name.len())
        .min()
        .map_or(String::new(), |(_, name)| format!("; did you mean {name:?}?"))
}

/// Names the nearest right name where serde names all.
pub(crate) fn nearest(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let Some(given) = names.next().filter(|_| message.starts_with("unknown field")) else { return message.into() };
    match suggest(given, names) {
        near if near.is_empty() => message.into(),
        near => format!("unknown key {given:?}{near}"),
    }
}
