//! The listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use crate::quantity::{Limit, Size};

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: SocketAddr,
    /// Empty, as the key is: plain HTTP.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub public_url: String,
    pub trusted_proxies: Vec<String>,
    pub body_limit: Size,
    pub rate: Limit,
    pub workers: usize,
    pub queue: usize,
}

impl Server {
    /// What the listener speaks.
    pub fn scheme(&self) -> &'static str {
        if self.certificate.as_os_str().is_empty() { "http" } else { "https" }
    }

    /// Where a program of this machine finds the listener.
    pub fn near(&self) -> SocketAddr {
        let mut near = self.listen;
        match near.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => near.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => near.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        near
    }

    /// What is wrong, with its key.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match (self.certificate.as_os_str().is_empty(), self.key.as_os_str().is_empty()) {
            (false, true) => Err(("certificate", "needs server.key: set both, or neither")),
            (true, false) => Err(("key", "needs server.certificate: set both, or neither")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_certificate_and_its_key_come_together_and_then_it_is_https() {
        let read = |text: &str| Config::from_toml(text, "own.toml", std::iter::empty());
        let refused = |text: &str| read(text).expect_err("refused").to_string();
        let error = refused("[server]\nworkers = 1\nkey = \"tls.key\"\n");
        assert_eq!(error, "own.toml:3: server.key: needs server.certificate: set both, or neither");
        let error = refused("[server]\ncertificate = \"tls.pem\"\n");
        assert_eq!(error, "own.toml:2: server.certificate: needs server.key: set both, or neither");
        let both = read("[server]\ncertificate = \"tls.pem\"\nkey = \"tls.key\"\n").expect("reads");
        assert_eq!(both.public_url(), "https://127.0.0.1:8080");
        assert_eq!(read("").expect("reads").public_url(), "http://127.0.0.1:8080");
    }

    #[test]
    fn a_program_of_this_machine_finds_a_listener_on_every_address() {
        for (listen, near) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.1.2.3:4", "10.1.2.3:4")] {
            let config =
                Config::from_toml(&format!("[server]\nlisten = \"{listen}\"\n"), "own.toml", std::iter::empty());
            assert_eq!(config.expect("reads").server.near().to_string(), near);
        }
    }
}
