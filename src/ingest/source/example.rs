//! The examples of a source file, which are its tests: a document, and the events that it must give.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Format;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// A file below `examples/`.
    pub document: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of the signature, where it is the vendor's own.
    pub secret: Option<String>,
    pub event: Vec<Map<String, Value>>,
}

impl Format {
    /// What is wrong with the examples; `folder` holds their documents.
    pub fn check(&self, folder: &Path) -> Vec<String> {
        let mut wrong = Vec::new();
        for example in &self.examples {
            if let Err(said) = self.holds(example, folder) {
                wrong.push(format!("sources/{}.toml: {}: {said}", self.name, example.document));
            }
        }
        wrong
    }

    fn holds(&self, example: &Example, folder: &Path) -> Result<(), String> {
        let path = folder.join(&example.document);
        let body = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let document = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        let headers = lower(example.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let events = self.read(&document, &headers, &BTreeMap::new()).map_err(|wrong| wrong.to_string())?;
        let bare = |event: &Map<String, Value>| event.clone().into_iter().collect::<BTreeMap<_, _>>();
        let (given, expected): (Vec<_>, Vec<_>) =
            (events.iter().map(bare).collect(), example.event.iter().map(bare).collect());
        if given != expected {
            return Err(format!("gives {given:#?}\ninstead of {expected:#?}"));
        }
        for event in events {
            let incident = event.get("incident").cloned().unwrap_or_default();
            super::intake::event("example", super::native(event), crate::clock::Time(i64::MAX / 2))
                .map_err(|bad| format!("{incident} is no event: {bad}"))?;
        }
        match (&self.verify, &example.secret) {
            (Some(proof), Some(secret)) => {
                let mut signed = HeaderMap::new();
                for (name, value) in &headers {
                    let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
                    let (Ok(name), Ok(value)) = parsed else { return Err(format!("{name} is no header")) };
                    signed.insert(name, value);
                }
                if !proof.holds(secret, &signed, &body) {
                    return Err(format!("{} does not hold", proof.header()));
                }
                Ok(())
            }
            (None, Some(_)) => Err("has a secret, and the file has no [verify]".into()),
            _ => Ok(()),
        }
    }
}

/// Header names in lower case, as expressions name them.
pub fn lower<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    headers.map(|(name, value)| (name.to_lowercase(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Formats;
    use super::*;

    #[test]
    fn every_file_gives_what_its_examples_say_and_each_document_belongs_to_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/examples");
        let formats = Formats::load(None).expect("all load");
        let wrong: Vec<String> = formats.iter().flat_map(|format| format.check(&folder)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let mut used = std::collections::BTreeSet::new();
        for format in formats.iter() {
            let gives = |nothing: bool| format.examples.iter().any(|example| example.event.is_empty() == nothing);
            assert!(format.examples.len() >= 3 && gives(true) && gives(false), "{} has too few examples", format.name);
            used.extend(format.examples.iter().map(|example| example.document.clone()));
        }
        for folder_of in std::fs::read_dir(&folder).expect("a folder") {
            let folder_of = folder_of.expect("an entry");
            for file in std::fs::read_dir(folder_of.path()).expect("a folder") {
                let name = file.expect("an entry").file_name().into_string().expect("a name");
                let document = format!("{}/{name}", folder_of.file_name().to_string_lossy());
                assert!(used.contains(&document) || !name.ends_with(".json"), "no file has {document}");
            }
        }
    }

    #[test]
    fn an_example_that_is_wrong_is_named_with_what_comes_out() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.json"), r#"{"key":"k"}"#).expect("writes");
        let text = "title = \"T\"\ndocs = \"d\"\n[event]\nincident = \"'t/' ~ doc.key\"\n[[example]]\ndocument = \"a.json\"\n\
                    [[example.event]]\nincident = \"t/other\"\n";
        let format = Format::parse("t", text, "t.toml").expect("parses");
        let wrong = format.check(folder.path());
        assert!(wrong.len() == 1 && wrong[0].contains("t/k") && wrong[0].contains("t/other"), "{wrong:?}");
    }

    #[test]
    fn a_file_that_is_wrong_is_refused_with_its_line() {
        let parse = |text: &str| Format::parse("t", text, "t.toml").map(drop).map_err(|error| error.to_string());
        let head = "title = \"T\"\ndocs = \"d\"\n[event]\n";
        assert_eq!(parse(&format!("{head}incident = \"doc.key\"\n")), Ok(()));
        let error = parse(&format!("{head}incident = \"doc.key\"\nstate = \"1\"\n")).expect_err("unknown");
        assert_eq!(error, "t.toml:5: an event has no \"state\"; did you mean \"status\"?");
        let error = parse(&format!("{head}incident = \"doc.key |\"\n")).expect_err("broken");
        assert!(error.starts_with("t.toml:4: "), "{error}");
        assert!(parse(&format!("{head}title = \"1\"\n")).expect_err("no key").contains("needs incident"));
    }
}
