//! One request: whose it is, where it goes, and what comes back.

use super::{
    Worker,
    body::{RequestBody, ResponseBody, Upload},
    client::Client,
    connect::ConnectError,
    error::ProxyError,
    headers,
    pool::{Lease, PutBack, Sender},
    target::{self, Target},
    tunnel,
};
use crate::{
    select::{self, Selected},
    table::{Endpoint, InFlight, LoadBalancer, LoadBalancerTimeouts, Transport},
};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request, uri};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Names the endpoint that answered: `<namespace>/<pod>@<node>`.
pub static X_EDGE_ENDPOINT: HeaderName = HeaderName::from_static("x-edge-endpoint");

/// How many endpoints a request may be offered to: beyond three the whole service is in trouble, and tries would multiply its load.
const ATTEMPTS: usize = 3;

/// Answers one request; never fails, since an error is an answer too.
pub async fn forward(worker: Arc<Worker>, request: Request<Incoming>, peer: SocketAddr) -> Response<ResponseBody> {
    let began = Instant::now();
    let method = request.method().clone();
    let resolved = resolve(&worker, &request, peer);
    let load_balancer = resolved.as_ref().ok().map(|resolved| Arc::clone(&resolved.load_balancer));
    let mut endpoint = None;
    let answer = match resolved {
        Ok(resolved) => exchange(&worker, resolved, request, &mut endpoint).await,
        Err(error) => Err(error),
    };
    let response = answer.unwrap_or_else(|error| {
        tracing::debug!(reason = error.reason(), %error, "not served");
        error.into_response()
    });
    let took = began.elapsed();
    match &load_balancer {
        Some(load_balancer) => load_balancer.stats.answered(response.status(), took),
        None => worker.shared.unrouted(response.status()),
    }
    tracing::debug!(
        client = %peer.ip(),
        %method,
        load_balancer = load_balancer.as_ref().map(|lb| lb.name.as_str()),
        endpoint = endpoint.as_ref().and_then(|endpoint| endpoint.label.to_str().ok()),
        status = response.status().as_u16(),
        took_us = took.as_micros() as u64,
        "request"
    );
    response
}

/// What is settled before an endpoint is chosen.
struct Resolved {
    load_balancer: Arc<LoadBalancer>,
    client: Client,
    authority: HeaderValue,
}

fn resolve(worker: &Worker, request: &Request<Incoming>, peer: SocketAddr) -> Result<Resolved, ProxyError> {
    let Target { host, path } = target::target(request.method(), request.uri(), request.version(), request.headers())?;
    let table = worker.shared.table.load();
    let load_balancer = table.resolve(&host, path).ok_or_else(|| ProxyError::NoRoute {
        host: host.to_string(),
        path: path.to_owned(),
        known: table.known(&host),
    })?;
    let client = worker.shared.settings.clients.locate(peer.ip(), request.headers());
    let authority = match request.uri().authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers().get(header::HOST).cloned(),
    };
    let authority = authority.ok_or_else(|| ProxyError::BadRequest("the host is not ASCII text".into()))?;
    Ok(Resolved { load_balancer: Arc::clone(load_balancer), client, authority })
}

/// `endpoint` is the one that was asked last, whatever it answered.
async fn exchange(
    worker: &Arc<Worker>,
    resolved: Resolved,
    mut request: Request<Incoming>,
    endpoint: &mut Option<Arc<Endpoint>>,
) -> Result<Response<ResponseBody>, ProxyError> {
    let Resolved { load_balancer, client, authority } = resolved;
    let client_version = request.version();
    let upgrade = headers::upgrade_of(request.headers(), client_version).filter(|_| load_balancer.transport == Transport::Http1);
    let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let affinity = load_balancer.affinity.key(client.address, request.headers());
    let (mut head, body) = request.into_parts();
    prepare(&mut head, &load_balancer, client, authority, upgrade)?;
    let (body, upload) = RequestBody::new(body);
    let mut request = Request::from_parts(head, body);

    let site = &load_balancer.sites[client.site];
    site.arrived();
    let mut tried: Vec<usize> = Vec::new();
    loop {
        let selected = select::select(worker, &load_balancer, site, affinity, &tried).map_err(|why| {
            load_balancer.stats.infeasible();
            ProxyError::Infeasible { why }
        })?;
        *endpoint = Some(Arc::clone(&selected.endpoint));
        let attempt = Attempt { worker, load_balancer: &load_balancer, upload: upload.as_deref(), selected: &selected };
        match attempt.run(request, tried.len() + 1).await {
            Ok(answered) => return respond(worker, &load_balancer, answered, &selected, client_side, client_version),
            Err(Failed::Final(error)) => return Err(error),
            Err(Failed::NotConnected(error, unsent)) => {
                tried.push(selected.index);
                // Nothing was sent, so another endpoint may have it, if there is one.
                if tried.len() >= ATTEMPTS || !select::any_left(worker, &load_balancer, site, &tried) {
                    return Err(error);
                }
                request = *unsent;
            }
        }
    }
}

