//! The platforms at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::file::Platform;
use crate::audience::import::{Validator, Validators};
use crate::config::ConfigError;
use crate::config::files::{Files, Kind};

#[derive(rust_embed::RustEmbed)]
#[folder = "channels/"]
pub struct Embedded;

pub type Platforms = Files<Platform>;

impl Kind for Platform {
    type Embedded = Embedded;
    const WORD: &str = "platform";
    const FOLDER: &str = "channels";

    fn parse(name: &str, text: &str, place: &str) -> Result<Platform, ConfigError> {
        Platform::parse(name, text, place)
    }
}

impl Platforms {
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
}
