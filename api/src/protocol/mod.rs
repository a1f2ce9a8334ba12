//! The topology protocol, version 1: JSON over HTTPS between agents, routers and the topology service in edge-scheduler.
//!
//! | call | who | in, out |
//! |---|---|---|
//! | `GET /v1/peers?after=N` | agent | [`Peers`]; waits up to 30 s while its generation is N |
//! | `POST /v1/report` | agent | [`Report`] -> [`ReportAck`] |
//! | `GET /v1/snapshot` | reader | [`TopologySnapshot`] |
//! | `GET /v1/stream?sites=A,B` | reader | one [`StreamEvent`] a line, a snapshot first; with `sites` only pairs with one of these nodes at an end |
//! | `POST /v1/demand` | router | [`DemandReport`] |
//!
//! RTTs are whole microseconds (`…Us`), moments milliseconds since the Unix epoch (`…Ms`).

mod demand;
mod report;
mod stream;

pub use demand::{DemandReport, DemandRow};
pub use report::{AgentPeer, Device, DeviceReport, PairReport, Peers, ProbeMethod, Report, ReportAck};
pub use stream::{LoadRow, NodeEntry, PairEntry, StreamEvent, TopologyDelta, TopologySnapshot};

/// Largest body of a report that the service reads, in bytes. A full row of 4,096 nodes takes about 600 kB.
pub const REPORT_LIMIT_BYTES: usize = 4 << 20;
/// Longest RTT an agent may report, in microseconds: a minute. Longer is a fault of the reporter.
pub const RTT_LIMIT_US: u32 = 60_000_000;
/// Audience of the service account tokens that agents and routers present.
pub const TOKEN_AUDIENCE: &str = "edge-topology";
