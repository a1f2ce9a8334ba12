//! Bodies of bounded size, as JSON, with errors that say where they are wrong.

use axum::body::Body;
use chassis::http_error::HttpError;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

/// Reads at most `limit` bytes: 413 beyond, 400 for what is not the JSON expected.
pub async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, HttpError> {
    let bytes = match Limited::new(body, limit).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(HttpError::too_large(limit)),
        Err(error) => return Err(HttpError::bad_request(format!("the request body broke off: {error}"))),
    };
    serde_json::from_slice(&bytes).map_err(|error| HttpError::bad_request(format!("not what was expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::agents::tests::{pair, report};
    use api::protocol::Report;

    async fn check(body: String, status: u16, part: &str) {
        match json::<Report>(Body::from(body), 4096).await {
            Ok(_) => assert_eq!((200, ""), (status, part)),
            Err(error) => {
                assert_eq!(error.status.as_u16(), status, "{error}");
                assert!(error.message.contains(part), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn figures_that_are_none_and_large_bodies_are_refused() {
        let good = serde_json::to_string(&report("a", 1, 1, true, vec![pair("b", 4_000)])).unwrap();
        check(good.clone(), 200, "").await;
        check(good.replace("\"p90Us\":4000", "\"p90Us\":NaN"), 400, "at line 1 column").await;
        check(good.replace("\"p90Us\":4000", "\"p90Us\":-1"), 400, "invalid value: integer `-1`").await;
        check(good.replace("\"p90Us\":4000", "\"p90Us\":36000000000"), 400, "invalid value: integer `36000000000`").await;
        check("{".into(), 400, "EOF").await;
        check(format!("{good}{}", " ".repeat(5000)), 413, "exceeds 4096 bytes").await;
    }
}