/// Turns the client's head into the one that the endpoint gets.
fn prepare(
    head: &mut request::Parts,
    load_balancer: &LoadBalancer,
    client: Client,
    authority: HeaderValue,
    upgrade: Option<HeaderValue>,
) -> Result<(), ProxyError> {
    let trailers = headers::accepts_trailers(&head.headers);
    headers::strip_hop_by_hop(&mut head.headers);
    head.headers.remove(header::TE);
    headers::add_forwarded(&mut head.headers, client.peer, client.peer_trusted, head.version);
    if trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let path = head.uri.path_and_query().cloned().unwrap_or(uri::PathAndQuery::from_static("/"));
    let mut target = uri::Parts::default();
    target.path_and_query = Some(path);
    match load_balancer.transport {
        Transport::Http1 => {
            head.headers.insert(header::HOST, authority);
            if head.version == Version::HTTP_2 {
                headers::join_cookies(&mut head.headers);
            }
            let connection = match (&upgrade, trailers) {
                (Some(_), _) => Some("upgrade"),
                (None, true) => Some("te"),
                (None, false) => None,
            };
            if let Some(connection) = connection {
                head.headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            }
            if let Some(upgrade) = upgrade {
                head.headers.insert(header::UPGRADE, upgrade);
            }
            head.version = Version::HTTP_11;
        }
        Transport::H2c => {
            head.headers.remove(header::HOST);
            let wrong = |_| ProxyError::BadRequest("the host is not an authority".into());
            target.authority = Some(uri::Authority::try_from(authority.as_bytes()).map_err(wrong)?);
            target.scheme = Some(uri::Scheme::HTTP);
            head.version = Version::HTTP_2;
        }
    }
    head.uri = Uri::from_parts(target).map_err(|error| ProxyError::BadRequest(format!("the request target is malformed: {error}")))?;
    Ok(())
}

/// An endpoint's answer and what it holds.
struct Answered {
    response: Response<Incoming>,
    sender: Sender,
    in_flight: InFlight,
}

enum Failed {
    /// The endpoint took no connection; the request is as it was.
    NotConnected(ProxyError, Box<Request<RequestBody>>),
    Final(ProxyError),
}

/// One try with one endpoint.
struct Attempt<'a> {
    worker: &'a Arc<Worker>,
    load_balancer: &'a LoadBalancer,
    upload: Option<&'a Upload>,
    selected: &'a Selected,
}

