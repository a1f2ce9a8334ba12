//! The topology as a router needs it: the rows of its client sites, followed from the topology service.

mod follow;
mod view;

pub use follow::{FollowStatus, follow};
pub use view::{Changed, TopologyView};
