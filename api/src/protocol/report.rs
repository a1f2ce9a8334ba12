//! What agents ask for and send.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;

/// How a sample was taken, in the order in which agents try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeMethod {
    /// ICMP echo through an unprivileged datagram socket.
    IcmpDatagram,
    /// ICMP echo through a raw socket.
    IcmpRaw,
    /// UDP echo between agents.
    Udp,
    /// Time of a TCP handshake.
    Tcp,
}

/// One peer of the asking agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentPeer {
    pub node: Arc<str>,
    /// Address and echo port of the peer's agent; the address is what ICMP goes to. `None` while it is unknown: it can't be probed.
    pub address: Option<SocketAddr>,
    /// Whether the asking agent probes this pair. The other end does otherwise, and this one only as an audit or when asked to.
    pub probe: bool,
}

/// The peers of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peers {
    pub node: String,
    /// Grows with every change; send it back as `after`.
    pub generation: u64,
    /// Time between two probes of one pair.
    pub interval_ms: u64,
    /// Probes in flight are given up after this.
    pub timeout_ms: u64,
    pub peers: Vec<AgentPeer>,
}

/// One pair's window as the reporting node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairReport {
    pub to: Arc<str>,
    pub method: ProbeMethod,
    /// Answered and lost probes in the window.
    pub samples: u16,
    pub lost: u16,
    pub p50_us: u32,
    /// Largest sample of the window from 5 to 15 samples, p90 from 16.
    pub p90_us: u32,
    /// Mean difference of consecutive samples (RFC 3550 without the smoothing).
    pub jitter_us: u32,
    /// Age of the last answered probe when the report was sent, so that clocks need not agree.
    pub age_ms: u64,
    /// The last three probes or more went unanswered.
    pub failing: bool,
}

/// One device class of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// `gpu`, `npu`, `cpu`, …
    pub class: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Stable id, such as a GPU's UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    pub devices: Vec<Device>,
    /// Why a provider gave nothing, by provider: `nvml: library not found`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
}

/// One agent's row, whole or what changed since the sequence before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub node: String,
    /// Start of the agent in ms since the epoch: a restart begins a new epoch.
    pub epoch: u64,
    /// Counts reports within the epoch.
    pub sequence: u64,
    /// `pairs` holds the whole row, and pairs not named are gone.
    pub full: bool,
    /// Where the agent's echo listens; an unspecified address means the node's InternalIP.
    pub echo: Option<SocketAddr>,
    pub pairs: Vec<PairReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<DeviceReport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportAck {
    /// The service lacks what the delta builds on: send the whole row.
    pub need_full: bool,
    /// Peers that this agent should probe although the other end is the prober, because that end can't reach it.
    #[serde(default)]
    pub also_probe: Vec<String>,
}
