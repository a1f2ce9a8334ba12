//! Structural schemas: one form for the built-in types and for CustomResourceDefinitions.
//!
//! `normalize` prunes what the schema does not know and fills in defaults; `validate` judges the rest.
//! Rules in CEL are `crd::rules`.

mod compile;
mod normalize;
mod quantity;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;

use schemars::SchemaGenerator;
use serde_json::Value;

use super::resource::{BUILTIN, Builtin};
use super::status::FieldError;

pub use compile::compile;

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
    roots: HashMap<(&'static str, &'static str, &'static str), Schema>,
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
        let mut generator = SchemaGenerator::default();
        let mut definitions = Self::default();
        for builtin in BUILTIN {
            let root = (builtin.schema)(&mut generator);
            let key = (builtin.group, builtin.version, builtin.kind);
            definitions.roots.insert(key, compile::lenient(root.as_value()));
        }
        for (name, value) in generator.take_definitions(true) {
            definitions.named.insert(name.into(), compile::lenient(&value));
        }
        // A CRD's schema may hold anything, and is compiled when the CRD is stored.
        for (name, schema) in &mut definitions.named {
            if name.ends_with(".CustomResourceValidation") || name.ends_with(".JSONSchemaProps") {
                *schema = Schema::any();
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

    fn resolve<'a>(&'a self, schema: &'a Schema) -> &'a Schema {
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
        }
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
