//! Which clients are believed what they say of others: `Forwarded`, `X-Forwarded-For` and the like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks of clients that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust(Vec<Network>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// As IPv6, IPv4 mapped.
    address: u128,
    /// Bits that count.
    bits: u32,
}

/// Networks that only neighbours have: loopback, link-local, private ones (RFC 1918, RFC 4193), shared ones (RFC 6598).
const NEIGHBOURS: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

impl Trust {
    /// Whether a client at this address is believed.
    pub fn covers(&self, address: IpAddr) -> bool {
        let address = mapped(address);
        let same = |network: &Network| {
            let shift = 128 - network.bits;
            address.checked_shr(shift).unwrap_or(0) == network.address.checked_shr(shift).unwrap_or(0)
        };
        self.0.iter().any(same)
    }
}

impl Default for Trust {
    /// Neighbours: clients that are in the same cluster, or on the same machine.
    fn default() -> Trust {
        Trust(NEIGHBOURS.iter().filter_map(|text| network(text)).collect())
    }
}

impl FromStr for Trust {
    type Err = String;

    /// `all`, `none`, `neighbours`, or networks separated by commas.
    fn from_str(text: &str) -> Result<Trust, String> {
        match text {
            "none" => Ok(Trust(Vec::new())),
            "all" => Ok(Trust(vec![Network { address: 0, bits: 0 }])),
            "neighbours" => Ok(Trust::default()),
            list => {
                let read = |part: &str| {
                    network(part.trim())
                        .ok_or(format!("{part:?} is no network, write for instance 10.0.0.0/8"))
                };
                list.split(',').map(read).collect::<Result<_, _>>().map(Trust)
            }
        }
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
    Some(Network { address: mapped(address), bits: bits + 128 - most })
}

fn mapped(address: IpAddr) -> u128 {
    let v6: Ipv6Addr = match address {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4),
        IpAddr::V6(v6) => v6,
    };
    v6.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(trust: &str, address: &str) -> bool {
        trust.parse::<Trust>().unwrap().covers(address.parse().unwrap())
    }

    #[test]
    fn networks_cover_their_addresses() {
        assert!(
            covers("10.0.0.0/8, 192.0.2.7", "10.255.0.1") && covers("10.0.0.0/8, 192.0.2.7", "192.0.2.7")
        );
        assert!(!covers("10.0.0.0/8, 192.0.2.7", "192.0.2.8"));
        assert!(covers("10.0.0.0/8", "::ffff:10.0.0.1") && !covers("2001:db8::/32", "10.0.0.1"));
        assert!(covers("2001:db8::/32", "2001:db8::1"));
        assert!(covers("all", "8.8.8.8") && covers("all", "2001::1") && !covers("none", "127.0.0.1"));
        assert!(covers("neighbours", "127.0.0.1") && covers("neighbours", "fd00::1"));
        assert!(!covers("neighbours", "8.8.8.8") && !covers("neighbours", "2001::1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "x", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/8,"] {
            assert!(text.parse::<Trust>().is_err(), "{text:?}");
        }
    }
}
