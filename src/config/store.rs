//! Where everything is kept, as the configuration says it.

use std::path::PathBuf;

use serde::Deserialize;

use super::secret::Secret;
use crate::store::postgres::Server;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub url: String,
    /// Of PostgreSQL's user.
    pub password: Secret,
    /// To PostgreSQL, at most.
    pub connections: usize,
}

#[derive(Debug, Clone)]
pub enum Place {
    File(PathBuf),
    Server(Server),
}

impl Store {
    /// The message begins with the key that is wrong.
    pub fn place(&self) -> Result<Place, String> {
        let scheme = self.url.split_once(':').map_or("", |(scheme, _)| scheme);
        match (scheme, self.url.strip_prefix("sqlite:")) {
            (_, Some(path)) if !path.is_empty() => Ok(Place::File(path.into())),
            ("postgres" | "postgresql", _) => Server::parse(&self.url, self.password.clone())
                .map(Place::Server)
                .map_err(|why| format!("store.url: {why}")),
            // What is not read may hold a password.
            _ => Err(format!(
                "store.url: {:?} is not a store; write sqlite:FILE or postgres://user@host:5432/database",
                self.url.split('@').next_back().unwrap_or_default()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn refused(text: &str) -> String {
        Config::from_toml(text, "own.toml", std::iter::empty()).expect_err("refused").to_string()
    }

    #[test]
    fn a_store_that_is_none_is_refused_with_its_line() {
        let error = refused("[store]\nconnections = 4\nurl = \"postgres://app@db/alerts?sslmod=require\"\n");
        assert_eq!(error, "own.toml:3: store.url: option \"sslmod\" is not known; did you mean \"sslmode\"?");
        let error = refused("[store]\nurl = \"postgres://app:hunter2@db/alerts\"\n");
        assert!(error.starts_with("own.toml:2: store.url: ") && !error.contains("hunter2"), "{error}");
        let error = refused("\n[store]\nurl = \"mysql://app:hunter2@db/alerts\"\n");
        assert!(error.starts_with("own.toml:3: store.url: ") && !error.contains("hunter2"), "{error}");
        let error = refused("[store]\nconnections = 1\n");
        assert!(error.starts_with("own.toml:2: store.connections: "), "{error}");
        let error = refused("[store]\npassword = { file = \"/nonexistent/password\" }\n");
        assert!(error.starts_with("own.toml:2: store.password: /nonexistent/password"), "{error}");
    }
}
