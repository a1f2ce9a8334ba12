//! What is tried on control planes of its own: the real API server itself, what `configs/` installs on it, and edge-scheduler beside kube-scheduler, in its
//! place, and as its extender. Every module is left out, saying so, where the control plane is not built. Tests of a module take turns; modules run at once.

#![allow(clippy::unwrap_used)]

mod coexistence;
mod end_state;
mod extender;
mod installed;
mod messages;
mod metrics;
mod parity;
