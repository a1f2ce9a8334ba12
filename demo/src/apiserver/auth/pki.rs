//! The server's own certificate authority: its serving certificate, and client certificates that say who one is.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Identity;

/// Why a certificate or the TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Signing failed.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The TLS configuration was refused.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The client verifier was refused.
    #[error("cannot verify client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// A certificate authority that lives as long as the server.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Certificate.
    pub certificate_pem: String,
    /// Private key (PKCS #8).
    pub key_pem: String,
}

impl Authority {
    /// A new authority with a key of its own.
    pub fn new() -> Result<Self, PkiError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// The authority's certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A client certificate: CN is the user, each O a group.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Credentials, PkiError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, user);
        // A distinguished name of rcgen keeps one value per type; several groups travel in one O, comma separated.
        if !groups.is_empty() {
            params.distinguished_name.push(DnType::OrganizationName, groups.join(","));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Credentials, PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Credentials { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// The TLS configuration of a server at the given address; client certificates are asked for, not required.
    pub fn server_config(&self, address: IpAddr) -> Result<rustls::ServerConfig, PkiError> {
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut params = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        params.subject_alt_names.push(SanType::IpAddress(loopback));
        if address != loopback {
            params.subject_alt_names.push(SanType::IpAddress(address));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).allow_unauthenticated().build()?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Who a verified client certificate names.
pub fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .flat_map(|o| o.split(','))
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect();
    Some(Identity::new(user, groups))
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn a_client_certificate_names_user_and_groups() {
        let authority = Authority::new().unwrap();
        let credentials = authority.client("alice", &["dev", "system:masters"]).unwrap();
        let der = CertificateDer::from_pem_slice(credentials.certificate_pem.as_bytes()).unwrap();
        let found = identity(&der).unwrap();
        assert_eq!(found.user, "alice");
        assert_eq!(found.groups, ["dev", "system:masters", "system:authenticated"]);
        assert!(authority.server_config(IpAddr::from([127, 0, 0, 2])).is_ok());
    }
}
