//! A text that never shows itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// Given as it is, or as `{ file = "…" }` or `{ env = "…" }`, read when the configuration is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Number(i64),
            Flag(bool),
            From(From),
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct From {
            file: Option<PathBuf>,
            env: Option<String>,
        }
        match Form::deserialize(d)
            .map_err(|_| D::Error::custom("expected a text, { file = \"…\" } or { env = \"…\" }"))?
        {
            Form::Text(text) => Ok(Secret(text)),
            Form::Number(number) => Ok(Secret(number.to_string())),
            Form::Flag(flag) => Ok(Secret(flag.to_string())),
            Form::From(From { file: Some(path), env: None }) => std::fs::read_to_string(&path)
                .map(|text| Secret(text.trim_end_matches(['\r', '\n']).into()))
                .map_err(|error| D::Error::custom(format!("{}: {error}", path.display()))),
            Form::From(From { file: None, env: Some(name) }) => {
                std::env::var(&name).map(Secret).map_err(|_| D::Error::custom(format!("the environment has no {name}")))
            }
            Form::From(_) => Err(D::Error::custom("give either file or env")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_secret_does_not_show_itself() {
        let text = "[channels.x]\nplatform = \"kannel\"\n[channels.x.settings]\npassword = \"hunter2\"\n";
        let config = Config::from_toml(text, "own.toml", std::iter::empty()).expect("reads");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.channels["x"].settings["password"].expose(), "hunter2");
    }
}
