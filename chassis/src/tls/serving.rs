//! The certificate that a server shows, replaceable while it serves.

use super::{KeyPairPem, TlsError, certificates, private_key, provider, roots};
use crate::{program::chain, shutdown::Shutdown};
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// What new connections are shown. Clones are the same certificate.
#[derive(Clone, Debug)]
pub struct ServingCertificate {
    current: Arc<RwLock<Arc<CertifiedKey>>>,
}

impl ServingCertificate {
    pub fn new(pem: &KeyPairPem) -> Result<Self, TlsError> {
        Ok(Self { current: Arc::new(RwLock::new(certified(pem, "the serving certificate")?)) })
    }

    /// Reads certificate chain and key from PEM files.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let what = certificate.display().to_string();
        Ok(Self { current: Arc::new(RwLock::new(certified(&read_files(certificate, key)?, &what)?)) })
    }

    /// Shows another certificate to connections from now on; those open keep theirs.
    pub fn replace(&self, pem: &KeyPairPem) -> Result<(), TlsError> {
        let new = certified(pem, "the serving certificate")?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// A server configuration that shows this certificate: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        self.config(WebPkiClientVerifier::no_client_auth())
    }

    /// As [`server_config`](Self::server_config), for clients alone whose certificate is signed by a CA of this PEM file.
    pub fn server_config_for_clients_of(&self, ca: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let what = ca.display().to_string();
        let pem = std::fs::read(ca).map_err(|source| TlsError::Unreadable { path: ca.to_owned(), source })?;
        let roots = roots(&pem, &what)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
        let setup =
            |error: rustls::server::VerifierBuilderError| TlsError::Setup { what, source: rustls::Error::General(error.to_string()) };
        self.config(verifier.build().map_err(setup)?)
    }

    fn config(&self, clients: Arc<dyn ClientCertVerifier>) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Setup { what: "a server".to_owned(), source })?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Replaces the certificate by what `renew` returns, every `interval` until shutdown. A failure keeps the old one and is tried
    /// again after a tenth of it. Two thirds of the validity is a good interval for an [`Authority`](super::Authority)'s.
    pub async fn rotate(&self, interval: Duration, renew: impl Fn() -> Result<KeyPairPem, TlsError>, shutdown: Shutdown) {
        let mut wait = interval;
        while shutdown.sleep(wait).await {
            wait = match renew().and_then(|pem| self.replace(&pem)) {
                Ok(()) => interval,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "cannot renew the serving certificate, keeping the old one");
                    interval / 10
                }
            };
        }
    }

    /// [`rotate`](Self::rotate) with what the files hold, read every half minute.
    pub async fn follow_files(&self, certificate: &Path, key: &Path, shutdown: Shutdown) {
        self.rotate(Duration::from_secs(30), || read_files(certificate, key), shutdown).await;
    }

    fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn read_files(certificate: &Path, key: &Path) -> Result<KeyPairPem, TlsError> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source });
    Ok(KeyPairPem { certificates: read(certificate)?, key: read(key)? })
}

fn certified(pem: &KeyPairPem, what: &str) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(pem.certificates.as_bytes(), what)?;
    let key = private_key(pem.key.as_bytes(), what)?;
    let setup = |source| TlsError::Setup { what: what.to_owned(), source };
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(setup)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch { what: what.to_owned() }),
        Err(source) => Err(setup(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    const DAY: Duration = Duration::from_secs(86_400);

    fn issue() -> KeyPairPem {
        Authority::generate("test", DAY).unwrap().issue(&["localhost".to_owned()], DAY).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn rotates_and_survives_a_failed_renewal() {
        let serving = ServingCertificate::new(&issue()).unwrap();
        let first = serving.current();
        let (shutdown, tries) = (Shutdown::new(), std::sync::atomic::AtomicU32::new(0));
        let renew = || match tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Err(TlsError::NoCertificate { what: "test".to_owned() }),
            _ => Ok(issue()),
        };
        let until = |limit| tokio::time::timeout(limit, serving.rotate(DAY, renew, shutdown.clone()));
        assert!(until(DAY + Duration::from_secs(60)).await.is_err());
        assert!(Arc::ptr_eq(&first, &serving.current()), "the failed renewal keeps the old one");
        assert!(until(DAY + Duration::from_secs(60)).await.is_err());
        assert!(!Arc::ptr_eq(&first, &serving.current()));
    }

    fn check_refused(pem: KeyPairPem, expected: &str) {
        let error = ServingCertificate::new(&pem).expect_err("refused");
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (a, b) = (issue(), issue());
        check_refused(KeyPairPem { key: b.key.clone(), ..a.clone() }, "does not belong to its private key");
        check_refused(KeyPairPem { certificates: String::new(), ..a.clone() }, "no certificate in it");
        check_refused(KeyPairPem { key: String::new(), ..a.clone() }, "not PEM");

        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&certificate, &a.certificates).unwrap();
        let error = ServingCertificate::from_files(&certificate, &key).expect_err("no key file");
        assert_eq!(error.to_string(), format!("cannot read {}", key.display()));
        std::fs::write(&key, &a.key).unwrap();
        ServingCertificate::from_files(&certificate, &key).expect("both files are there");
    }
}
