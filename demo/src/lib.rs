//! The embedded cluster and the simulated world that the demo runs the three programs in.

pub mod apiserver;
pub mod controllers;
pub mod kubelet;
pub mod random;
pub mod run;
pub mod wan;
pub mod world;
