//! The checks as axum layers, and the caller as a handler's argument.

use super::{AuthError, Authenticator, Authorizer, Identity};
use crate::http_error::HttpError;
use axum::{
    Router,
    extract::{FromRequestParts, OriginalUri, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};

/// Lets only callers with a valid token through to the routes added so far: 401 otherwise, 503 when it cannot be reviewed.
pub fn require_token<S: Clone + Send + Sync + 'static>(router: Router<S>, authenticator: &Authenticator) -> Router<S> {
    let authenticator = authenticator.clone();
    router.route_layer(middleware::from_fn(move |request: Request, next: Next| {
        let authenticator = authenticator.clone();
        async move {
            match identify(&authenticator, credentials(&request)).await {
                Ok(identity) => pass(request, identity, next).await,
                Err(error) => refuse(error),
            }
        }
    }))
}

/// As [`require_token`], and the caller must be allowed the method (in lower case) on the path: 403 otherwise.
pub fn require_access<S>(router: Router<S>, authenticator: &Authenticator, authorizer: &Authorizer) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let (authenticator, authorizer) = (authenticator.clone(), authorizer.clone());
    router.route_layer(middleware::from_fn(move |OriginalUri(uri): OriginalUri, request: Request, next: Next| {
        let (authenticator, authorizer) = (authenticator.clone(), authorizer.clone());
        async move {
            let (credentials, verb) = (credentials(&request), request.method().as_str().to_lowercase());
            let checked = async {
                let identity = identify(&authenticator, credentials).await?;
                authorizer.authorize(&identity, &verb, uri.path()).await?;
                Ok(identity)
            };
            match checked.await {
                Ok(identity) => pass(request, identity, next).await,
                Err(error) => refuse(error),
            }
        }
    }))
}

/// Taken out of the request, whose body must not be held across an await.
fn credentials(request: &Request) -> Option<HeaderValue> {
    request.headers().get(header::AUTHORIZATION).cloned()
}

async fn identify(authenticator: &Authenticator, credentials: Option<HeaderValue>) -> Result<Identity, AuthError> {
    let missing = || AuthError::NoToken { audience: authenticator.audience().to_owned() };
    let value = credentials.as_ref().and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
    // The scheme's case does not count (RFC 9110, section 11.1).
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    authenticator.authenticate(token).await
}

async fn pass(mut request: Request, identity: Identity, next: Next) -> Response {
    request.extensions_mut().insert(identity);
    next.run(request).await
}

fn refuse(error: AuthError) -> Response {
    let mut response = HttpError::from(error).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        // Only a route that forgot its layer comes here without one: refuse rather than serve unchecked.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| HttpError::unauthorized("this route does not authenticate its callers"))
    }
}
