//! A wide area network of IP packets, between network namespaces, in user space: needs root and `/dev/net/tun`, but no module of the kernel for delays.
//!
//! Every node is a network namespace with one TUN device, its [`Port`]. The [`TunSwitch`] reads them all, finds the node that a packet is for by
//! the packet's destination, and writes the packet there after the one-way delay of the ordered pair ([`Links`](super::Links)). It changes nothing in a packet, so it
//! is one wire between any two nodes: no hop that counts down a time to live, no fragmentation. What no node has for an address (multicast, say) is dropped.
//!
//! A link is a queue: jitter never lets a packet overtake another of its direction, which TCP would take for loss.

mod packet;
mod port;
mod switch;

pub use port::{Port, PortError};
pub use switch::{TunCounts, TunSwitch, TunSwitchError};
