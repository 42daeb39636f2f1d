//! Files of one kind, each with its name: those in the binary, and those of an operator's directory, which add or replace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rust_embed::RustEmbed;

use super::{ConfigError, suggest};

/// What a file of a kind is read as.
pub trait Kind: Sized {
    /// Those that ship.
    type Embedded: RustEmbed;
    /// As a message says it.
    const WORD: &str;
    /// Where those that ship are in the repository.
    const FOLDER: &str;

    fn parse(name: &str, text: &str, place: &str) -> Result<Self, ConfigError>;
}

#[derive(Debug)]
pub struct Files<T>(BTreeMap<String, Arc<T>>);

impl<T: Kind> Files<T> {
    pub fn load(directory: Option<&Path>) -> Result<Files<T>, ConfigError> {
        let mut files = Files(BTreeMap::new());
        for file in T::Embedded::iter().filter(|file| file.ends_with(".toml")) {
            let Some(found) = T::Embedded::get(&file) else { continue };
            files.add(&file, &String::from_utf8_lossy(&found.data), &format!("{}/{file}", T::FOLDER))?;
        }
        let Some(directory) = directory else { return Ok(files) };
        let unreadable = |path: &Path, error| ConfigError::Unreadable { path: path.into(), error };
        for entry in std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))? {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                files.add(&file, &text, &path.display().to_string())?;
            }
        }
        Ok(files)
    }

    fn add(&mut self, file: &str, text: &str, place: &str) -> Result<(), ConfigError> {
        let name = file.trim_end_matches(".toml");
        self.0.insert(name.into(), Arc::new(T::parse(name, text, place)?));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.values()
    }

    /// The one of that name, or what is wrong with the name.
    pub fn get(&self, name: &str) -> Result<&Arc<T>, String> {
        self.0.get(name).ok_or_else(|| {
            let near = suggest(name, self.0.keys().map(String::as_str));
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("unknown {} {name:?}{near} (known: {})", T::WORD, known.join(" "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::file::Platform;

    #[test]
    fn an_operators_file_adds_or_replaces_and_its_faults_have_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let load = || Files::<Platform>::load(Some(directory.path()));
        let outbox = "title = \"Ours\"\ndocs = \"https://example.org\"\ndriver = \"outbox\"\nkind = \"post\"\nformat = \"post\"\n[address]\nkind = \"x\"\npattern = '^x$'\nexample = \"x\"\n";
        std::fs::write(directory.path().join("outbox.toml"), outbox).expect("writes");
        std::fs::write(directory.path().join("ours.toml"), outbox).expect("writes");
        let platforms = load().expect("loads");
        assert_eq!(platforms.get("outbox").expect("there").title, "Ours");
        assert_eq!(platforms.get("ours").expect("there").title, "Ours");
        assert!(platforms.get("kannell").expect_err("unknown").contains("did you mean \"kannel\"?"));

        std::fs::write(directory.path().join("ours.toml"), "titel = \"x\"").expect("writes");
        let error = load().expect_err("refused").to_string();
        assert!(error.contains("ours.toml:1: unknown key \"titel\"; did you mean \"title\"?"), "{error}");
    }
}
