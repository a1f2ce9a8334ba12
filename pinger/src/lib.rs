//! edge-pinger: measures RTT to the other nodes and this node's devices, and reports both.

pub mod device;
pub mod pacing;
pub mod prober;
