//! The endpoints of one load balancer as columns.

use super::Exclusion;
use crate::cluster::NodeIx;
use crate::units::Fps;

/// An endpoint's place in the columns of its load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointIx(pub u32);

impl EndpointIx {
    /// The index as a position in a column.
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// A device class of one load balancer (`gpu`, `cpu`, …), as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassIx(pub u16);

/// One endpoint on its way into the columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub node: NodeIx,
    /// Device class that it computes on, when known.
    pub class: Option<String>,
    /// Requests that it serves at once without queueing.
    pub slots: u32,
    /// Requests per second that it takes; `None`: no limit.
    pub fps: Option<Fps>,
    /// For the weighted policies; 0 counts as 1.
    pub weight: u32,
    pub price: f64,
    /// Why it takes nothing from any site; `None`: healthy.
    pub barred: Option<Exclusion>,
}

/// Immutable; a change of the set makes new ones.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    pub nodes: Vec<NodeIx>,
    pub classes: Vec<Option<ClassIx>>,
    pub slots: Vec<u32>,
    pub fps: Vec<Option<Fps>>,
    pub weights: Vec<u32>,
    pub prices: Vec<f64>,
    pub barred: Vec<Option<Exclusion>>,
    class_names: Vec<String>,
}

impl Endpoints {
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Device classes by priority, for [`super::Request::classes`]; `None` when none is named. A class that no endpoint has is left out: it serves nobody.
    pub fn priority<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Option<Vec<ClassIx>> {
        let mut names = names.into_iter().peekable();
        names.peek()?;
        Some(names.filter_map(|name| self.class(name.as_ref())).collect())
    }

    /// Name of an endpoint's device class, when it is known.
    pub fn class_name(&self, at: usize) -> Option<&str> {
        self.classes[at].map(|class| self.class_names[usize::from(class.0)].as_str())
    }

    fn class(&self, name: &str) -> Option<ClassIx> {
        self.class_names.iter().position(|known| known == name).map(|at| ClassIx(at as u16))
    }
}

impl FromIterator<Endpoint> for Endpoints {
    fn from_iter<T: IntoIterator<Item = Endpoint>>(endpoints: T) -> Endpoints {
        let mut columns = Endpoints::default();
        for endpoint in endpoints {
            let class = endpoint.class.map(|name| {
                columns.class(&name).unwrap_or_else(|| {
                    columns.class_names.push(name);
                    ClassIx(columns.class_names.len() as u16 - 1)
                })
            });
            columns.nodes.push(endpoint.node);
            columns.classes.push(class);
            columns.slots.push(endpoint.slots);
            columns.fps.push(endpoint.fps);
            columns.weights.push(endpoint.weight);
            columns.prices.push(endpoint.price);
            columns.barred.push(endpoint.barred);
        }
        columns
    }
}

/// An endpoint with one slot, weight 1, no price and nothing against it.
impl Default for Endpoint {
    fn default() -> Endpoint {
        Endpoint { node: NodeIx(0), class: None, slots: 1, fps: None, weight: 1, price: 0.0, barred: None }
    }
}
