//! Where a packet goes, by its IP header (RFC 791, RFC 8200). Nothing else in it is looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The destination of an IPv4 or IPv6 packet; `None` where it is neither, or too short for its header.
pub(super) fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Addr::from(*packet.get(..20)?[16..].first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*packet.get(..40)?[24..].first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(packet: &[u8], expected: Option<&str>) {
        assert_eq!(destination(packet), expected.map(|address| address.parse().unwrap()), "{packet:?}");
    }

    #[test]
    fn the_header_says_where_to() {
        let mut v4 = [0; 28];
        v4[0] = 0x45;
        v4[16..20].copy_from_slice(&[10, 99, 0, 7]);
        check(&v4, Some("10.99.0.7"));
        check(&v4[..19], None);
        let mut v6 = [0; 48];
        v6[0] = 0x60;
        v6[24] = 0xfd;
        v6[39] = 9;
        check(&v6, Some("fd00::9"));
        check(&v6[..39], None);
        check(&[0x50; 60], None);
        check(&[], None);
    }
}
