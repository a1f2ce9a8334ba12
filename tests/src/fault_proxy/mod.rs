//! A proxy between clients and the API server that lets go wrong what goes wrong on a network: refusals, delays, answers that never come, cut watches.
//!
//! It speaks HTTP/1.1 over TLS on loopback under a certificate of its own, passes bearer tokens on, and sees every request to its end even when the
//! client has gone, as a request that is under way on a network does.

mod forward;
mod plan;

pub use plan::{Delays, Fate, Plan, Rates};

use crate::control_plane::Error as PlaneError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::shutdown::Shutdown;
use chassis::tls::{Authority, ClientOptions, ServingCertificate, TlsError, https_client};
use forward::Forwarder;
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::config::Kubeconfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Its certificate's; a proxy lives as long as a test.
const VALIDITY: Duration = Duration::from_secs(86_400);
const HANDSHAKE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on loopback")]
    Listen(#[source] std::io::Error),
    #[error("no certificate for the proxy")]
    Tls(#[from] TlsError),
    #[error("{} names no API server with certificate-authority-data", path.display())]
    NoServer { path: PathBuf },
    #[error(transparent)]
    Plane(#[from] PlaneError),
}

/// A running proxy; dropping it ends it and cuts what it carries.
pub struct FaultProxy {
    address: SocketAddr,
    ca_pem: String,
    plan: Plan,
    forwarder: Arc<Forwarder>,
    shutdown: Shutdown,
}

impl FaultProxy {
    /// Starts one in front of the API server of a kubeconfig.
    pub async fn start(kubeconfig: &Path, seed: u64) -> Result<FaultProxy, Error> {
        let found = read(kubeconfig)?;
        let cluster = found.clusters.first().and_then(|named| named.cluster.clone()).unwrap_or_default();
        let no_server = || Error::NoServer { path: kubeconfig.to_owned() };
        let server = cluster.server.and_then(|server| server.parse().ok()).ok_or_else(no_server)?;
        let ca = cluster.certificate_authority_data.and_then(|data| STANDARD.decode(data).ok());
        let ca_pem = ca.and_then(|pem| String::from_utf8(pem).ok()).ok_or_else(no_server)?;

        let authority = Authority::generate("fault proxy", VALIDITY)?;
        let serving = ServingCertificate::new(&authority.issue(&["127.0.0.1".to_owned()], VALIDITY)?)?;
        let mut tls = (*serving.server_config()?).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;

        let plan = Plan::new(seed);
        let upstream = https_client(&ClientOptions { ca_pem, http2: false, ..ClientOptions::default() })?;
        let forwarder = Arc::new(Forwarder::new(server, upstream, plan.clone()));
        let shutdown = Shutdown::new();
        shutdown.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), forwarder.clone(), shutdown.clone()));
        Ok(FaultProxy { address, ca_pem: authority.certificate_pem().to_owned(), plan, forwarder, shutdown })
    }

    /// Writes `original` as a kubeconfig that leads through the proxy. Its user must have a token: a client certificate ends at the proxy.
    pub fn kubeconfig(&self, original: &Path, to: &Path) -> Result<(), Error> {
        let mut config = read(original)?;
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(format!("https://{}", self.address));
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = Some(STANDARD.encode(&self.ca_pem));
        }
        let unusable = |source| PlaneError::Kubeconfig { path: to.to_owned(), source };
        let text = serde_saphyr::to_string(&config).map_err(|error| unusable(error.into()))?;
        std::fs::write(to, text).map_err(|error| unusable(error.into()))?;
        Ok(())
    }

    /// Which requests go wrong from now on, and how often each way was taken so far.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Cuts every open watch in the middle of its stream.
    pub fn cut_watches(&self) {
        self.forwarder.cut_watches();
    }

    /// From now on bindings wait here, or no more; those that did are carried out then.
    pub fn hold_bindings(&self, held: bool) {
        self.forwarder.bindings().send_modify(|bindings| bindings.held = held);
    }

    /// Waits until a binding waits here.
    pub async fn until_a_binding_waits(&self) {
        // It fails when the sender has gone, and we have it.
        let _ = self.forwarder.bindings().subscribe().wait_for(|bindings| bindings.waiting > 0).await;
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shutdown.trigger();
        self.forwarder.cut_watches();
    }
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    let unusable = |source| PlaneError::Kubeconfig { path: path.to_owned(), source };
    Ok(Kubeconfig::read_from(path).map_err(|error| unusable(error.into()))?)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, forwarder: Arc<Forwarder>, shutdown: Shutdown) {
    while let Some(accepted) = shutdown.interrupt(listener.accept()).await {
        let Ok((stream, _peer)) = accepted else { continue };
        let (tls, forwarder, ending) = (tls.clone(), forwarder.clone(), shutdown.clone());
        shutdown.spawn(async move { ending.interrupt(serve(stream, tls, forwarder)).await });
    }
}

async fn serve(stream: TcpStream, tls: TlsAcceptor, forwarder: Arc<Forwarder>) {
    // A client that leaves in the middle is no news here.
    let Ok(()) = stream.set_nodelay(true) else { return };
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else { return };
    let service = hyper::service::service_fn(move |request| {
        let forwarder = forwarder.clone();
        async move { forwarder.carry(request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection through the proxy ended");
    }
}

#[cfg(test)]
mod tests;
