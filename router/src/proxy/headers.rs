//! Header fields that belong to one hop (RFC 9110 section 7.6.1), and those that a proxy adds.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use std::net::IpAddr;

static HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Values of a list field, lines and commas alike (RFC 9110 section 5.6.1).
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Removes what is meant for this hop alone, the fields that `Connection` names included.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &header::CONNECTION).filter_map(|token| token.parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the client takes trailers: the one `TE` value that a proxy passes on, since it sends trailers on (gRPC depends on it).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &header::TE).any(|token| token.eq_ignore_ascii_case("trailers"))
}

/// The protocol that an HTTP/1.1 request asks to switch to, if any.
pub fn upgrade_of(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !tokens(headers, &header::CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let value = headers.get(header::UPGRADE)?;
    // RFC 9113 withdrew the upgrade to h2c; a server may ignore it, and a tunnel of it would hide requests from us.
    (!value.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| value.clone())
}

/// Joins `Cookie` fields into the one that HTTP/1.1 knows; HTTP/2 may have split them (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).into_iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Adds `X-Forwarded-For`, `X-Forwarded-Proto` and `Via`. Of a client that is not `trusted` what it claims is dropped.
pub fn add_forwarded(headers: &mut HeaderMap, client: IpAddr, trusted: bool, version: Version) {
    let mut chain = String::new();
    if trusted {
        for hop in tokens(headers, &X_FORWARDED_FOR) {
            chain.push_str(hop);
            chain.push_str(", ");
        }
    }
    use std::fmt::Write as _;
    let _infallible = write!(chain, "{client}");
    if let Ok(value) = HeaderValue::try_from(chain) {
        headers.insert(X_FORWARDED_FOR.clone(), value);
    }
    if !trusted || !headers.contains_key(&X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static("http"));
    }
    add_via(headers, version);
}

/// Adds this hop to `Via`, with the version it received (RFC 9110 section 7.6.3).
pub fn add_via(headers: &mut HeaderMap, version: Version) {
    let via = match version {
        Version::HTTP_2 => "2.0 edge-router",
        Version::HTTP_10 => "1.0 edge-router",
        _ => "1.1 edge-router",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())).collect()
    }

    fn check_strip(input: &[(&str, &str)], left: &[&str]) {
        let mut headers = map(input);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left, "{input:?}");
    }

    #[test]
    fn removes_the_fixed_fields_and_those_that_connection_names() {
        check_strip(&[("connection", "keep-alive, X-Hop"), ("x-hop", "1"), ("keep-alive", "timeout=5"), ("x-end", "2")], &["x-end"]);
        check_strip(&[("transfer-encoding", "chunked"), ("upgrade", "websocket"), ("accept", "*/*")], &["accept"]);
        check_strip(&[("connection", "x-a"), ("connection", "close, x-b"), ("x-a", "1"), ("x-b", "1"), ("x-c", "1")], &["x-c"]);
        check_strip(&[("connection", "not a token!, x-a"), ("x-a", "1")], &[]);
        check_strip(&[("trailer", "grpc-status"), ("proxy-authorization", "Basic eA==")], &["trailer"]);
    }

    #[test]
    fn an_upgrade_needs_http_1_1_and_both_fields() {
        let both = map(&[("connection", "Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade_of(&both, Version::HTTP_11).unwrap(), "websocket");
        assert_eq!(upgrade_of(&both, Version::HTTP_10), None);
        assert_eq!(upgrade_of(&map(&[("upgrade", "websocket")]), Version::HTTP_11), None);
        assert_eq!(upgrade_of(&map(&[("connection", "upgrade"), ("upgrade", "h2c")]), Version::HTTP_11), None);
    }

    #[test]
    fn cookies_are_one_field_again() {
        let mut headers = map(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }

    fn check_forwarded(claimed: &str, trusted: bool, expected: &str) {
        let mut headers = map(&[("x-forwarded-for", claimed), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut headers, "10.0.0.7".parse().unwrap(), trusted, Version::HTTP_11);
        assert_eq!(headers["x-forwarded-for"], expected);
        assert_eq!(headers["x-forwarded-proto"], if trusted { "https" } else { "http" });
        assert_eq!(headers["via"], "1.1 edge-router");
    }

    #[test]
    fn only_a_trusted_peer_speaks_for_its_clients() {
        check_forwarded("192.0.2.1", true, "192.0.2.1, 10.0.0.7");
        check_forwarded("192.0.2.1", false, "10.0.0.7");
    }
}
