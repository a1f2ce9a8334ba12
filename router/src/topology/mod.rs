//! The topology as a router needs it: the rows of its client sites, followed from the topology service.

mod view;

pub use view::TopologyView;
