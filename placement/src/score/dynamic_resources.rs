//! DynamicResources: the earlier in its list a request's alternative stands that the node can give, the better (kube-scheduler 1.37).

use crate::devices::{Allocation, Claim};

/// Alternatives that a request can have, as the API server has it; the first counts this many points.
const MOST_VARIANTS: i64 = 8;

/// Of one claim, before it is normalised among the nodes.
pub fn score(claim: &Claim, allocation: &Allocation) -> i64 {
    let prioritized = claim.requests.iter().filter(|request| request.prioritized);
    let taken = prioritized.flat_map(|request| (0..request.variants.len()).map(move |variant| (variant, request.name_of(variant))));
    let taken = taken.filter(|(_, name)| allocation.devices.iter().any(|device| device.request == *name));
    taken.map(|(variant, _)| MOST_VARIANTS - variant as i64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PodKey;
    use crate::devices::{AllocatedDevice, Amount, Request, Variant};

    #[test]
    fn the_first_alternative_counts_most() {
        let variant = |name: &str| Variant {
            name: name.into(),
            class: "gpu".into(),
            selectors: vec![],
            amount: Amount::Count(1),
            admin_access: false,
            tolerations: vec![],
        };
        let request = |name: &str, variants: &[&str]| Request {
            name: name.into(),
            variants: variants.iter().map(|name| variant(name)).collect(),
            prioritized: variants.len() > 1,
        };
        let claim = Claim { requests: vec![request("a", &["x", "y"]), request("b", &[""])], ..Claim::new(PodKey::new("d", "c"), "u") };
        let check = |requests: &[&str], expected: i64| {
            let device = |request: &&str| AllocatedDevice {
                request: (*request).to_owned(),
                driver: "gpu.test".into(),
                pool: "p".into(),
                device: "d".into(),
                admin_access: false,
                tolerations: vec![],
            };
            let allocation = Allocation { devices: requests.iter().map(device).collect(), ..Allocation::default() };
            assert_eq!(score(&claim, &allocation), expected, "{requests:?}");
        };
        check(&["a/x", "a/x", "b"], 8);
        check(&["a/y", "b"], 7);
        check(&["b"], 0);
    }
}
