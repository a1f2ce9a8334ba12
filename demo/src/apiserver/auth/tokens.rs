//! Bearer tokens: random, opaque, kept in memory with what they stand for.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::Identity;

/// What a token stands for.
#[derive(Debug, Clone)]
pub struct Token {
    /// Whom it names.
    pub identity: Identity,
    /// For whom it was made.
    pub audiences: Vec<String>,
    /// When it ends; never for static tokens.
    pub expires: Option<Instant>,
    /// The object whose life it shares: (resource id, namespace, name, uid).
    pub bound_to: Vec<(&'static str, String, String, String)>,
}

/// The audience of the API server itself.
pub const API_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// Tokens by their text.
#[derive(Debug, Default)]
pub struct Tokens {
    by_text: RwLock<HashMap<String, Token>>,
}

impl Tokens {
    /// Issues a token and returns its text.
    pub fn issue(
        &self,
        identity: Identity,
        audiences: Vec<String>,
        lifetime: Option<Duration>,
        bound_to: Vec<(&'static str, String, String, String)>,
    ) -> String {
        let text = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        let now = Instant::now();
        let expires = lifetime.map(|lifetime| now + lifetime);
        let mut tokens = self.by_text.write().unwrap_or_else(PoisonError::into_inner);
        // Agents renew hourly; without this, a long run would keep every token it ever issued.
        if tokens.len().is_multiple_of(256) {
            tokens.retain(|_, token| token.expires.is_none_or(|expires| expires > now));
        }
        tokens.insert(text.clone(), Token { identity, audiences, expires, bound_to });
        text
    }

    /// What an unexpired token stands for.
    pub fn find(&self, text: &str) -> Option<Token> {
        let tokens = self.by_text.read().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.get(text)?;
        token.expires.is_none_or(|expires| expires > Instant::now()).then(|| token.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lifetime: Option<Duration>, known: bool) {
        let tokens = Tokens::default();
        let identity = Identity::service_account("ns", "sa");
        let text = tokens.issue(identity.clone(), vec!["a".into()], lifetime, Vec::new());
        assert_eq!(tokens.find(&text).map(|t| t.identity), known.then_some(identity));
        assert!(tokens.find("other").is_none());
    }

    #[test]
    fn tokens_are_known_until_they_expire() {
        check(None, true);
        check(Some(Duration::from_secs(600)), true);
        check(Some(Duration::ZERO), false);
    }
}
