//! Who is at the other end. `X-Forwarded-For` is believed as far as trusted proxies wrote it, and no further. Pure.

use std::net::IpAddr;

/// An address with the bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// `10.0.0.0/8`, `fd00::/8` or a single address.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong =
            || format!("server.trusted_proxies: {text:?} is neither an address nor a network such as 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.trim().parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?,
            None => most,
        };
        Ok(Network { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u128::from(own.to_bits()) << 96, u128::from(other.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same(a: u128, b: u128, bits: u32) -> bool {
    bits == 0 || (a ^ b) >> (128 - bits.min(128)) == 0
}

/// The client's address: the last hop that is no trusted proxy.
pub fn client(peer: IpAddr, forwarded: &[&str], trusted: &[Network]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let mut nearest = peer;
    for hop in forwarded.iter().flat_map(|line| line.split(',')).rev() {
        let Ok(hop) = hop.trim().parse::<IpAddr>() else { return nearest };
        nearest = hop.to_canonical();
        if !is_trusted(nearest) {
            return nearest;
        }
    }
    nearest
}

/// What requests are counted by: an IPv6 client has a whole /64.
pub fn counted(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

/// The network that an address belongs to, about as large as one household, company or mobile cell: /24, or /48.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 80 << 80).into()),
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() >> 8 << 8).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_only_from_trusted_proxies() {
        let trusted = [Network::parse("10.0.0.0/8").expect("network"), Network::parse("fd00::1").expect("address")];
        for (peer, forwarded, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.1.2.3", &["198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", &["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", &["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.1.2.3", &["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
            ("10.1.2.3", &["x, 10.9.9.9"], "10.9.9.9"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("fd00::1", &["2001:db8::7"], "2001:db8::7"),
            ("fd00::2", &["2001:db8::7"], "fd00::2"),
            ("::ffff:10.1.2.3", &["198.51.100.1"], "198.51.100.1"),
        ] {
            let client = client(peer.parse().expect("address"), forwarded, &trusted);
            assert_eq!(client.to_string(), expected, "{peer} {forwarded:?}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "x"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_whole_64_counts_as_one_client() {
        let at = |text: &str| counted(text.parse().expect("address"));
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), at("2001:db8:1:2::"));
        assert_ne!(at("2001:db8:1:2::"), at("2001:db8:1:3::"));
    }
}
