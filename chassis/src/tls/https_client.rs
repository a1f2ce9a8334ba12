//! HTTP clients that trust one authority, pooled connections and all.

use super::{TlsError, provider, roots};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use std::{net::IpAddr, time::Duration};

/// A pooling client for `https://` and `http://`.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Certificates of the trusted authorities. Empty: `http://` only.
    pub ca_pem: String,
    /// Offers HTTP/2 besides HTTP/1.1.
    pub http2: bool,
    /// Address of this machine that connections come from; the route's by default.
    pub local_address: Option<IpAddr>,
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ca_pem: String::new(),
            http2: true,
            local_address: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// Builds a client. Errors when the authorities' certificates cannot be read.
pub fn https_client<B>(options: &ClientOptions) -> Result<HttpsClient<B>, TlsError>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    let what = "the CA certificates";
    let setup = |source| TlsError::Setup { what: what.to_owned(), source };
    let roots = if options.ca_pem.is_empty() { RootCertStore::empty() } else { roots(options.ca_pem.as_bytes(), what)? };
    let tls = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(options.connect_timeout));
    tcp.set_local_address(options.local_address);
    tcp.set_keepalive(Some(Duration::from_secs(30)));
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    let connector =
        if options.http2 { connector.enable_all_versions().wrap_connector(tcp) } else { connector.enable_http1().wrap_connector(tcp) };
    Ok(Client::builder(TokioExecutor::new()).pool_idle_timeout(options.idle_timeout).pool_timer(TokioTimer::new()).build(connector))
}
