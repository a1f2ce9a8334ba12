//! The server: starts, accepts connections, ends without leaving anything behind.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admit::namespace::{furnish, put_own};
use super::api::Api;
use super::auth::Identity;
use super::auth::kubeconfig::{self, Proof};
use super::auth::pki::{self, Authority, PkiError};
use super::auth::tokens::{API_AUDIENCE, Tokens};
use super::faults::Faults;
use super::openapi::Documents;
use super::resource::Registry;
use super::schema::Definitions;
use super::store::{Observation, Store};
use super::{handler, housekeeping};

/// How long open connections get to finish at a shutdown.
const GRACE: Duration = Duration::from_secs(3);

/// How long a new connection may take to agree on TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How many changes per resource can be resumed from.
    pub history: usize,
    /// How many changes may wait for one slow watcher before it loses its stream.
    pub watch_queue: usize,
    /// Time between the bookmarks of a watch that allows them.
    pub bookmark_interval: Duration,
    /// Whether stored roles decide who may do what. Off, everyone who is known may do everything.
    pub enforce_rbac: bool,
    /// Whether every new object says who owns its fields. Off, only what is applied on the server does, so that the many watchers of
    /// large clusters have less to read.
    pub track_fields: bool,
    /// Whether EndpointSlices may hold loopback addresses, on which the pods and programs of an embedded cluster live. kube-apiserver refuses them.
    pub loopback_endpoints: bool,
    /// Seed of the faults.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            history: 4096,
            watch_queue: 16_384,
            bookmark_interval: Duration::from_secs(60),
            enforce_rbac: false,
            track_fields: true,
            loopback_endpoints: true,
            seed: 1,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No certificates, or no TLS.
    #[error("cannot set up the server's certificates")]
    Pki(#[from] PkiError),
}

/// A running API server.
#[derive(Debug)]
pub struct Server {
    api: Arc<Api>,
    tasks: TaskTracker,
    connections: CancellationToken,
    admin: String,
}

impl Server {
    /// Starts a server with the namespaces and classes that every cluster has.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listen = |source| Error::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let authority = Authority::new()?;
        let acceptor = TlsAcceptor::from(Arc::new(authority.server_config(address.ip())?));
        let api = Arc::new(Api {
            store: Store::new(options.history, options.watch_queue),
            registry: Registry::builtin(),
            schemas: Definitions::builtin(),
            openapi: Documents::default(),
            authority,
            tokens: Tokens::default(),
            faults: Faults::new(options.seed),
            evictions: std::sync::Mutex::default(),
            address,
            bookmark_interval: options.bookmark_interval,
            enforce_rbac: options.enforce_rbac,
            track_fields: options.track_fields,
            loopback_endpoints: options.loopback_endpoints,
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(housekeeping::run(api.clone(), api.store.subscribe()));
        bootstrap(&api);
        // As a real server, which knows nothing of what happened before it began to watch.
        api.store.compact();
        let connections = CancellationToken::new();
        tasks.spawn(accept(api.clone(), listener, acceptor, tasks.clone(), connections.clone()));
        tasks.close();
        let masters = Identity::new("kubernetes-admin", vec!["system:masters".to_owned()]);
        let admin = api.tokens.issue(masters, vec![API_AUDIENCE.to_owned()], None, Vec::new());
        Ok(Self { api, tasks, connections, admin })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.api.address
    }

    /// `https://…`, as clients use it.
    pub fn url(&self) -> String {
        format!("https://{}", self.api.address)
    }

    /// The certificate of the authority that signed the serving certificate.
    pub fn ca_pem(&self) -> String {
        self.api.authority.pem()
    }

    /// A static bearer token of a member of `system:masters`.
    pub fn admin_token(&self) -> &str {
        &self.admin
    }

    /// A kubeconfig with a client certificate for the user and groups.
    pub fn kubeconfig(&self, user: &str, groups: &[&str]) -> String {
        let credentials = self.api.authority.client(user, groups).expect("the authority signs with a key that it made itself");
        kubeconfig::render(&self.url(), &self.ca_pem(), user, "default", &Proof::Certificate(&credentials))
    }

    /// A kubeconfig that may do everything.
    pub fn admin_kubeconfig(&self) -> String {
        self.kubeconfig("kubernetes-admin", &["system:masters"])
    }

    /// A kubeconfig with a token of a ServiceAccount, which need not exist yet. The token does not expire.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> String {
        let mut identity = Identity::service_account(namespace, name);
        if let Some(account) = self.api.find("", "serviceaccounts", namespace, name) {
            identity.uid = account.uid.to_string();
        }
        let user = identity.user.clone();
        let token = self.api.tokens.issue(identity, vec![API_AUDIENCE.to_owned()], None, Vec::new());
        kubeconfig::render(&self.url(), &self.ca_pem(), &user, namespace, &Proof::Token(&token))
    }

