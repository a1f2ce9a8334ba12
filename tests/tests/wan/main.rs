//! A real network: namespaces with their own kernel stacks, joined by a delay switch over TUN devices, with real agents, routers and pods on it.
//! Needs root, /dev/net/tun and `ip`; left out, saying so, where one is missing.

#![allow(clippy::unwrap_used)]

mod agents;
mod cluster;
mod routing;
mod switch;

use edge_tests::wan::{remove_leftovers, unavailable};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The right to run a network, one test at a time: they share the machine's time, which is what they measure.
fn alone(test: &str) -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if let Some(why) = unavailable() {
        println!("SKIPPED {test}: {why}");
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let removed = remove_leftovers();
    if removed > 0 {
        println!("removed {removed} namespaces of processes that are gone");
    }
    Some(alone)
}
