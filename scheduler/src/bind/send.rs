//! One request that leaves only while the lease is held, and what is known of it afterwards.

use chassis::client::Departure;
use kube::api::{Patch, PatchParams};
use kube::{Client, Error};
use serde_json::Value;
use std::pin::pin;
use std::time::Duration;

/// A request, or why there is none.
pub type Built = Result<http::Request<Vec<u8>>, kube::core::request::Error>;

/// How a request ended. Texts are the API server's, where it gave one.
#[derive(Debug)]
pub enum Sent {
    /// The answer to a request that was done.
    Done(Value),
    /// It was not, or, where the code is 429 or above 499, may have been.
    Answered { code: u16, message: String },
    /// There was nobody to send it to.
    Nowhere(String),
    /// It has not left: the lease ran out or the program ends.
    CalledOff,
    /// It may be done, or be under way still.
    Unanswered(String),
}

/// Sends a request and waits for the answer, from when it leaves for `call`; `end` calls it off unless it has left.
pub async fn send(client: &Client, request: Built, call: Duration, departure: &Departure, end: impl Future<Output = ()>) -> Sent {
    let mut request = match request {
        Ok(request) => request,
        Err(error) => return Sent::Nowhere(chassis::program::chain(&error)),
    };
    departure.attach(&mut request);
    let mut sent = pin!(client.request::<Value>(request));
    let called_off = async {
        end.await;
        if !departure.call_off() {
            std::future::pending::<()>().await;
        }
    };
    // However long the rate limit holds it back: nothing is under way before it leaves.
    let early = tokio::select! {
        answer = &mut sent => Some(answer),
        () = departure.left() => None,
        () = called_off => return Sent::CalledOff,
    };
    let answer = match early {
        Some(answer) => Ok(answer),
        None => tokio::time::timeout(call, sent).await,
    };
    match answer {
        Ok(Ok(answer)) => Sent::Done(answer),
        Ok(Err(_)) if departure.is_called_off() => Sent::CalledOff,
        Ok(Err(error)) if departure.call_off() => Sent::Nowhere(words(&error)),
        Ok(Err(Error::Api(status))) => Sent::Answered { code: status.code, message: status.message.clone() },
        Ok(Err(error)) => Sent::Unanswered(words(&error)),
        Err(_elapsed) => Sent::Unanswered(format!("no answer within {call:?}")),
    }
}

/// A merge patch of an object or of a subresource.
pub fn merge(path: String, name: &str, subresource: Option<&str>, body: &Value) -> Built {
    patch(path, name, subresource, &Patch::Merge(body))
}

/// A patch of an object or of a subresource.
pub fn patch(path: String, name: &str, subresource: Option<&str>, patch: &Patch<&Value>) -> Built {
    let objects = kube::core::Request::new(path);
    match subresource {
        Some(subresource) => objects.patch_subresource(subresource, name, &PatchParams::default(), patch),
        None => objects.patch(name, &PatchParams::default(), patch),
    }
}

/// In the API server's words, where it had any.
pub fn words(error: &Error) -> String {
    match error {
        Error::Api(status) => status.message.clone(),
        other => chassis::program::chain(other),
    }
}
