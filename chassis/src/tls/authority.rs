//! A certificate authority of our own, for services whose clients learn its certificate from a ConfigMap.

use super::TlsError;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::time::{Duration, SystemTime};

/// A certificate (chain) and its private key, as PEM.
#[derive(Clone)]
pub struct KeyPairPem {
    pub certificates: String,
    pub key: String,
}

impl std::fmt::Debug for KeyPairPem {
    /// Leaves the key out, so that no log ever shows it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPairPem").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

/// Signs serving certificates. Its certificate is public; its key stays in memory or in a Secret.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// Certificates begin this long ago, for clients whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(300);

impl Authority {
    /// Makes a new authority (ECDSA P-256), valid for `validity` from now.
    pub fn generate(common_name: &str, validity: Duration) -> Result<Self, TlsError> {
        let wrong = |source| TlsError::Issue { names: vec![common_name.to_owned()], source };
        let mut params = parameters(common_name, &[], validity).map_err(wrong)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate_pem = params.self_signed(&key).map_err(wrong)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// The authority that [`key_pair`](Self::key_pair) came from.
    pub fn from_pem(pem: &KeyPairPem) -> Result<Self, TlsError> {
        let wrong = |source| TlsError::Authority { source };
        let key = KeyPair::from_pem(&pem.key).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_pem(&pem.certificates, key).map_err(wrong)?;
        Ok(Self { issuer, certificate_pem: pem.certificates.clone() })
    }

    /// What clients need in order to trust what this authority signs.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The whole authority, for a Secret.
    pub fn key_pair(&self) -> KeyPairPem {
        KeyPairPem { certificates: self.certificate_pem.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// A new key and its serving certificate for these DNS names and IP addresses, the first also as common name.
    pub fn issue(&self, names: &[String], validity: Duration) -> Result<KeyPairPem, TlsError> {
        let wrong = |source| TlsError::Issue { names: names.to_owned(), source };
        let common_name = names.first().map(String::as_str).unwrap_or_default();
        let mut params = parameters(common_name, names, validity).map_err(wrong)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(wrong)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        Ok(KeyPairPem { certificates: certificate.pem(), key: key.serialize_pem() })
    }
}

fn parameters(common_name: &str, names: &[String], validity: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + validity).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::certificates;
    use x509_parser::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn issues_for_names_and_addresses() {
        let authority = Authority::generate("edge-topology", 365 * DAY).expect("generates");
        // As a restarted replica reads it back from its Secret.
        let authority = Authority::from_pem(&authority.key_pair()).expect("reads back");
        let names = ["edge-scheduler.edge-system.svc".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let issued = authority.issue(&names, DAY).expect("issues");

        let der = certificates(issued.certificates.as_bytes(), "test").unwrap().remove(0);
        let ca = certificates(authority.certificate_pem().as_bytes(), "test").unwrap().remove(0);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let (_, ca) = X509Certificate::from_der(&ca).unwrap();
        assert_eq!(certificate.issuer(), ca.subject());
        assert!(ca.is_ca() && !certificate.is_ca());
        let left = certificate.validity().time_to_expiration().expect("valid now");
        assert!(left.whole_hours() >= 23, "{left}");
        let subject = certificate.subject_alternative_name().unwrap().expect("has names");
        let loopback_v6 = std::net::Ipv6Addr::LOCALHOST.octets();
        let expected = [
            GeneralName::DNSName("edge-scheduler.edge-system.svc"),
            GeneralName::IPAddress(&[127, 0, 0, 1]),
            GeneralName::IPAddress(&loopback_v6),
        ];
        assert_eq!(subject.value.general_names, expected);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let authority = Authority::generate("edge-topology", DAY).expect("generates");
        let error = authority.issue(&["é".to_owned()], DAY).expect_err("no DNS name").to_string();
        assert!(error.contains("\"é\""), "{error}");
        let pem = KeyPairPem { certificates: "x".to_owned(), key: "y".to_owned() };
        assert!(matches!(Authority::from_pem(&pem), Err(TlsError::Authority { .. })));
        assert!(!format!("{:?}", authority.key_pair()).contains("PRIVATE"));
    }
}
