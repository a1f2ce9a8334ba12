//! What is known of the type at one place of an object, for those who walk values rather than judge them.

use serde_json::{Map, Value};

use super::{Definitions, ListType, Schema};

/// A schema at one place of an object, as far as there is one: in parts that no schema describes, maps merge key by key and lists are
/// one piece.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a> {
    definitions: &'a Definitions,
    schema: Option<&'a Schema>,
    /// Whether this is the root of an object whose schema leaves out the metadata.
    custom_root: bool,
}

impl<'a> Typed<'a> {
    /// At the root of an object; the schemas of custom resources say nothing of the metadata.
    pub fn root(definitions: &'a Definitions, schema: Option<&'a Schema>, custom: bool) -> Self {
        Self { definitions, schema, custom_root: custom }
    }

    fn resolved(self) -> Option<&'a Schema> {
        self.schema.map(|schema| self.definitions.resolve(schema))
    }

    /// At a field or at a map's key.
    pub fn field(self, name: &str) -> Self {
        let schema = match self.resolved() {
            Some(_) if self.custom_root && name == "metadata" => Some(self.definitions.metadata()),
            found => found.and_then(|schema| schema.field(name)),
        };
        Self { schema, custom_root: false, ..self }
    }

    /// At the items of a list.
    pub fn item(self) -> Self {
        Self { schema: self.resolved().and_then(Schema::item), custom_root: false, ..self }
    }

    /// Whether the name is that of a field, not the key of a map.
    pub fn declares(self, name: &str) -> bool {
        self.resolved().is_some_and(|schema| schema.declares(name))
    }

    /// Whether a map here is one piece.
    pub fn atomic(self) -> bool {
        let of = |schema: Option<&Schema>| schema.and_then(|schema| schema.merge().atomic);
        of(self.schema).or_else(|| of(self.resolved())).unwrap_or(false)
    }

    /// How a list here merges.
    pub fn list(self) -> &'a ListType {
        const ATOMIC: &ListType = &ListType::Atomic;
        self.resolved().map_or(ATOMIC, |schema| &schema.merge().list)
    }

    /// Whether a strategic merge patch merges into the list here, and by which key.
    pub fn patched(self) -> Option<Option<&'a str>> {
        let merge = self.schema?.merge();
        merge.patched.then_some(merge.patch_key.as_deref())
    }

    /// Whether a strategic merge patch replaces the map here.
    pub fn replaced(self) -> bool {
        self.schema.is_some_and(|schema| schema.merge().replaced)
    }

    /// What tells an item of this list from others, in the order of the keys' names.
    pub fn identity(self, keys: &[Box<str>], item: &Value) -> Map<String, Value> {
        let mut keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        keys.sort_unstable();
        let value = |key: &str| match &item[key] {
            Value::Null => self.item().field(key).schema.and_then(|schema| schema.merge().implied.clone()).unwrap_or_else(|| "".into()),
            value => value.clone(),
        };
        keys.into_iter().map(|key| (key.to_owned(), value(key))).collect()
    }

    /// Whether even an empty object has what is here.
    pub fn by_value(self) -> bool {
        self.schema.is_some_and(|schema| schema.merge().by_value)
    }

    /// What an object holds where nobody set anything.
    pub fn empty(self) -> Value {
        let mut found = Value::Object(Map::new());
        if let Some(schema) = self.schema {
            self.definitions.complete(schema, &mut found);
        }
        found
    }
}
