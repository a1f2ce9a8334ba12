//! Label selectors of pods and namespaces, as `metav1.LabelSelector` has them.
//!
//! A selector that is not there (`None` in the model) matches nothing; one without requirements matches everything.

use super::{Labels, Operator, Requirement};
use crate::filter::node_affinity::requirement_matches;
use serde::{Deserialize, Serialize};

/// Requirements that must all hold, sorted, each once: selectors of the same requirements are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// With operators In, NotIn, Exists and DoesNotExist, which are all that label selectors know.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> LabelSelector {
        let sorted = |mut requirement: Requirement| {
            requirement.values.sort();
            requirement.values.dedup();
            requirement
        };
        let mut requirements: Vec<Requirement> = requirements.into_iter().map(sorted).collect();
        requirements.sort();
        requirements.dedup();
        LabelSelector { requirements }
    }

    /// Every one of the labels with its value, as selectors of Services have it.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> LabelSelector {
        let requirement =
            |(key, value): (&String, &String)| Requirement { key: key.clone(), operator: Operator::In, values: vec![value.clone()] };
        LabelSelector::new(labels.into_iter().map(requirement))
    }

    /// What both match.
    pub fn and(self, other: LabelSelector) -> LabelSelector {
        LabelSelector::new(self.requirements.into_iter().chain(other.requirements))
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement_matches(requirement, labels.get(&requirement.key).map(String::as_str)))
    }

    /// Labels of which whatever matches carries every one: keys with the only value that they may have.
    pub fn certain(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|requirement| match (requirement.operator, &requirement.values[..]) {
            (Operator::In, [value]) => Some((requirement.key.as_str(), value.as_str())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement { key: key.into(), operator, values: values.iter().map(|value| (*value).to_owned()).collect() }
    }

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_requirement_must_hold() {
        use Operator::{DoesNotExist, Exists, In, NotIn};
        let check = |requirements: &[Requirement], of: &[(&str, &str)], matches: bool| {
            assert_eq!(LabelSelector::new(requirements.to_vec()).matches(&labels(of)), matches, "{requirements:?} on {of:?}");
        };
        check(&[], &[], true);
        check(&[requirement("app", In, &["a", "b"])], &[("app", "b")], true);
        check(&[requirement("app", In, &["a", "b"])], &[], false);
        check(&[requirement("app", NotIn, &["a"])], &[], true);
        check(&[requirement("app", NotIn, &["a"])], &[("app", "a")], false);
        check(&[requirement("app", Exists, &[]), requirement("old", DoesNotExist, &[])], &[("app", "")], true);
        check(&[requirement("app", Exists, &[]), requirement("old", DoesNotExist, &[])], &[("app", ""), ("old", "")], false);
    }

    #[test]
    fn the_same_requirements_are_the_same_selector() {
        let (a, b) = (requirement("a", Operator::In, &["2", "1"]), requirement("b", Operator::Exists, &[]));
        let selector = LabelSelector::new([b.clone(), a.clone()]);
        assert_eq!(selector, LabelSelector::new([a, b.clone(), requirement("a", Operator::In, &["1", "2", "1"])]));
        assert_eq!(selector.clone().and(LabelSelector::new([b])), selector);
        let certain = LabelSelector::of_labels(&labels(&[("app", "web")])).and(selector);
        assert_eq!(certain.certain().collect::<Vec<_>>(), [("app", "web")]);
    }
}
