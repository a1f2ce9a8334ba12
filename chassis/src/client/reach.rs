//! The wait at start until the API server answers.

use super::Connection;
use crate::{backoff::Backoff, shutdown::Shutdown};
use std::{error::Error as _, time::Duration};

/// Shutdown came before what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shut down while waiting for the API server")]
pub struct Interrupted;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Asks for the server's version until it answers, with growing delays, and says in the log why it does not.
///
/// Refused credentials (401) are retried as well: a token or a role binding may come later.
pub async fn wait_until_reachable(connection: &Connection, shutdown: &Shutdown) -> Result<(), Interrupted> {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let answer = shutdown.interrupt(connection.client.apiserver_version()).await.ok_or(Interrupted)?;
        let problem = match answer {
            Ok(version) => {
                tracing::info!(server = %connection.server, version = version.git_version, "API server reached");
                return Ok(());
            }
            // It answers, it only does not tell us its version: what we may do is for the calls to come to find out.
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => return Ok(()),
            Err(kube::Error::Api(status)) => {
                format!("answered {}: {}", status.code, status.message)
            }
            Err(error) => format!("unreachable: {}", innermost(&error)),
        };
        let delay = backoff.delay();
        tracing::warn!("API server {} {problem}; retrying in {:.0} s", connection.server, delay.as_secs_f64());
        if !shutdown.sleep(delay).await {
            return Err(Interrupted);
        }
    }
}

/// The last cause of an error: "connection refused" rather than the three layers that passed it on.
fn innermost(error: &kube::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{ClientConfig, connect_with},
        mock_api::{self, failure, json_response},
    };
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    fn mock(client: kube::Client) -> Connection {
        Connection { client, server: "https://192.0.2.1:6443/".parse().unwrap(), namespace: "default".into() }
    }

    /// Answers with each of `answers` in turn, the last one for ever; returns how often it was asked and how long it took.
    async fn check(answers: &'static [(u16, &'static str)], limit: Duration) -> (Option<Result<(), Interrupted>>, usize, Duration) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let client = mock_api::client(move |_request| {
            let (status, text) = answers[counter.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)];
            async move {
                match status {
                    0 => Err(text.to_owned()),
                    200 => Ok(json_response(
                        200,
                        &serde_json::json!({
                            "major": "1", "minor": "37", "gitVersion": "v1.37.0", "gitCommit": "", "gitTreeState": "", "buildDate": "",
                            "goVersion": "", "compiler": "", "platform": "",
                        }),
                    )),
                    other => Ok(failure(other, "Whatever", text)),
                }
            }
        });
        let shutdown = Shutdown::new();
        let start = tokio::time::Instant::now();
        let result = tokio::time::timeout(limit, wait_until_reachable(&mock(client), &shutdown)).await.ok();
        (result, asked.load(Ordering::Relaxed), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn waits_until_the_server_answers() {
        let (result, asked, took) = check(&[(0, "connection refused"), (503, "starting"), (401, "who"), (200, "")], LONGEST_RETRY).await;
        assert_eq!((result, asked), (Some(Ok(())), 4));
        assert!(took >= Duration::from_secs(1 + 2 + 4), "{took:?}");
        let (result, asked, _) = check(&[(403, "not you")], LONGEST_RETRY).await;
        assert_eq!((result, asked), (Some(Ok(())), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_trying_and_slows_down() {
        let (result, asked, _) = check(&[(0, "connection refused")], Duration::from_secs(600)).await;
        assert_eq!(result, None);
        assert!((18..=27).contains(&asked), "{asked} tries in 10 minutes");
    }

    #[tokio::test]
    async fn a_closed_port_is_waited_for_until_shutdown() {
        // Port 1 (tcpmux): nobody listens there, and no other test is given it.
        let server = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let connection = connect_with(server, &ClientConfig::default()).expect("builds");
        let error = connection.client.apiserver_version().await.expect_err("nobody listens");
        assert!(innermost(&error).contains("onnection refused"), "{}", innermost(&error));

        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { wait_until_reachable(&connection, &shutdown).await }
        });
        tokio::task::yield_now().await;
        shutdown.trigger();
        let result = tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("ends with the shutdown").unwrap();
        assert_eq!(result, Err(Interrupted));
    }
}
