//! TLS for our own services: a certificate authority and certificates that rotate, and clients that trust it.

mod authority;
mod https_client;
mod json_client;
mod serving;
mod token;

pub use authority::{Authority, KeyPairPem};
pub use https_client::{ClientOptions, HttpsClient, https_client};
pub use json_client::{CallError, JsonClient};
pub use serving::ServingCertificate;
pub use token::{TokenError, TokenSource};

use rustls::{RootCertStore, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{path::PathBuf, sync::Arc};

/// Certificates or keys that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{what}: no certificate in it (expected PEM, `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate { what: String },
    #[error("{what}: not PEM")]
    Pem { what: String, source: rustls_pki_types::pem::Error },
    #[error("the certificate of {what} does not belong to its private key")]
    KeyMismatch { what: String },
    #[error("cannot make a certificate for {names:?}")]
    Issue { names: Vec<String>, source: rcgen::Error },
    #[error("not a certificate authority's certificate and key")]
    Authority { source: rcgen::Error },
    #[error("cannot set TLS up for {what}")]
    Setup { what: String, source: rustls::Error },
}

/// Ring, named at each use: a process-wide default would bind every program in the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM text, at least one. `what` names the text in errors.
fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| TlsError::Pem { what: what.to_owned(), source })?;
    if found.is_empty() { Err(TlsError::NoCertificate { what: what.to_owned() }) } else { Ok(found) }
}

/// The certificates of a PEM text as what is trusted.
fn roots(pem: &[u8], what: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        roots.add(certificate).map_err(|source| TlsError::Setup { what: what.to_owned(), source })?;
    }
    Ok(roots)
}

fn private_key(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsError::Pem { what: what.to_owned(), source })
}
