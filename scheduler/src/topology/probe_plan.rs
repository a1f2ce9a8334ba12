//! Who probes whom, and how often. Every replica of the service must come to the same plan without talking to the others, so it follows from the
//! names alone.

use std::time::Duration;

/// One pair in this many is probed from both ends, so that a fault of one end's measuring shows.
const AUDIT_ONE_IN: u64 = 32;

/// Whether the agent on `node` probes the pair with `peer`: one end by the hash of the unordered pair, both ends in the audit share.
pub fn probes(node: &str, peer: &str) -> bool {
    let (first, second) = if node < peer { (node, peer) } else { (peer, node) };
    let hash = pair_hash(first, second);
    let audited = (hash >> 32).is_multiple_of(AUDIT_ONE_IN);
    let first_probes = hash & 1 == 0;
    audited || (node == first) == first_probes
}

/// Time between two probes of one pair in a cluster of `nodes`: `base`, or longer where an agent, which probes about half of its peers, would
/// exceed `max_per_second`.
pub fn interval(base: Duration, nodes: usize, max_per_second: f64) -> Duration {
    // A tenth on top of the half: the hash does not split evenly, and audited pairs count on both ends.
    let share = nodes.saturating_sub(1) as f64 * 0.55;
    base.max(Duration::from_secs_f64(share / max_per_second))
}

/// FNV-1a over both names, then MurmurHash3's finalizer: the low bits of FNV alone are little more than a parity of the names'.
fn pair_hash(first: &str, second: &str) -> u64 {
    let bytes = first.bytes().chain([0]).chain(second.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    for multiplier in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(multiplier);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_prober_few_have_two_and_the_load_is_even() {
        let nodes: Vec<String> = (0..200).map(|i| format!("edge-{i}")).collect();
        let mut both = 0;
        let mut load = vec![0; nodes.len()];
        for (i, a) in nodes.iter().enumerate() {
            for (j, b) in nodes.iter().enumerate().skip(i + 1) {
                let (forth, back) = (probes(a, b), probes(b, a));
                assert!(forth || back, "{a} - {b}");
                both += i32::from(forth && back);
                load[i] += i32::from(forth);
                load[j] += i32::from(back);
            }
        }
        // 19,900 pairs: 622 expected twice, each node about 102 probes.
        assert!((450..800).contains(&both), "{both}");
        assert!(load.iter().all(|probes| (70..140).contains(probes)), "{load:?}");
    }

    #[test]
    fn the_interval_grows_with_the_cluster_once_the_rate_is_reached() {
        let check = |nodes, seconds: f64| {
            assert_eq!(interval(Duration::from_secs(10), nodes, 10.0).as_secs_f64().round(), seconds, "{nodes} nodes");
        };
        check(0, 10.0);
        check(14, 10.0);
        check(182, 10.0);
        check(2001, 110.0);
    }
}
