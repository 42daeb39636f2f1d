//! What the operator sets for a Kafka channel, as librdkafka's own settings. Errors name the setting.

use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::channel::publish::{Settings, patience, setting};

/// What Kafka's brokers offer; GSSAPI and OAUTHBEARER are not built in.
const MECHANISMS: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"];

pub(super) struct Checked {
    pub client: ClientConfig,
    pub patience: Duration,
    pub password: Option<String>,
}

pub(super) fn read(settings: &Settings) -> Result<Checked, String> {
    let get = |name: &str| setting(settings, name);
    let brokers = get("brokers").ok_or("brokers: missing; write host:9092, several separated by commas")?;
    let loopback = brokers.split(',').map(host).collect::<Result<Vec<_>, _>>()?.into_iter().all(|loopback| loopback);
    let tls = match get("tls") {
        None => !loopback,
        Some("required") => true,
        Some("none") => false,
        Some(_) => return Err("tls: expected none or required".into()),
    };
    let login = match (get("user"), get("password")) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        (None, Some(_)) => return Err("user: missing beside password".into()),
        (Some(_), None) => return Err("password: missing beside user".into()),
    };
    let mechanism = get("mechanism").unwrap_or(MECHANISMS[0]);
    if !MECHANISMS.contains(&mechanism) {
        return Err(format!("mechanism: expected one of {}", MECHANISMS.join(", ")));
    }
    if login.is_some() && mechanism == "PLAIN" && !tls && !loopback {
        return Err("mechanism: with PLAIN the password would travel in clear text; set tls = \"required\"".into());
    }
    let patience = patience(settings)?;
    let mut client = ClientConfig::new();
    client.set_log_level(RDKafkaLogLevel::Warning);
    client.set("bootstrap.servers", brokers).set("client.id", "loudhailer").set("log.connection.close", "false");
    let protocol = match (login.is_some(), tls) {
        (false, false) => "plaintext",
        (false, true) => "ssl",
        (true, false) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    // librdkafka's own repeats within this time are the same record to the broker, and so not a second one.
    client.set("enable.idempotence", "true").set("acks", "all");
    client.set("message.timeout.ms", patience.as_millis().max(1000).to_string());
    // A topic that is not there is known to be missing before the record has waited in vain.
    client.set("topic.metadata.propagation.max.ms", "5000").set("reconnect.backoff.max.ms", "5000");
    if let Some((user, password)) = login {
        client.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
    }
    if tls && let Some(file) = get("ca_file") {
        std::fs::metadata(file).map_err(|error| format!("ca_file: {file}: {error}"))?;
        client.set("ssl.ca.location", file);
    }
    Ok(Checked { client, patience, password: login.map(|(_, password)| password.to_string()) })
}

/// Whether a broker is on this machine.
fn host(broker: &str) -> Result<bool, String> {
    let (host, port) = broker.trim().rsplit_once(':').unwrap_or((broker.trim(), "9092"));
    if host.is_empty() || host.contains(['/', '@', ' ']) || port.parse::<u16>().is_err() {
        return Err("brokers: expected host:port, several separated by commas".into());
    }
    let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    Ok(host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn read(pairs: &[(&str, &str)]) -> Result<Checked, String> {
        super::read(&pairs.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect())
    }

    #[test]
    fn the_protocol_follows_from_login_and_tls_which_is_left_out_on_this_machine_alone() {
        let login = [("user", "u"), ("password", "p")];
        for (broker, more, expected) in [
            ("127.0.0.1:9092", &[][..], "plaintext"),
            ("localhost:9092,[::1]:9092", &login, "sasl_plaintext"),
            ("kafka.example:9092", &[], "ssl"),
            ("kafka.example,127.0.0.1", &login, "sasl_ssl"),
            ("kafka.example:9092", &[("tls", "none")], "plaintext"),
        ] {
            let client = read(&[&[("brokers", broker)], more].concat()).expect(broker).client;
            assert_eq!(client.get("security.protocol"), Some(expected), "{broker}");
            assert_eq!((client.get("enable.idempotence"), client.get("acks")), (Some("true"), Some("all")));
        }
    }

    #[test]
    fn an_error_names_the_setting_and_shows_no_password() {
        let broker = ("brokers", "kafka.example:9092");
        for (pairs, error) in [
            (vec![], "brokers: missing"),
            (vec![("brokers", "u:hunter2@kafka.example:9092")], "brokers: expected"),
            (vec![("brokers", "kafka.example:port")], "brokers: expected"),
            (vec![broker, ("tls", "perhaps")], "tls: expected"),
            (vec![broker, ("user", "u")], "password: missing"),
            (vec![broker, ("password", "hunter2")], "user: missing"),
            (vec![broker, ("mechanism", "GSSAPI")], "mechanism: expected one of SCRAM-SHA-512"),
            (
                vec![broker, ("tls", "none"), ("mechanism", "PLAIN"), ("user", "u"), ("password", "hunter2")],
                "mechanism: with PLAIN the password would travel",
            ),
            (vec![broker, ("ca_file", "/nowhere.pem")], "ca_file: /nowhere.pem"),
            (vec![broker, ("timeout", "soon")], "timeout: "),
        ] {
            let shown = read(&pairs).err().expect(error);
            assert!(shown.starts_with(error) && !shown.contains("hunter2"), "{shown}");
        }
    }
}
