//! A block of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A block of addresses that share their first bits (RFC 4632), written `10.1.0.0/16`; a single
/// address may be written without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    first: IpAddr,
    bits: u8,
}

/// Text that is no block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no block of addresses: write 10.1.0.0/16 (the bits after the prefix zero) or 10.1.0.1"
)]
pub struct PrefixError(String);

impl Prefix {
    /// The lowest address of the block.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The length of the prefix in bits.
    #[must_use]
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether the block is one address.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.bits == width(self.first)
    }

    /// The `nth` address of the block, from 0; none beyond its end.
    #[must_use]
    pub fn nth(&self, nth: u32) -> Option<IpAddr> {
        let address = match self.first {
            IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().checked_add(nth)?)),
            IpAddr::V6(first) => {
                IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().checked_add(nth.into())?))
            }
        };
        self.contains(address).then_some(address)
    }

    /// Whether the address lies in the block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.bits);
                (first.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let host_bits = 128 - u32::from(self.bits);
                (first.to_bits() ^ address.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { first: address, bits: width(address) }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let wrong = || PrefixError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| wrong())?,
            None => width(first),
        };
        let host_bits = u32::from(width(first)).checked_sub(u32::from(bits)).ok_or_else(wrong)?;
        let trailing_zeros = match first {
            IpAddr::V4(first) => first.to_bits().trailing_zeros(),
            IpAddr::V6(first) => first.to_bits().trailing_zeros(),
        };
        if trailing_zeros < host_bits { Err(wrong()) } else { Ok(Self { first, bits }) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block holds its first and its last address and neither neighbour.
    #[test]
    fn blocks_have_sharp_edges() {
        let cases = [
            ("10.1.0.0/16", "10.1.0.0", true),
            ("10.1.0.0/16", "10.1.255.255", true),
            ("10.1.0.0/16", "10.0.255.255", false),
            ("10.1.0.0/16", "10.2.0.0", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "ff::1", true),
            ("fd00:1::/32", "fd00:1:ffff::1", true),
            ("fd00:1::/32", "fd00:2::", false),
        ];
        for (block, address, inside) in cases {
            let block: Prefix = block.parse().unwrap();
            assert_eq!(block.contains(address.parse().unwrap()), inside, "{block} {address}");
        }
    }

    /// What is no block is refused; what is one is written as it was read.
    #[test]
    fn text_is_read_strictly() {
        for wrong in ["", "10.1.0.0/33", "10.1.0.1/16", "10.1/16", "::1/129", "10.1.0.0/-1", "x/8"]
        {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
        for good in ["10.1.0.0/16", "0.0.0.0/0", "fd00::/8"] {
            assert_eq!(good.parse::<Prefix>().unwrap().to_string(), good);
        }
    }

    /// Addresses are counted from the first and end with the block.
    #[test]
    fn addresses_are_counted() {
        let block: Prefix = "10.1.2.0/24".parse().unwrap();
        assert_eq!(block.nth(0), Some(IpAddr::from([10, 1, 2, 0])));
        assert_eq!(block.nth(255), Some(IpAddr::from([10, 1, 2, 255])));
        assert_eq!(block.nth(256), None);
        assert_eq!(Prefix::from(IpAddr::from([255, 255, 255, 255])).nth(1), None);
    }
}
