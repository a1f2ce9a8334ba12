//! Who owns which field of an object (`metadata.managedFields`): kept for every write, and what server-side apply decides by.

mod apply;
mod managers;
mod set;
mod walk;

pub use apply::{Conflicts, apply};
pub use managers::{Manager, Managers, Operation};
pub use walk::{duplicates, fields_of};

use serde_json::Value;

use super::schema::Typed;
use set::FieldSet;

/// Metadata that belong to nobody, because the server writes them or they cannot change.
const OWNERLESS: [&str; 8] =
    ["f:name", "f:namespace", "f:uid", "f:creationTimestamp", "f:selfLink", "f:generation", "f:managedFields", "f:resourceVersion"];

/// Which part of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    All,
    /// All but the status.
    Main,
    /// The status; of the metadata only what may be written through it.
    Status {
        /// Whether labels and annotations may.
        metadata: bool,
    },
}

impl Scope {
    /// Takes out what nobody owns or the write cannot touch.
    pub fn keep(self, set: &mut FieldSet) {
        set.forget("f:apiVersion");
        set.forget("f:kind");
        match self {
            Self::All => {}
            Self::Main => set.forget("f:status"),
            Self::Status { metadata } => {
                set.forget("f:spec");
                if !metadata {
                    set.forget("f:metadata");
                }
            }
        }
        set.forget_inside("f:metadata", |step| OWNERLESS.contains(&step));
    }
}

/// The fields of `then` that are in `now` as they were.
pub fn kept(typed: Typed<'_>, then: &Value, now: &Value) -> FieldSet {
    let mut kept = fields_of(typed, then);
    let (changed, removed) = walk::compare(typed, then, now).set();
    kept.subtract(&changed);
    kept.subtract(&removed);
    kept
}

/// The managers of a new object that was not applied.
pub fn first_managers(typed: Typed<'_>, value: &Value, by: Manager) -> Managers {
    update(typed, Scope::Main, &typed.empty(), value, Managers::default(), by).unwrap_or_default()
}

/// The managers of an object after a write that replaced `old` by `new`, neither with `managedFields`; `None` where nothing that
/// anyone owns has changed.
pub fn update(typed: Typed<'_>, scope: Scope, old: &Value, new: &Value, mut managers: Managers, by: Manager) -> Option<Managers> {
    let (mut changed, mut removed) = walk::compare(typed, old, new).set();
    scope.keep(&mut changed);
    scope.keep(&mut removed);
    if changed.is_empty() && removed.is_empty() {
        return None;
    }
    managers.take_away(&changed);
    managers.take_away(&removed);
    managers.give(by, changed);
    Some(managers)
}
