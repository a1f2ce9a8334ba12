//! Reads objects of a configuration field by field and keeps every mistake, so that all are told at once.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::ops::RangeInclusive;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `profiles[0].plugins.score`.
    pub field: String,
    pub got: String,
    /// What would be right.
    pub want: String,
}

/// Mistakes found so far.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub fn add(&self, field: impl Into<String>, got: impl ToString, want: impl Into<String>) {
        self.0.borrow_mut().push(Mistake { field: field.into(), got: got.to_string(), want: want.into() });
    }

    /// In the order in which they were found.
    pub fn into_list(self) -> Vec<Mistake> {
        self.0.into_inner()
    }
}

/// The fields of one object. A field counts as known once it has been asked for.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    object: Option<&'a Map<String, Value>>,
    known: Vec<&'static str>,
    mistakes: &'a Mistakes,
}

impl<'a> Fields<'a> {
    /// `path` leads to the object; empty for the whole document. Null is an object without fields.
    pub fn of(value: &'a Value, path: impl Into<String>, mistakes: &'a Mistakes) -> Fields<'a> {
        let path = path.into();
        if !value.is_object() && !value.is_null() {
            mistakes.add(&path, value, "fields with values");
        }
        Fields { path, object: value.as_object(), known: Vec::new(), mistakes }
    }

    /// The path of a field.
    pub fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn wrong(&self, name: &str, got: impl ToString, want: impl Into<String>) {
        self.mistakes.add(self.at(name), got, want);
    }

    /// Null is nothing.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.object?.get(name).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let value = self.value(name)?;
        self.expect(name, value, value.as_str(), "text")
    }

    pub fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        self.expect(name, value, value.as_bool(), "true or false")
    }

    pub fn number(&mut self, name: &'static str) -> Option<f64> {
        let value = self.value(name)?;
        self.expect(name, value, value.as_f64(), "a number")
    }

    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(name)?;
        let want = match (*range.start(), *range.end()) {
            (low, i64::MAX) => format!("an integer, at least {low}"),
            (low, high) => format!("an integer from {low} to {high}"),
        };
        self.expect(name, value, value.as_i64().filter(|number| range.contains(number)), &want)
    }

    /// Each item with its path.
    pub fn list(&mut self, name: &'static str) -> Vec<(String, &'a Value)> {
        let items = self.value(name).and_then(|value| self.expect(name, value, value.as_array(), "a list"));
        items.into_iter().flatten().enumerate().map(|(i, item)| (format!("{}[{i}]", self.at(name)), item)).collect()
    }

    /// Each object of a list.
    pub fn objects(&mut self, name: &'static str) -> Vec<Fields<'a>> {
        let mistakes = self.mistakes;
        self.list(name).into_iter().map(|(path, item)| Fields::of(item, path, mistakes)).collect()
    }

    pub fn texts(&mut self, name: &'static str) -> Vec<String> {
        let mistakes = self.mistakes;
        let text = |(path, item): (String, &Value)| {
            let text = item.as_str().map(str::to_owned);
            if text.is_none() {
                mistakes.add(path, item, "text");
            }
            text
        };
        self.list(name).into_iter().filter_map(text).collect()
    }

    /// An object within this one; without fields where it is not there.
    pub fn section(&mut self, name: &'static str) -> Fields<'a> {
        let value = self.value(name).unwrap_or(&Value::Null);
        Fields::of(value, self.at(name), self.mistakes)
    }

    /// Every field that nobody has asked for is a mistake.
    pub fn end(self) {
        let unknown = self.object.into_iter().flatten().filter(|(name, _)| !self.known.contains(&name.as_str()));
        for (name, value) in unknown {
            self.wrong(name, value, format!("one of the fields {}", self.known.join(", ")));
        }
    }

    fn expect<T>(&self, name: &str, value: &Value, read: Option<T>, want: &str) -> Option<T> {
        if read.is_none() {
            self.wrong(name, value, want);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_is_kept_with_its_path() {
        let mistakes = Mistakes::default();
        let document = json!({"name": 1, "weight": 300, "on": null, "list": [{"x": 1}, "y"], "other": {}});
        let mut fields = Fields::of(&document, "top", &mistakes);
        assert_eq!((fields.text("name"), fields.integer("weight", 0..=100), fields.flag("on")), (None, None, None));
        fields.objects("list").into_iter().for_each(Fields::end);
        fields.end();
        let found: Vec<String> =
            mistakes.into_list().into_iter().map(|found| format!("{}: {}: {}", found.field, found.got, found.want)).collect();
        let expected = [
            "top.name: 1: text",
            "top.weight: 300: an integer from 0 to 100",
            "top.list[1]: \"y\": fields with values",
            "top.list[0].x: 1: one of the fields ",
            "top.other: {}: one of the fields name, weight, on, list",
        ];
        assert_eq!(found, expected);
    }
}
