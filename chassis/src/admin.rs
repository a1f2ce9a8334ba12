//! The admin port: /livez, /readyz, /metrics and /configz, and whatever a program adds.

use crate::{
    http_error::HttpError,
    serve::{self, BindError, Limits},
    shutdown::Shutdown,
};
use axum::{
    Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header::CONTENT_TYPE};
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Says whether one thing works; the error says why not.
type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What one program shows at its admin port. Clones show the same; checks and metrics may be added at any time.
#[derive(Clone, Default)]
pub struct Admin {
    state: Arc<AdminState>,
}

#[derive(Default)]
struct AdminState {
    live: Mutex<Vec<(String, Check)>>,
    ready: Mutex<Vec<(String, Check)>>,
    registry: Mutex<Registry>,
    config: Mutex<serde_json::Value>,
}

/// Takes a lock whatever happened to a thread that held it: the data are lists that are never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Admin {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition of /readyz, named as in kube-apiserver's (`watch-pods`, `topology-warm`).
    pub fn ready_check(&self, name: impl Into<String>, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        lock(&self.state.ready).push((name.into(), Arc::new(check)));
    }

    /// Adds a condition of /livez. Only what a restart would mend belongs here.
    pub fn live_check(&self, name: impl Into<String>, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        lock(&self.state.live).push((name.into(), Arc::new(check)));
    }

    /// Registers metrics; prefer collectors that read state when scraped.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut lock(&self.state.registry));
    }

    /// Shows the effective configuration at /configz.
    pub fn show_config<C: Serialize>(&self, config: &C) -> Result<(), serde_json::Error> {
        *lock(&self.state.config) = serde_json::to_value(config)?;
        Ok(())
    }

    /// The routes, with `extra` ones beside them.
    pub fn router(&self, extra: Router) -> Router {
        Router::new()
            .route("/livez", get(livez))
            .route("/healthz", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/configz", get(configz))
            .with_state(self.clone())
            .fallback(async || HttpError::not_found("there is /livez, /readyz, /metrics and /configz here"))
            .merge(extra)
    }

    /// Opens the admin port and serves it in a task of `shutdown`; returns the bound address (of use with port 0).
    ///
    /// /readyz fails once `shutdown` is signalled, while open connections drain; /livez once one of its tasks has panicked.
    pub async fn bind(&self, address: SocketAddr, extra: Router, shutdown: &Shutdown) -> Result<SocketAddr, BindError> {
        self.open(address, None, extra, shutdown).await
    }

    /// As [`bind`](Self::bind), over TLS.
    pub async fn bind_tls(
        &self,
        address: SocketAddr,
        tls: Arc<rustls::ServerConfig>,
        extra: Router,
        shutdown: &Shutdown,
    ) -> Result<SocketAddr, BindError> {
        self.open(address, Some(tls), extra, shutdown).await
    }

    async fn open(
        &self,
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        extra: Router,
        shutdown: &Shutdown,
    ) -> Result<SocketAddr, BindError> {
        let listener = serve::bind(address).await?;
        let bound = listener.local_addr().map_err(|source| BindError::Other { address, source })?;
        let ending = shutdown.clone();
        self.ready_check("shutdown", move || if ending.is_signalled() { Err("shutting down".to_owned()) } else { Ok(()) });
        let whole = shutdown.clone();
        self.live_check("tasks", move || whole.healthy());
        let (router, limits, ending) = (self.router(extra), Limits { connections: 256, ..Limits::default() }, shutdown.clone());
        match tls {
            Some(tls) => shutdown.spawn(serve::serve_tls(listener, tls, router, limits, ending)),
            None => shutdown.spawn(serve::serve(listener, router, limits, ending)),
        };
        tracing::info!(address = %bound, "admin port open");
        Ok(bound)
    }
}

async fn livez(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    run_checks("livez", &admin.state.live, query.as_deref())
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    run_checks("readyz", &admin.state.ready, query.as_deref())
}

/// `ok`, or every check with its outcome when one fails or `?verbose` asks for it, in kube-apiserver's form.
fn run_checks(name: &str, checks: &Mutex<Vec<(String, Check)>>, query: Option<&str>) -> Response {
    // Copied so that no check runs under the lock.
    let checks: Vec<(String, Check)> = lock(checks).clone();
    let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose=")));
    let mut failed = false;
    let mut text = String::from("[+]ping ok\n");
    for (check, run) in checks {
        // Writing to a String cannot fail.
        let _ = match run() {
            Ok(()) => writeln!(text, "[+]{check} ok"),
            Err(reason) => {
                failed = true;
                writeln!(text, "[-]{check} failed: {reason}")
            }
        };
    }
    let _ = writeln!(text, "{name} check {}", if failed { "failed" } else { "passed" });
    match (failed, verbose) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
        (false, true) => text.into_response(),
        (false, false) => "ok".into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &lock(&admin.state.registry)) {
        Ok(()) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(error) => HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("cannot encode the metrics: {error}"))
            .into_response(),
    }
}

async fn configz(State(admin): State<Admin>) -> Response {
    axum::Json(lock(&admin.state.config).clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt as _;

    async fn check(router: &Router, path: &str, status: u16, expected: &str) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let got = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        assert_eq!((got, std::str::from_utf8(&body).unwrap()), (status, expected), "{path}");
    }

    #[tokio::test]
    async fn answers_in_the_form_of_kubernetes() {
        let admin = Admin::new();
        let synced = Arc::new(AtomicBool::new(false));
        let flag = synced.clone();
        admin.ready_check("watch-pods", move || if flag.load(Ordering::Relaxed) { Ok(()) } else { Err("not synced".to_owned()) });
        let requests: Counter = Counter::default();
        admin.register(|registry| registry.register("requests", "Requests served", requests.clone()));
        admin.show_config(&serde_json::json!({"workers": 4})).unwrap();
        let router = admin.router(Router::new().route("/check", get(async || "extra")));

        check(&router, "/livez", 200, "ok").await;
        check(&router, "/readyz", 503, "[+]ping ok\n[-]watch-pods failed: not synced\nreadyz check failed\n").await;
        synced.store(true, Ordering::Relaxed);
        check(&router, "/readyz", 200, "ok").await;
        check(&router, "/readyz?verbose", 200, "[+]ping ok\n[+]watch-pods ok\nreadyz check passed\n").await;
        requests.inc_by(7);
        let metrics = "# HELP requests Requests served.\n# TYPE requests counter\nrequests_total 7\n# EOF\n";
        check(&router, "/metrics", 200, metrics).await;
        check(&router, "/configz", 200, r#"{"workers":4}"#).await;
        check(&router, "/check", 200, "extra").await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let shutdown = Shutdown::new();
        let first = Admin::new().bind(([127, 0, 0, 1], 0).into(), Router::new(), &shutdown).await.expect("any port");
        let error = Admin::new().bind(first, Router::new(), &shutdown).await.expect_err("taken");
        assert!(error.to_string().contains(&first.to_string()), "{error}");
        shutdown.trigger();
        shutdown.wait_all(std::time::Duration::from_secs(10)).await.expect("the server ends");
    }
}
