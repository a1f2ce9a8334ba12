//! A wide area network on loopback, in user space and without privileges.
//!
//! Every node has two addresses in 127.0.0.0/8 ([`address`]): programs on the node bind and send from the *private* one and reach
//! other nodes at their *public* one. The [`Switch`] owns all public addresses and holds every datagram and every TCP chunk back for
//! the one-way delay of the ordered pair ([`Links`]), which can be changed, cut and made lossy while it runs.
//!
//! Nothing ever arrives early: whatever is measured through the switch is at least the true matrix. It arrives late by the wake-ups
//! of one thread, some tens of microseconds on an idle machine, for which the delays sit on a timerfd rather than on tokio's
//! millisecond wheel.
//!
//! [`tun`] is the same network for namespaces instead of addresses: it carries IP packets as they are, ICMP included, and needs root.

pub mod address;
mod lateness;
mod links;
mod switch;
mod tcp;
mod timer;
pub mod tun;
mod udp;

pub use lateness::Lateness;
pub use links::{Link, Links, LinksError};
pub use switch::{Counts, Options, Switch, SwitchError};
