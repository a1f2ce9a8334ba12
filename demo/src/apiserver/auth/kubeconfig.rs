//! Kubeconfig files with embedded credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::pki::Credentials;

/// How the holder of a kubeconfig proves who it is.
#[derive(Debug)]
pub enum Proof<'a> {
    /// A client certificate.
    Certificate(&'a Credentials),
    /// A bearer token.
    Token(&'a str),
}

/// A kubeconfig (YAML) with one cluster, one user and one context.
pub fn render(url: &str, ca_pem: &str, user: &str, namespace: &str, proof: &Proof<'_>) -> String {
    let credentials = match proof {
        Proof::Certificate(c) => format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(&c.certificate_pem),
            STANDARD.encode(&c.key_pem)
        ),
        Proof::Token(token) => format!("    token: {token}\n"),
    };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: edge-demo\n  cluster:\n    server: {url}\n    \
         certificate-authority-data: {}\nusers:\n- name: \"{user}\"\n  user:\n{credentials}contexts:\n\
         - name: edge-demo\n  context:\n    cluster: edge-demo\n    user: \"{user}\"\n    \
         namespace: {namespace}\ncurrent-context: edge-demo\n",
        STANDARD.encode(ca_pem)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_reads_it() {
        let text = render("https://127.0.0.1:1", "CA", "system:admin", "default", &Proof::Token("t"));
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("edge-demo"));
        assert_eq!(config.auth_infos[0].name, "system:admin");
        assert!(config.auth_infos[0].auth_info.as_ref().unwrap().token.is_some());
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:1"));
    }
}
