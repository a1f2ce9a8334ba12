//! The measured network: RTT per pair with what is known about each figure, and views of it.

mod code;
pub mod layers;
pub mod matrix;
mod mesh;
mod pair;
mod row;
pub mod sites;
mod store;
mod summary;
pub mod views;
pub mod window;

pub use layers::Layers;
pub use mesh::Mesh;
pub use pair::{Kind, PairStat};
pub use row::Row;
pub use sites::{Site, SiteRule};
pub use store::{PairChange, RttStore};
pub use summary::{DetourLine, LayerLine, SiteLine, Summary, SummaryNode};
