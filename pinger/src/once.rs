//! `--once`: probe every peer a few times, print a table, exit.

use crate::prober::Prober;
use api::protocol::ProbeMethod;
use comfy_table::{Table, presets};
use placement::topology::window::Window;
use placement::units::{Micros, Timestamp};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A peer given on the command line: `name=address`, or an address that is its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerArg {
    pub name: String,
    pub address: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no peer: write NAME=ADDRESS or ADDRESS, such as edge-2=10.0.0.2")]
pub struct PeerArgError(String);

impl FromStr for PeerArg {
    type Err = PeerArgError;

    fn from_str(text: &str) -> Result<PeerArg, PeerArgError> {
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        match address.parse() {
            Ok(address) if !name.is_empty() => Ok(PeerArg { name: name.to_owned(), address }),
            _ => Err(PeerArgError(text.to_owned())),
        }
    }
}

/// Samples per peer: enough for a figure that counts.
const SAMPLES: u32 = 5;
/// Probes of one peer follow each other at this distance.
const GAP: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(2);

/// One peer's result.
#[derive(Debug)]
pub struct Line {
    pub peer: String,
    pub address: SocketAddr,
    /// The method that answered, or why none did.
    pub outcome: Result<(ProbeMethod, Window), String>,
}

/// Probes each peer by the first method that answers.
pub async fn measure(peers: Vec<(String, SocketAddr)>, probers: &[Arc<dyn Prober>]) -> Vec<Line> {
    let probes = peers.into_iter().map(|(peer, address)| async move {
        let mut why = "no method is usable".to_owned();
        for prober in probers.iter().filter(|prober| prober.reaches(address.ip())) {
            match measure_by(prober.as_ref(), address).await {
                Ok(window) => return Line { peer, address, outcome: Ok((prober.method(), window)) },
                Err(error) => why = error,
            }
        }
        Line { peer, address, outcome: Err(why) }
    });
    futures::future::join_all(probes).await
}

async fn measure_by(prober: &dyn Prober, address: SocketAddr) -> Result<Window, String> {
    let mut window = Window::default();
    let mut last_error = None;
    for sample in 0..SAMPLES {
        let moment = Timestamp(u64::from(sample));
        match prober.probe(address, TIMEOUT).await {
            Ok(rtt) => window.answered(Micros(u32::try_from(rtt.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX)), moment),
            Err(error) => {
                window.lost(moment);
                last_error = Some(error.to_string());
                // Two silences in a row: the next method, rather than ten seconds of waiting.
                if sample > 0 && window.samples() == 0 {
                    break;
                }
            }
        }
        tokio::time::sleep(GAP).await;
    }
    if window.samples() == 0 { Err(last_error.unwrap_or_default()) } else { Ok(window) }
}

pub fn table(lines: &[Line]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PEER", "ADDRESS", "METHOD", "P50", "P90", "LOST"]);
    for line in lines {
        let address = line.address.ip().to_string();
        match &line.outcome {
            Ok((method, window)) => {
                let method = serde_json::to_value(method).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
                let figure = |pick: fn(&placement::topology::window::Figures) -> Micros| {
                    window.figures().map_or_else(|| "-".to_owned(), |f| pick(&f).to_string())
                };
                let lost = format!("{} of {SAMPLES}", window.losses());
                table.add_row([line.peer.clone(), address, method, figure(|f| f.p50), figure(|f| f.p90), lost]);
            }
            Err(why) => {
                table.add_row([line.peer.clone(), address, "-".into(), "-".into(), "-".into(), why.clone()]);
            }
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::UdpEcho;

    #[test]
    fn peers_are_read_with_and_without_a_name() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(name, address)| PeerArg { name: name.into(), address: address.parse().unwrap() });
            assert_eq!(text.parse::<PeerArg>().ok(), expected, "{text}");
        };
        check("edge-2=10.0.0.2", Some(("edge-2", "10.0.0.2")));
        check("10.0.0.2", Some(("10.0.0.2", "10.0.0.2")));
        check("v6=fd00::1", Some(("v6", "fd00::1")));
        check("edge-2", None);
        check("=10.0.0.2", None);
    }

    #[tokio::test]
    async fn a_peer_that_answers_has_figures_and_a_silent_one_a_reason() {
        let own = UdpEcho::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let peer = UdpEcho::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let near = peer.local_addr();
        let closed = {
            let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let probers: Vec<Arc<dyn Prober>> = vec![own.clone()];
        let peers = vec![("near".to_owned(), near), ("closed".to_owned(), closed)];
        let lines = tokio::select! {
            lines = measure(peers, &probers) => lines,
            () = own.serve() => unreachable!(),
            () = peer.serve() => unreachable!(),
        };
        let (method, window) = lines[0].outcome.as_ref().unwrap();
        assert_eq!((*method, window.samples()), (ProbeMethod::Udp, 5));
        assert!(lines[1].outcome.is_err());
        let text = table(&lines);
        assert!(text.contains("near") && text.contains("udp") && text.contains("0 of 5"), "{text}");
    }
}
