//! From where, and how much, the pods of a workload are asked.

use crate::cluster::NodeIx;
use crate::units::Micros;

/// Demand per client site. The scheduler averages response time over it.
#[derive(Clone, Debug, PartialEq)]
pub struct Demand {
    /// Node by which clients enter, and requests per second. By rising index.
    pub sites: Vec<(NodeIx, f64)>,
    /// Time to serve one request without queueing; zero when not known yet.
    pub service: Micros,
}

impl Demand {
    /// Rates that are no positive number are left out.
    pub fn new(mut sites: Vec<(NodeIx, f64)>, service: Micros) -> Demand {
        sites.retain(|&(_, rate)| rate.is_finite() && rate > 0.0);
        sites.sort_by_key(|site| site.0);
        Demand { sites, service }
    }

    pub fn names(&self, ix: NodeIx) -> bool {
        self.sites.iter().any(|site| site.0 == ix)
    }
}
