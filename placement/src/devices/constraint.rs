//! Constraints between the devices of a claim, while they are being chosen.

use super::claim::Constraint;
use super::device::Attribute;

/// A constraint with the values of the devices chosen so far.
pub(super) struct Watched<'a> {
    constraint: &'a Constraint,
    values: Vec<&'a Attribute>,
}

impl<'a> Watched<'a> {
    pub fn new(constraint: &'a Constraint) -> Watched<'a> {
        Watched { constraint, values: Vec::new() }
    }

    pub fn attribute(&self) -> &'a str {
        &self.constraint.attribute
    }

    /// Whether it speaks of a request, or of one variant of it (`request/variant`).
    pub fn concerns(&self, request: &str, variant: Option<&str>) -> bool {
        let names = &self.constraint.requests;
        names.is_empty() || names.iter().any(|name| name == request || variant == Some(name))
    }

    /// Takes one more device; `value` is its attribute. False where it may not be added.
    pub fn add(&mut self, value: Option<&'a Attribute>) -> bool {
        let Some(value) = value else { return false };
        let allowed =
            if self.constraint.distinct { !self.values.contains(&value) } else { self.values.first().is_none_or(|first| *first == value) };
        if allowed {
            self.values.push(value);
        }
        allowed
    }

    /// Takes back the last one.
    pub fn undo(&mut self) {
        self.values.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_or_all_different() {
        let check = |distinct: bool, values: &[Option<Attribute>], expected: &[bool]| {
            let constraint = Constraint { requests: vec![], attribute: "gpu.test/numa".into(), distinct };
            let mut watched = Watched::new(&constraint);
            let added: Vec<bool> = values.iter().map(|value| watched.add(value.as_ref())).collect();
            assert_eq!(added, expected, "{distinct} {values:?}");
        };
        let int = |value: i64| Some(Attribute::Int(value));
        check(false, &[int(1), int(1), int(2), int(1)], &[true, true, false, true]);
        check(false, &[int(1), Some(Attribute::Version("1.0.0".into())), None], &[true, false, false]);
        check(true, &[int(1), int(2), int(1), None], &[true, true, false, false]);
    }

    #[test]
    fn a_constraint_concerns_requests_and_variants_by_name() {
        let constraint = Constraint { requests: vec!["a".into(), "b/x".into()], attribute: String::new(), distinct: false };
        let watched = Watched::new(&constraint);
        let check = |request: &str, variant: Option<&str>, concerns| assert_eq!(watched.concerns(request, variant), concerns);
        check("a", None, true);
        check("a", Some("a/y"), true);
        check("b", Some("b/x"), true);
        check("b", Some("b/y"), false);
        check("c", None, false);
    }
}