    /// The faults that can be asked for.
    pub fn faults(&self) -> Faults {
        self.api.faults.clone()
    }

    /// Forgets the history of every resource: older watches and lists get 410.
    pub fn compact(&self) {
        self.api.store.compact();
    }

    /// Follows every stored change and every accepted binding from now on, in order.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Observation> {
        self.api.store.subscribe()
    }

    /// How many watches are open.
    pub fn watchers(&self) -> usize {
        self.api.store.watchers()
    }

    /// Ends watches, lets requests finish for a moment, closes every connection; nothing runs afterwards.
    pub async fn shutdown(self) {
        self.api.stop.cancel();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            self.connections.cancel();
            self.tasks.wait().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.api.stop.cancel();
        self.connections.cancel();
    }
}

/// Puts in place what a cluster has before anyone comes.
fn bootstrap(api: &Api) {
    const SERVER: &str = "kube-apiserver";
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        put_own(api, SERVER, ("", "namespaces"), ("", namespace), json!({}));
        furnish(api, namespace);
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000u64), ("system-node-critical", 2_000_001_000)] {
        let class = json!({ "value": value, "preemptionPolicy": "PreemptLowerPriority",
            "description": "Used for system critical pods" });
        put_own(api, SERVER, ("scheduling.k8s.io", "priorityclasses"), ("", name), class);
    }
    let group = "rbac.authorization.k8s.io";
    let everything = json!({ "rules": [{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] },
        { "nonResourceURLs": ["*"], "verbs": ["*"] }] });
    put_own(api, SERVER, (group, "clusterroles"), ("", "cluster-admin"), everything);
    let masters = json!({ "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": group, "kind": "Group", "name": "system:masters" }] });
    put_own(api, SERVER, (group, "clusterrolebindings"), ("", "cluster-admin"), masters);
}

async fn accept(api: Arc<Api>, listener: TcpListener, acceptor: TlsAcceptor, tasks: TaskTracker, connections: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = api.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if !api.faults.refusing() => {
                tasks.spawn(serve(api.clone(), stream, acceptor.clone(), connections.clone()));
            }
            Ok(_) => {}
            // Out of file descriptors, say: pause, or this loop would spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(api: Arc<Api>, stream: TcpStream, acceptor: TlsAcceptor, connections: CancellationToken) {
    let dropped = api.faults.connections();
    // Small frames of a watch must not wait for one another.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
    let stream = tokio::select! {
        () = api.stop.cancelled() => return,
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    let peer = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(pki::identity);
    let service_api = api.clone();
    let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let (api, peer) = (service_api.clone(), peer.clone());
        async move { Ok::<_, Infallible>(handler::handle(api, peer, request.map(Body::new)).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    // Every watch of a client is a stream of its connection.
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut told = false;
    loop {
        tokio::select! {
            done = connection.as_mut() => {
                if let Err(error) = done {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = api.stop.cancelled(), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = dropped.cancelled() => return,
            () = connections.cancelled() => return,
        }
    }
}
