//! The platforms at hand: the files embedded in the binary, and those of an operator's directory, which add or replace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::file::Platform;
use super::template::suggest;
use crate::audience::import::{Validator, Validators};
use crate::config::ConfigError;

#[derive(rust_embed::RustEmbed)]
#[folder = "channels/"]
struct Embedded;

#[derive(Debug, Clone, Default)]
pub struct Platforms(BTreeMap<String, Arc<Platform>>);

impl Platforms {
    pub fn embedded() -> Result<Platforms, ConfigError> {
        let mut platforms = Platforms::default();
        for name in Embedded::iter().filter(|name| name.ends_with(".toml")) {
            let Some(file) = Embedded::get(&name) else { continue };
            platforms.add(&name, &String::from_utf8_lossy(&file.data), &format!("channels/{name}"))?;
        }
        Ok(platforms)
    }

    /// The embedded ones, then those of `directory`; an empty path is none.
    pub fn load(directory: &Path) -> Result<Platforms, ConfigError> {
        let mut platforms = Platforms::embedded()?;
        if directory.as_os_str().is_empty() {
            return Ok(platforms);
        }
        let unreadable = |path: &Path, error| ConfigError::Unreadable { path: path.into(), error };
        let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(directory, error))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                platforms.add(&name, &text, &path.display().to_string())?;
            }
        }
        Ok(platforms)
    }

    fn add(&mut self, file: &str, text: &str, place: &str) -> Result<(), ConfigError> {
        let name = file.trim_end_matches(".toml");
        self.0.insert(name.into(), Arc::new(Platform::parse(name, text, place)?));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Platform>> {
        self.0.values()
    }

    /// What each kind of address looks like: one that any platform of the kind takes is one.
    pub fn validators(&self) -> Validators {
        let mut kinds: BTreeMap<String, Vec<Arc<Platform>>> = BTreeMap::new();
        for platform in self.iter() {
            kinds.entry(platform.address.kind.clone()).or_default().push(platform.clone());
        }
        let validator = |platforms: Vec<Arc<Platform>>| -> Validator {
            Arc::new(move |text| {
                let mut refused = String::new();
                for platform in &platforms {
                    match platform.address(text) {
                        Ok(address) => return Ok(address),
                        Err(why) => refused = why,
                    }
                }
                Err(refused)
            })
        };
        kinds.into_iter().map(|(kind, platforms)| (kind, validator(platforms))).collect()
    }

    /// The platform of that name, or what is wrong with the name.
    pub fn get(&self, name: &str) -> Result<&Arc<Platform>, String> {
        self.0.get(name).ok_or_else(|| {
            let near = suggest(name, self.0.keys().map(String::as_str));
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            format!("unknown platform {name:?}{near} (known: {})", known.join(" "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_file_adds_or_replaces_and_its_faults_have_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let outbox = "title = \"Ours\"\ndocs = \"https://example.org\"\ndriver = \"outbox\"\nkind = \"post\"\nformat = \"post\"\n[address]\nkind = \"x\"\npattern = '^x$'\nexample = \"x\"\n";
        std::fs::write(directory.path().join("outbox.toml"), outbox).expect("writes");
        std::fs::write(directory.path().join("ours.toml"), outbox).expect("writes");
        let platforms = Platforms::load(directory.path()).expect("loads");
        assert_eq!(platforms.get("outbox").expect("there").title, "Ours");
        assert_eq!(platforms.get("ours").expect("there").title, "Ours");
        assert!(platforms.get("kannell").expect_err("unknown").contains("did you mean \"kannel\"?"));

        std::fs::write(directory.path().join("ours.toml"), "titel = \"x\"").expect("writes");
        let error = Platforms::load(directory.path()).expect_err("refused").to_string();
        assert!(error.contains("ours.toml:1: unknown key \"titel\"; did you mean \"title\"?"), "{error}");
    }
}
