//! Structural schemas: one form for the built-in types and for CustomResourceDefinitions.
//!
//! `normalize` prunes what the schema does not know and fills in defaults; `validate` judges the rest; `unset` writes what a built-in type
//! writes even where nobody set it.
//! Rules in CEL are `crd::rules`.

mod compile;
pub mod definitions;
mod merge_rules;
mod normalize;
mod quantity;
mod typed;
mod unreadable;
mod unset;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::resource::Builtin;
use super::status::FieldError;

pub use compile::compile;
use definitions::{Gvk, Sources};
pub use typed::Typed;
use unset::Unset;

/// The JSON type that a schema asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Anything.
    Any,
    /// A map or a struct.
    Object,
    /// A list.
    Array,
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number or a string.
    IntOrString,
    /// A quantity, kept as a string.
    Quantity,
}

/// One node of a schema.
#[derive(Debug, Clone)]
pub struct Schema {
    kind: Kind,
    nullable: bool,
    properties: HashMap<Box<str>, Schema>,
    additional: Option<Box<Schema>>,
    items: Option<Box<Schema>>,
    required: Vec<Box<str>>,
    accepted: Vec<Value>,
    default: Option<Value>,
    preserve_unknown: bool,
    embedded: bool,
    limits: Limits,
    list_keys: Vec<Box<str>>,
    is_set: bool,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
    reference: Option<Box<str>>,
    merge: Merge,
    /// Fields that every object has, if only empty; unlike `required`, known of built-in types too.
    merge_required: Vec<Box<str>>,
    /// Fields of a built-in type that are written even where they are not set.
    written: Vec<(Box<str>, Unset)>,
}

/// How values merge with others, and in which pieces they are owned.
#[derive(Debug, Clone, Default)]
pub struct Merge {
    /// Of a list.
    pub list: ListType,
    /// Of a map or struct: whether it is one piece. `None` leaves it to the referenced schema.
    pub atomic: Option<bool>,
    /// Whether a strategic merge patch merges into the list.
    pub patched: bool,
    /// By which key it does so; none for lists of plain values.
    pub patch_key: Option<Box<str>>,
    /// Whether a strategic merge patch replaces the map.
    pub replaced: bool,
    /// What a key of a list is where an item leaves it out.
    pub implied: Option<Value>,
    /// Whether even an empty object has this struct.
    pub by_value: bool,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListType {
    /// One piece.
    #[default]
    Atomic,
    /// Distinct plain values.
    Set,
    /// Objects told apart by these keys.
    Map(Vec<Box<str>>),
}

/// Bounds on a value.
#[derive(Debug, Clone, Default)]
struct Limits {
    minimum: Option<f64>,
    exclusive_minimum: bool,
    maximum: Option<f64>,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    min_items: Option<usize>,
    max_items: Option<usize>,
    min_properties: Option<usize>,
    max_properties: Option<usize>,
    pattern: Option<regex::Regex>,
    date_time: bool,
}

/// Named schemas that others refer to, and the root of each built-in kind.
#[derive(Debug, Default)]
pub struct Definitions {
    named: HashMap<Box<str>, Schema>,
    roots: HashMap<Gvk, Schema>,
}

/// What normalising found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Paths of fields that the schema does not know; they have been removed.
    pub unknown: Vec<String>,
}

impl Definitions {
    /// The schemas of every built-in kind.
    pub fn builtin() -> Arc<Self> {
        let sources = Sources::builtin();
        let mut definitions = Self::default();
        for (key, root) in &sources.roots {
            definitions.roots.insert(*key, compile::lenient(root));
        }
        for (name, value) in &sources.named {
            definitions.named.insert(name.as_str().into(), compile::lenient(value));
        }
        // A CRD's schema may hold anything, and is compiled when the CRD is stored.
        for (name, schema) in &mut definitions.named {
            if name.ends_with(".CustomResourceValidation") || name.ends_with(".JSONSchemaProps") {
                *schema = Schema::any();
            }
        }
        let written: Vec<_> =
            definitions.named.iter().map(|(name, schema)| (name.clone(), unset::of_definition(&definitions, name, schema))).collect();
        for (name, fields) in written {
            if let Some(schema) = definitions.named.get_mut(&name) {
                schema.written = fields;
            }
        }
        Arc::new(definitions)
    }

