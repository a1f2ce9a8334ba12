//! Whom a request is for: host and path from its target and `Host`, in origin, absolute and authority form (RFC 9112 section 3.2).

use super::error::ProxyError;
use http::{HeaderMap, Method, Uri, Version, header};
use std::borrow::Cow;

/// Host (lower case, without port and trailing dot) and path of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub host: Cow<'a, str>,
    pub path: &'a str,
}

/// Reads the target. An absolute form and HTTP/2's `:authority` come before `Host`, as RFC 9112 and RFC 9113 ask.
pub fn target<'a>(method: &Method, uri: &'a Uri, version: Version, headers: &'a HeaderMap) -> Result<Target<'a>, ProxyError> {
    let bad = |why: &str| Err(ProxyError::BadRequest(why.to_owned()));
    if *method == Method::CONNECT {
        return Err(ProxyError::NotImplemented { what: "CONNECT", instead: "send the request itself, with Host <service>.<namespace>" });
    }
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return bad("more than one Host field");
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => match host.to_str() {
            Ok(host) => host,
            Err(_) => return bad("the Host field is not ASCII text"),
        },
        (None, None) if version == Version::HTTP_2 => return bad("neither :authority nor Host: use <service>.<namespace>"),
        (None, None) => return bad("no Host field: use <service>.<namespace>"),
    };
    if authority.contains('@') {
        return bad("the host carries user information");
    }
    let name = strip_port(authority).trim_end_matches('.');
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)) {
        return Err(ProxyError::BadRequest(format!("{authority:?} is not a host name such as <service>.<namespace>")));
    }
    let host = if name.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Ok(Target { host, path: uri.path() })
}

/// `host:port` or `[v6]:port` without the port.
fn strip_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, hosts: &[&str], expected: Result<(&str, &str), &str>) {
        let uri: Uri = uri.parse().unwrap();
        let headers: HeaderMap = hosts.iter().map(|host| (header::HOST, host.parse().unwrap())).collect();
        let got = target(&Method::GET, &uri, Version::HTTP_11, &headers);
        match (got, expected) {
            (Ok(got), Ok((host, path))) => assert_eq!((got.host.as_ref(), got.path), (host, path), "{uri} {hosts:?}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{uri} {hosts:?}: {got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn host_and_path() {
        check("/infer?x=1", &["vision.demo"], Ok(("vision.demo", "/infer")));
        check("/", &["Vision.Demo.svc.cluster.local.:8080"], Ok(("vision.demo.svc.cluster.local", "/")));
        check("http://vision.demo:80/a", &["other.demo"], Ok(("vision.demo", "/a")));
        check("/", &["[::1]:80"], Ok(("[::1]", "/")));
        check("/", &[], Err("no Host field: use <service>.<namespace>"));
        check("/", &["a.b", "a.b"], Err("more than one Host"));
        check("/", &["user@a.b"], Err("user information"));
        check("/", &["a b"], Err("is not a host name"));
        check("/", &[":80"], Err("is not a host name"));
    }

    #[test]
    fn connect_is_refused() {
        let error = target(&Method::CONNECT, &"a.b:80".parse().unwrap(), Version::HTTP_11, &HeaderMap::new()).unwrap_err();
        assert_eq!(error.status(), http::StatusCode::NOT_IMPLEMENTED);
    }
}
