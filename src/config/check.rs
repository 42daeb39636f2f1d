//! What no type says of a configuration: values that are each right, and wrong where they stand. The first that is found is told, with the
//! keys that lead to it.

use super::Config;

pub struct Misfit {
    pub path: Vec<String>,
    pub why: String,
}

pub fn check(config: &Config) -> Result<(), Misfit> {
    let at = |section: &str, key: &str, why: &dyn std::fmt::Display| Misfit {
        path: vec![section.into(), key.into()],
        why: format!("{section}.{key}: {why}"),
    };
    if config.signals.origins < 2 {
        return Err(at("signals", "origins", &"one origin alone proposes nothing; write 2 or more"));
    }
    if config.store.connections < 2 {
        return Err(at("store", "connections", &"reading waits for writing over one; write 2 or more"));
    }
    config.server.check().map_err(|(key, why)| at("server", key, &why))?;
    config.heartbeat.check().map_err(|(key, why)| at("heartbeat", key, &why))?;
    config.kafka.check().map_err(|why| at("kafka", "outcomes", &why))?;
    // What they say begins with the key.
    config.store.place().map_err(|why| Misfit { path: vec!["store".into(), "url".into()], why })?;
    crate::watch::check(config).map_err(|(watcher, misfit)| Misfit {
        path: ["watchers", &watcher, misfit.key].map(String::from).into(),
        why: format!("watchers.{watcher}.{misfit}"),
    })
}
