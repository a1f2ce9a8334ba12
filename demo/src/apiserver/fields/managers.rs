//! The managers of an object, read from and written to `metadata.managedFields`.

use serde_json::{Value, json};

use super::set::FieldSet;
use crate::apiserver::verbs::now;

/// Most managers by update that an object keeps apart; the oldest of more become one.
const UPDATERS: usize = 10;

/// Who the oldest managers become.
const ANCIENT: &str = "ancient-changes";

/// How a manager came by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// It applied them.
    Apply,
    /// It wrote them in any other way.
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One manager and what it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `fieldManager`, or what the client calls itself.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// In which version.
    pub api_version: String,
    /// Through which subresource; empty for none.
    pub subresource: String,
    /// When it last did, in whole seconds.
    pub time: Option<String>,
    /// What it owns.
    pub fields: FieldSet,
}

impl Manager {
    /// Who writes an object as a whole, now.
    pub fn updater(name: &str, api_version: &str) -> Self {
        Self {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: api_version.to_owned(),
            subresource: String::new(),
            time: Some(now()),
            fields: FieldSet::default(),
        }
    }

    /// Whether both are one. Who applies is the same in every version.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// As messages name it.
    pub fn described(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn from_value(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Some(Self {
            name: text("manager"),
            operation: match value["operation"].as_str()? {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            },
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: value["time"].as_str().map(str::to_owned),
            fields: FieldSet::from_value(&value["fieldsV1"])?,
        })
    }

    fn to_value(&self) -> Value {
        let mut value = json!({ "manager": self.name, "operation": self.operation.text(), "apiVersion": self.api_version });
        if let Some(time) = &self.time {
            value["time"] = time.as_str().into();
        }
        value["fieldsType"] = "FieldsV1".into();
        value["fieldsV1"] = self.fields.to_value();
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }
}

/// Everyone who owns a field of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Managers(pub Vec<Manager>);

impl Managers {
    /// Reads `managedFields`; `None` where it is not a list of managers.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::default()),
            Value::Array(list) => list.iter().map(Manager::from_value).collect::<Option<Vec<_>>>().map(Self),
            _ => None,
        }
    }

    /// `managedFields`: who applies first, then by time and name.
    pub fn into_value(mut self) -> Value {
        self.join_oldest();
        // One without a time comes before all others; times are written so that text compares as they do.
        self.0.sort_by(|a, b| {
            (a.operation, &a.time, &a.name, &a.api_version, &a.subresource).cmp(&(
                b.operation,
                &b.time,
                &b.name,
                &b.api_version,
                &b.subresource,
            ))
        });
        self.0.iter().map(Manager::to_value).collect()
    }

    /// Takes fields away from everyone.
    pub fn take_away(&mut self, fields: &FieldSet) {
        for manager in &mut self.0 {
            manager.fields.subtract(fields);
        }
        self.0.retain(|manager| !manager.fields.is_empty());
    }

    /// Gives fields to a manager besides those that it has.
    pub fn give(&mut self, by: Manager, fields: FieldSet) {
        if fields.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|manager| manager.is(&by)) {
            Some(manager) => {
                manager.fields.unite(fields);
                manager.time = by.time;
            }
            None => self.0.push(Manager { fields, ..by }),
        }
    }

    fn join_oldest(&mut self) {
        let mut updaters: Vec<usize> = (0..self.0.len()).filter(|at| self.0[*at].operation == Operation::Update).collect();
        if updaters.len() <= UPDATERS {
            return;
        }
        updaters.sort_by(|a, b| self.0[*a].time.cmp(&self.0[*b].time));
        let oldest: Vec<usize> = updaters[..=updaters.len() - UPDATERS].to_vec();
        let mut kept = Vec::with_capacity(UPDATERS);
        let mut ancient: Option<Manager> = None;
        for (at, manager) in std::mem::take(&mut self.0).into_iter().enumerate() {
            if !oldest.contains(&at) {
                kept.push(manager);
                continue;
            }
            match &mut ancient {
                Some(joined) => {
                    joined.fields.unite(manager.fields);
                    joined.time = joined.time.take().max(manager.time);
                }
                None => ancient = Some(Manager { name: ANCIENT.to_owned(), subresource: String::new(), ..manager }),
            }
        }
        kept.extend(ancient);
        self.0 = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str, operation: Operation, time: &str) -> Manager {
        let fields = FieldSet::from_value(&json!({ format!("f:{name}"): {} })).unwrap();
        Manager {
            name: name.to_owned(),
            operation,
            api_version: "v1".to_owned(),
            subresource: String::new(),
            time: Some(time.to_owned()),
            fields,
        }
    }

    #[test]
    fn who_applies_comes_first_then_the_oldest() {
        let managers = Managers(vec![
            manager("late", Operation::Update, "2026-01-02T00:00:00Z"),
            manager("early", Operation::Update, "2026-01-01T00:00:00Z"),
            manager("applies", Operation::Apply, "2026-01-03T00:00:00Z"),
        ]);
        let written = managers.clone().into_value();
        let names: Vec<&str> = written.as_array().unwrap().iter().filter_map(|m| m["manager"].as_str()).collect();
        assert_eq!(names, ["applies", "early", "late"]);
        assert_eq!(Managers::from_value(&written).unwrap().0.len(), 3);
        assert_eq!(Managers::from_value(&json!([{ "manager": "x" }])), None);
    }

    #[test]
    fn no_object_keeps_managers_without_end() {
        let managers = Managers(
            (0..14).map(|at| manager(&format!("m{at:02}"), Operation::Update, &format!("2026-01-{:02}T00:00:00Z", at + 1))).collect(),
        );
        let written = managers.into_value();
        assert_eq!(written.as_array().unwrap().len(), UPDATERS);
        assert_eq!(written[0]["manager"], ANCIENT);
        assert_eq!(written[0]["fieldsV1"].as_object().unwrap().len(), 5);
    }
}