    /// The schema of a built-in kind.
    pub fn root(&self, builtin: &Builtin) -> &Schema {
        self.roots.get(&(builtin.group, builtin.version, builtin.kind)).expect("every row of the table was compiled")
    }

    /// The schema of `metadata`.
    pub fn metadata(&self) -> &Schema {
        self.named.get("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("every built-in kind has metadata")
    }

    /// The schema itself, where it is but a reference.
    pub fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
        let mut schema = schema;
        while let Some(name) = &schema.reference {
            match self.named.get(name) {
                Some(named) => schema = named,
                None => return schema,
            }
        }
        schema
    }

    /// Removes what the schema does not know, applies defaults, brings quantities and nulls into the stored form.
    pub fn normalize(&self, schema: &Schema, value: &mut Value) -> Findings {
        let mut findings = Findings::default();
        normalize::walk(self, schema, value, &mut Vec::new(), &mut findings);
        findings
    }

    /// Brings a value of a built-in type into the form in which it is written where fields are not set.
    pub fn complete(&self, schema: &Schema, value: &mut Value) {
        unset::complete(self, schema, value, false);
    }

    /// The same, in the form in which it is stored.
    pub fn complete_stored(&self, schema: &Schema, value: &mut Value) {
        unset::complete(self, schema, value, true);
    }

    /// Why the real server could not even read a value of a built-in type.
    pub fn unreadable(&self, schema: &Schema, value: &Value) -> Option<String> {
        unreadable::find(self, schema, value)
    }

    /// The schema of a definition, by the name that references use.
    pub fn definition(&self, name: &str) -> Option<&Schema> {
        self.named.get(name)
    }

    /// Where the value is of another JSON type than the schema's.
    pub fn types(&self, schema: &Schema, value: &Value) -> Vec<String> {
        let wrong = self.validate(schema, value).into_iter().filter(FieldError::is_wrong_type);
        wrong.map(|error| format!(".{error}")).collect()
    }

    /// Judges the value; `strict` includes required fields and everything beyond JSON types.
    pub fn validate(&self, schema: &Schema, value: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate::walk(self, schema, value, &mut Vec::new(), &mut errors);
        errors
    }
}

impl Schema {
    /// A schema that takes anything.
    pub fn any() -> Self {
        Self {
            kind: Kind::Any,
            nullable: true,
            properties: HashMap::new(),
            additional: None,
            items: None,
            required: Vec::new(),
            accepted: Vec::new(),
            default: None,
            preserve_unknown: true,
            embedded: false,
            limits: Limits::default(),
            list_keys: Vec::new(),
            is_set: false,
            all_of: Vec::new(),
            any_of: Vec::new(),
            one_of: Vec::new(),
            not: None,
            reference: None,
            merge: Merge::default(),
            merge_required: Vec::new(),
            written: Vec::new(),
        }
    }

    /// How it merges.
    pub fn merge(&self) -> &Merge {
        &self.merge
    }

    /// The schema of a field or of a map's value.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// Whether the name is that of a field.
    pub fn declares(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// Whether an object of it always has the field.
    pub fn requires(&self, name: &str) -> bool {
        self.merge_required.iter().any(|required| **required == *name)
    }

    /// The schema of a list's items.
    pub fn item(&self) -> Option<&Schema> {
        self.items.as_deref()
    }
}

/// One step of a path into a value.
#[derive(Debug, Clone)]
enum Step {
    Field(String),
    Key(String),
    Index(usize),
}

fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Field(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Key(key) if key.contains('.') => text.push_str(&format!("[{key}]")),
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Index(at) => text.push_str(&format!("[{at}]")),
        }
    }
    text
}

/// The name of a value's JSON type, as error messages say it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
