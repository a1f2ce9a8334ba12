//! Small tables of endpoints for the tests of the pickers.

use super::{Counts, Endpoint, Endpoints, PathRtt, SiteColumn};
use crate::units::Micros;

pub struct World {
    pub endpoints: Endpoints,
    pub site: SiteColumn,
}

/// Endpoints as (class or "", slots, RTT from the site in us), without bounds.
pub fn world<'a>(endpoints: impl IntoIterator<Item = (&'a str, u32, u32)>) -> World {
    let rows: Vec<_> = endpoints.into_iter().collect();
    let endpoint = |&(class, slots, _): &(&str, u32, u32)| {
        let class = (!class.is_empty()).then(|| class.to_owned());
        Endpoint { class, slots, ..Endpoint::default() }
    };
    let endpoints: Endpoints = rows.iter().map(endpoint).collect();
    let path = |at: usize| Some(PathRtt { p50: Micros(rows[at].2), p90: Micros(rows[at].2) });
    let site = SiteColumn::new(&endpoints, path, |_| None);
    World { endpoints, site }
}

/// Counts as columns; a column that is too short means 0, none or no. Every request takes 10 ms.
#[derive(Clone, Debug, Default)]
pub struct Live {
    pub in_flight: Vec<f64>,
    pub fps_left: Vec<Option<f64>>,
    pub out: Vec<bool>,
}

impl Live {
    pub fn idle(endpoints: usize) -> Live {
        Live { in_flight: vec![0.0; endpoints], ..Live::default() }
    }
}

impl Counts for Live {
    fn in_flight(&self, endpoint: usize) -> f64 {
        self.in_flight.get(endpoint).copied().unwrap_or(0.0)
    }

    fn service(&self, _endpoint: usize) -> Micros {
        Micros(10_000)
    }

    fn fps_left(&self, endpoint: usize) -> Option<f64> {
        self.fps_left.get(endpoint).copied().flatten()
    }

    fn out(&self, endpoint: usize) -> bool {
        self.out.get(endpoint).copied().unwrap_or(false)
    }
}
