//! A wide area network of network namespaces, for suites that need a real kernel's ICMP, TCP and UDP: namespaces, the programs in them, and the
//! delay switch of TUN devices between them. Needs root.
//!
//! Everything is named by this process's id and removed at the end; what a process that died left behind is removed by the next one.

mod namespace;
mod network;
mod program;

pub use namespace::{Namespace, NamespaceError, remove_leftovers, unavailable};
pub use network::{Network, NetworkError, address_v4, address_v6};
pub use program::{Program, ProgramError, build};
