//! Which addresses a webhook may reach. Names are resolved here and the address that was checked is the one connected to, at
//! every connection, so that a resolver that changes its mind cannot slip through.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use async_trait::async_trait;
use tokio::net::TcpStream;

/// Names and connections. A seam, so that a test can play a resolver that rebinds.
#[async_trait]
pub trait Network: Send + Sync {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// The operating system's.
pub struct System;

#[async_trait]
impl Network for System {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Whether targets inside our own networks are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The operator wrote the address, or allows private ones.
    Open,
    PublicOnly,
}

#[derive(Debug)]
pub enum Refused {
    /// The reason names no address.
    Forbidden(&'static str),
    Unresolved(io::Error),
}

impl Guard {
    /// The addresses to connect to. One forbidden address among several refuses them all: a public host has none.
    pub async fn addresses(
        self,
        network: &dyn Network,
        host: &url::Host<String>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, Refused> {
        let addresses = match host {
            url::Host::Ipv4(ip) => vec![SocketAddr::from((*ip, port))],
            url::Host::Ipv6(ip) => vec![SocketAddr::from((*ip, port))],
            url::Host::Domain(name) => network.resolve(name, port).await.map_err(Refused::Unresolved)?,
        };
        if self == Guard::PublicOnly
            && let Some(reason) = addresses.iter().find_map(|address| forbidden(address.ip()))
        {
            return Err(Refused::Forbidden(reason));
        }
        match addresses.is_empty() {
            true => Err(Refused::Unresolved(io::Error::new(io::ErrorKind::NotFound, "no address"))),
            false => Ok(addresses),
        }
    }
}

/// Why an address is not one of the public internet; `None` if it is.
pub fn forbidden(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

/// IANA's registry of special-purpose IPv4 addresses, multicast and the reserved block.
fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (0, ..) => Some("an unspecified address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (127, ..) => Some("a loopback address"),
        (169, 254, _) => Some("a link-local address"),
        (100, 64..=127, _) => Some("an address of a carrier's shared space"),
        (192, 0, 0) | (192, 88, 99) => Some("an address of a protocol"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("an address for documentation"),
        (198, 18..=19, _) => Some("an address for benchmarks"),
        (224..=239, ..) => Some("a multicast address"),
        (240..=255, ..) => Some("a reserved address"),
        _ => None,
    }
}

/// Only global unicast space is public, less its special blocks; what carries an IPv4 address is judged by it.
fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let s = ip.segments();
    let last = Ipv4Addr::from_bits((u32::from(s[6]) << 16) | u32::from(s[7]));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        // mapped ::ffff:a.b.c.d, compatible ::a.b.c.d, translated ::ffff:0:a.b.c.d
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            Some(forbidden_v4(last).unwrap_or("an IPv4 address written as IPv6"))
        }
        // NAT64 (RFC 6052): the way out of an IPv6-only network.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => forbidden_v4(last),
        [0x64, 0xff9b, ..] => Some("an address of a local translator"),
        [0x2002, ..] => Some("an address of 6to4"),
        [0x2001, 0, ..] => Some("an address of Teredo"),
        [0x2001, 0x1..=0x1ff, ..] => Some("an address of a protocol"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("an address for documentation"),
        [0xfc00..=0xfdff, ..] => Some("a private address"),
        [0xfe80..=0xfebf, ..] => Some("a link-local address"),
        [0xfec0..=0xfeff, ..] => Some("a site-local address"),
        [0xff00..=0xffff, ..] => Some("a multicast address"),
        // ISATAP (RFC 5214) carries an IPv4 address in its interface's id.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some("an address of ISATAP"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a subscriber may write it, through the parser that the driver uses.
    fn judged(host: &str) -> Option<&'static str> {
        match url::Url::parse(&format!("https://{host}/x")).expect(host).host().expect(host) {
            url::Host::Ipv4(ip) => forbidden(ip.into()),
            url::Host::Ipv6(ip) => forbidden(ip.into()),
            url::Host::Domain(name) => panic!("{name} was taken for a name"),
        }
    }

    #[test]
    fn every_form_of_an_inner_address_is_refused() {
        let refused = [
            // loopback: dotted, decimal, octal, hexadecimal, short, mixed, with a final dot
            "127.0.0.1",
            "127.255.255.254",
            "2130706433",
            "0177.0.0.1",
            "017700000001",
            "0x7f000001",
            "0x7f.0.0.1",
            "127.1",
            "127.0.1",
            "0x7F.1",
            "0177.0x0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            // unspecified, private, link-local (clouds' metadata), carrier's shared space
            "0.0.0.0",
            "0",
            "0.1.2.3",
            "10.0.0.1",
            "167772161",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "3232235777",
            "0xc0a80101",
            "169.254.169.254",
            "2852039166",
            "100.64.0.1",
            "100.127.255.255",
            // protocols, documentation, benchmarks, multicast, reserved, broadcast
            "192.0.0.8",
            "192.88.99.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            // IPv6 of its own
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[fe80::1]",
            "[febf::1]",
            "[fec0::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[100::1]",
            "[5f00::1]",
            "[4000::1]",
            // IPv4 within IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:10.0.0.1]",
            "[::ffff:8.8.8.8]",
            "[::127.0.0.1]",
            "[::7f00:1]",
            "[::ffff:0:127.0.0.1]",
            "[64:ff9b::127.0.0.1]",
            "[64:ff9b::a00:1]",
            "[64:ff9b:1::1]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[2001::1]",
            "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
            "[2001:20::1]",
            "[2a00::5efe:127.0.0.1]",
            "[2a00::200:5efe:10.0.0.1]",
        ];
        for host in refused {
            assert!(judged(host).is_some(), "{host} was allowed");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        let allowed = [
            "8.8.8.8",
            "134744072",
            "1.1.1.1",
            "172.15.255.255",
            "172.32.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "169.253.1.1",
            "192.167.1.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "[2606:4700::1111]",
            "[2a00:1450:4001:81b::200e]",
            "[2001:4860:4860::8888]",
            "[64:ff9b::8.8.8.8]",
        ];
        for host in allowed {
            assert_eq!(judged(host), None, "{host}");
        }
    }

    struct Says(Vec<&'static str>);

    #[async_trait]
    impl Network for Says {
        async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            Ok(self.0.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), port)).collect())
        }
    }

    #[tokio::test]
    async fn a_name_with_one_inner_address_among_its_addresses_is_refused() {
        let host = url::Host::Domain("a.example".to_string());
        let both = Says(vec!["8.8.8.8", "10.0.0.1"]);
        assert!(matches!(
            Guard::PublicOnly.addresses(&both, &host, 443).await,
            Err(Refused::Forbidden("a private address"))
        ));
        assert_eq!(Guard::Open.addresses(&both, &host, 443).await.expect("allowed").len(), 2);
        assert!(matches!(Guard::PublicOnly.addresses(&Says(vec![]), &host, 443).await, Err(Refused::Unresolved(_))));
    }
}
