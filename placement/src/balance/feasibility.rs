//! Which endpoints may take a request: healthy, within every RTT bound, of the wanted device class, with free slots and fps. Shared by all policies.

use super::{ClassIx, Counts, Endpoints, Request};
use crate::units::Micros;
use std::fmt;

/// Why an endpoint takes no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    RttAbove {
        rtt: Micros,
        bound: Micros,
    },
    RttUnmeasured {
        bound: Micros,
    },
    NotReady,
    DeviceClass,
    NodePool,
    /// It refused connections a moment ago, or this request has been there.
    Out,
    /// Its share of fps is used up.
    Full,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exclusion::RttAbove { rtt, bound } => write!(f, "RTT {rtt} above {bound}"),
            Exclusion::RttUnmeasured { bound } => write!(f, "RTT not measured, bound {bound}"),
            Exclusion::NotReady => f.write_str("not ready"),
            Exclusion::DeviceClass => f.write_str("on another device class"),
            Exclusion::NodePool => f.write_str("outside the node pool"),
            Exclusion::Out => f.write_str("refusing connections"),
            Exclusion::Full => f.write_str("full"),
        }
    }
}

/// Why one endpoint can't take the request now; `None`: it can.
pub fn exclusion(endpoints: &Endpoints, request: &Request<'_>, counts: &impl Counts, at: usize) -> Option<Exclusion> {
    if let Some(excluded) = request.site.excluded[at] {
        return Some(excluded);
    }
    if rank(request.classes, endpoints.classes[at]).is_none() {
        return Some(Exclusion::DeviceClass);
    }
    if counts.out(at) {
        return Some(Exclusion::Out);
    }
    counts.fps_left(at).is_some_and(|left| left < 1.0).then_some(Exclusion::Full)
}

/// Whether the endpoint has reached the watermark of its slots or its fps: it gets nothing new while another is below.
pub fn above_watermark(endpoints: &Endpoints, request: &Request<'_>, counts: &impl Counts, at: usize) -> bool {
    let watermark = f64::from(request.watermark) / 100.0;
    let slots = f64::from(endpoints.slots[at].max(1));
    let fps_used = match (endpoints.fps[at], counts.fps_left(at)) {
        (Some(fps), Some(left)) if fps.0 > 0 => 1.0 - left / f64::from(fps.0),
        _ => 0.0,
    };
    counts.in_flight(at) >= watermark * slots || fps_used >= watermark
}

/// Fills `candidates` with the endpoints that a policy may choose from, by rising index: the feasible ones of the first device class that has one
/// below the watermark; where no class has, the feasible ones of the first class that has any.
pub fn candidates(endpoints: &Endpoints, request: &Request<'_>, counts: &impl Counts, candidates: &mut Vec<usize>) {
    candidates.clear();
    // The best tier so far: below the watermark before above it, then by the priority of the class.
    let mut best = (true, usize::MAX);
    for at in 0..endpoints.len() {
        if exclusion(endpoints, request, counts, at).is_some() {
            continue;
        }
        let Some(rank) = rank(request.classes, endpoints.classes[at]) else { continue };
        let tier = (above_watermark(endpoints, request, counts, at), rank);
        if tier < best || candidates.is_empty() {
            candidates.clear();
            best = tier;
        }
        if tier == best {
            candidates.push(at);
        }
    }
}

/// Place of a class in the priority list; without a list all classes are equal.
fn rank(classes: Option<&[ClassIx]>, class: Option<ClassIx>) -> Option<usize> {
    match classes {
        None => Some(0),
        Some(classes) => classes.iter().position(|&wanted| Some(wanted) == class),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::testing::{Live, world};

    /// Indices of the candidates out of (class, slots, in flight) with the given priority and watermark.
    fn check(endpoints: &[(&str, u32, f64)], priority: &[&str], watermark: u8, expected: &[usize]) {
        let world = world(endpoints.iter().map(|&(class, slots, _)| (class, slots, 1_000)));
        let live = Live { in_flight: endpoints.iter().map(|e| e.2).collect(), ..Live::default() };
        let classes = world.endpoints.priority(priority);
        let request = Request { site: &world.site, classes: classes.as_deref(), watermark };
        let mut found = Vec::new();
        candidates(&world.endpoints, &request, &live, &mut found);
        assert_eq!(found, expected, "{endpoints:?} {priority:?} {watermark}");
    }

    #[test]
    fn a_later_class_serves_only_when_no_earlier_one_can() {
        let idle = [("cpu", 4, 0.0), ("gpu", 2, 0.0), ("gpu", 2, 1.0), ("npu", 1, 0.0)];
        check(&idle, &["gpu", "cpu"], 100, &[1, 2]);
        check(&idle, &["cpu", "gpu"], 100, &[0]);
        check(&idle, &["npu"], 100, &[3]);
        check(&idle, &[], 100, &[0, 1, 2, 3]);
        check(&[("cpu", 4, 0.0), ("gpu", 2, 2.0)], &["gpu", "cpu"], 100, &[0]);
    }

    #[test]
    fn from_the_watermark_on_an_endpoint_waits_until_all_are_there() {
        check(&[("", 10, 8.0), ("", 10, 7.0)], &[], 80, &[1]);
        check(&[("", 10, 8.0), ("", 10, 9.0)], &[], 80, &[0, 1]);
        check(&[("gpu", 1, 1.0), ("cpu", 1, 5.0)], &["gpu", "cpu"], 100, &[0]);
    }

    #[test]
    fn a_class_that_nobody_has_leaves_nothing() {
        check(&[("cpu", 1, 0.0)], &["tpu"], 100, &[]);
        check(&[("", 1, 0.0)], &["cpu"], 100, &[]);
    }

    #[test]
    fn used_up_fps_and_being_out_exclude() {
        let world = world([("", 1, 1_000), ("", 1, 1_000), ("", 1, 1_000)]);
        let live = Live { fps_left: vec![Some(0.5), Some(1.0), None], out: vec![false, false, true], ..Live::idle(3) };
        let request = Request { site: &world.site, classes: None, watermark: 100 };
        let found: Vec<_> = (0..3).map(|at| exclusion(&world.endpoints, &request, &live, at)).collect();
        assert_eq!(found, [Some(Exclusion::Full), None, Some(Exclusion::Out)]);
    }
}