impl Attempt<'_> {
    fn endpoint(&self) -> &Arc<Endpoint> {
        &self.selected.endpoint
    }

    async fn run(&self, mut request: Request<RequestBody>, attempts: usize) -> Result<Answered, Failed> {
        let in_flight = self.endpoint().enter(self.worker.shared.now_ms());
        let mut fresh = false;
        loop {
            let Lease { mut sender, reused } = match self.connect(fresh).await {
                Ok(lease) => lease,
                Err(error) => return Err(Failed::NotConnected(self.not_connected(error, attempts), Box::new(request))),
            };
            let again = (reused && self.upload.is_none() && request.method().is_idempotent()).then(|| copy(&request));
            let sent = Instant::now();
            match self.await_response(sender.send(request)).await? {
                Ok(response) => {
                    // A failure is often quick, and would make a broken endpoint look fast.
                    if !response.status().is_server_error() {
                        self.learn(&in_flight, sent);
                    }
                    return Ok(Answered { response, sender, in_flight });
                }
                Err(mut failed) => {
                    // An unused connection may be closed by the endpoint just as we use it. Nothing of the request
                    // was written, or it is one that may be sent twice: once more, on a connection of its own.
                    let unsent = failed.take_message().filter(|_| self.upload.is_none_or(|upload| !upload.touched()));
                    match unsent.or(again).filter(|_| reused && !fresh) {
                        Some(unsent) => request = unsent,
                        None => {
                            return Err(Failed::Final(ProxyError::Upstream {
                                endpoint: self.endpoint().name(),
                                source: failed.into_error(),
                            }));
                        }
                    }
                    fresh = true;
                }
            }
        }
    }

    async fn connect(&self, fresh: bool) -> Result<Lease, ConnectError> {
        let transport = self.load_balancer.transport;
        let lease = self.worker.pool.checkout(self.endpoint().key.address, transport, fresh, self.timeouts().connect).await?;
        if !lease.reused {
            self.endpoint().accepted();
        }
        Ok(lease)
    }

    fn not_connected(&self, error: ConnectError, attempts: usize) -> ProxyError {
        let out = self.endpoint().refused(self.worker.shared.now_ms());
        let endpoint = self.endpoint().name();
        tracing::info!(endpoint, ?error, out_ms = out.as_millis() as u64, "endpoint takes no connection, it is out for a while");
        match error {
            ConnectError::Failed(source) => ProxyError::Connect { endpoint, attempts, source },
            ConnectError::TimedOut => ProxyError::ConnectTimeout { endpoint, attempts, after: self.timeouts().connect },
        }
    }

    /// Waits for the head of the response. The time runs from the last part of the request's body, so that a long upload is no timeout.
    async fn await_response<T>(&self, response: impl Future<Output = T>) -> Result<T, Failed> {
        let limit = self.timeouts().response;
        let mut response = std::pin::pin!(response);
        let mut deadline = Instant::now() + limit;
        loop {
            if let Ok(response) = tokio::time::timeout_at(deadline.into(), &mut response).await {
                return Ok(response);
            }
            let progress = self.upload.map(|upload| upload.last() + limit).filter(|next| *next > Instant::now());
            let Some(next) = progress else { break };
            deadline = next;
        }
        Err(Failed::Final(if self.upload.is_some_and(Upload::waits_for_client) {
            ProxyError::RequestTimeout { after: limit }
        } else {
            ProxyError::ResponseTimeout { endpoint: self.endpoint().name(), after: limit }
        }))
    }

    /// Learns the service time from a request that found a free slot: response time less the RTT to the endpoint.
    fn learn(&self, in_flight: &InFlight, sent: Instant) {
        let sent = self.upload.map_or(sent, |upload| upload.last().max(sent));
        let load = in_flight.endpoint().load();
        if load <= f64::from(self.selected.slots) {
            // From here, not from the client's site: the first site is the router's own.
            let rtt = Duration::from_micros(u64::from(self.load_balancer.sites[0].column.rtt[self.selected.index].0));
            let backend = &self.load_balancer.backends[self.selected.index];
            backend.learned.learn(sent.elapsed().saturating_sub(rtt));
        }
    }

    fn timeouts(&self) -> &LoadBalancerTimeouts {
        &self.load_balancer.timeouts
    }
}

/// The same request once more; it has no body.
fn copy(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn respond(
    worker: &Arc<Worker>,
    load_balancer: &LoadBalancer,
    answered: Answered,
    selected: &Selected,
    client_side: Option<OnUpgrade>,
    client_version: Version,
) -> Result<Response<ResponseBody>, ProxyError> {
    let Answered { mut response, sender, in_flight } = answered;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = response.headers().get(header::UPGRADE).cloned();
    let endpoint_side = switched.then(|| hyper::upgrade::on(&mut response));
    let (mut head, body) = response.into_parts();
    headers::strip_hop_by_hop(&mut head.headers);
    headers::add_via(&mut head.headers, head.version);
    if worker.shared.settings.expose_endpoint {
        head.headers.insert(X_EDGE_ENDPOINT.clone(), selected.endpoint.label.clone());
    }
    head.version = if client_version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
    let idle = load_balancer.timeouts.idle;
    let body = match (endpoint_side, client_side) {
        (Some(endpoint_side), Some(client_side)) => {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(protocol) = protocol {
                head.headers.insert(header::UPGRADE, protocol);
            }
            worker.tunnels.spawn(tunnel::run(client_side, endpoint_side, in_flight, idle, worker.stop.clone()));
            ResponseBody::empty()
        }
        (Some(_), None) => return Err(ProxyError::UnaskedUpgrade { endpoint: selected.endpoint.name() }),
        (None, _) => {
            let put_back = PutBack { pool: Arc::clone(&worker.pool), address: selected.endpoint.key.address, sender };
            ResponseBody::stream(body, in_flight, Box::new(put_back), idle)
        }
    };
    Ok(Response::from_parts(head, body))
}
