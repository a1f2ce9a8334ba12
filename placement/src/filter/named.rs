//! Nodes that the pod names, by `spec.nodeName` or because every required term of its node affinity does: no others are looked at, whatever other
//! filters would say of them (kube-scheduler 1.37, PreFilter of the plugins NodeName and NodeAffinity; unresolvable).

use crate::cluster::{Node, NodeSelectorTerm, Operator, Plugin, Pod, Point, Profile};
use crate::plan::{Hold, Reason};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;

/// Which plugins name nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamedBy {
    NodeName,
    NodeAffinity,
    Both,
}

impl NamedBy {
    /// By name.
    pub fn plugins(self) -> &'static [&'static str] {
        match self {
            NamedBy::NodeName => &["NodeName"],
            NamedBy::NodeAffinity => &["NodeAffinity"],
            NamedBy::Both => &["NodeAffinity", "NodeName"],
        }
    }
}

/// As kube-scheduler prints a set of plugins.
impl fmt::Display for NamedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamedBy::NodeName => "[NodeName]",
            NamedBy::NodeAffinity => "[NodeAffinity]",
            NamedBy::Both => "[NodeAffinity NodeName]",
        })
    }
}

pub struct Named<'a> {
    pub by: NamedBy,
    /// Not empty; need not exist.
    names: SmallVec<[&'a str; 2]>,
}

impl Named<'_> {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().copied()
    }
}

/// The nodes that the pod names; `None`: it names none, and all are looked at.
///
/// # Errors
/// Names that contradict each other.
pub fn named<'a>(pod: &'a Pod, profile: &Profile) -> Result<Option<Named<'a>>, Hold> {
    let asked = |plugin| profile.plugins.has(Point::PreFilter, plugin);
    let required = pod.affinity.required.as_deref().filter(|_| asked(Plugin::NodeAffinity)).and_then(names);
    let (by, names) = match (pod.node_name.as_deref().filter(|_| asked(Plugin::NodeName)), required) {
        (None, None) => return Ok(None),
        (_, Some(names)) if names.is_empty() => return Err(Hold::AffinityConflict),
        (None, Some(names)) => (NamedBy::NodeAffinity, names),
        (Some(name), None) => (NamedBy::NodeName, SmallVec::from_elem(name, 1)),
        (Some(name), Some(names)) if names.contains(&name) => (NamedBy::Both, SmallVec::from_elem(name, 1)),
        (Some(_), Some(_)) => return Err(Hold::NamesConflict),
    };
    Ok(Some(Named { by, names }))
}

pub fn check(pod: &Pod, profile: &Profile, node: &Node) -> Option<Reason> {
    let named = named(pod, profile).ok()??;
    (!named.names.contains(&node.name.as_str())).then_some(Reason::NotNamed { by: named.by })
}

/// The filter NodeName, which is seen where its PreFilter is switched off.
pub fn check_name(pod: &Pod, node: &Node) -> Option<Reason> {
    pod.node_name.as_ref().is_some_and(|name| *name != node.name).then_some(Reason::NodeName)
}

/// The nodes that terms name by `metadata.name In`, where every term does. Empty: each term contradicts itself.
fn names(terms: &[NodeSelectorTerm]) -> Option<SmallVec<[&str; 2]>> {
    if terms.is_empty() {
        return None;
    }
    let mut all = SmallVec::new();
    for term in terms {
        let mut naming = term.match_fields.iter().filter(|r| r.key == "metadata.name" && r.operator == Operator::In);
        let first = naming.next()?;
        let of_term = first.values.iter().filter(|name| naming.clone().all(|r| r.values.contains(name)));
        all.extend(of_term.map(String::as_str));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NodeAffinity, Requirement};

    /// A term with a requirement `metadata.name In` of each list.
    fn term(lists: &[&[&str]]) -> NodeSelectorTerm {
        let requirement = |names: &&[&str]| Requirement {
            key: "metadata.name".into(),
            operator: Operator::In,
            values: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        NodeSelectorTerm { match_expressions: vec![], match_fields: lists.iter().map(requirement).collect() }
    }

    #[test]
    fn terms_that_all_name_nodes_leave_no_others() {
        let check = |terms: &[NodeSelectorTerm], expected: Option<&[&str]>| assert_eq!(names(terms).as_deref(), expected);
        check(&[], None);
        check(&[term(&[&["n1"]]), term(&[&["n2"]])], Some(&["n1", "n2"]));
        check(&[term(&[&["n1"]]), NodeSelectorTerm::default()], None);
        check(&[term(&[&["n1"], &["n2"]]), term(&[&["n3"], &["n3"]])], Some(&["n3"]));
        check(&[term(&[&["n1"], &["n2"]])], Some(&[]));
    }

    #[test]
    fn a_node_is_looked_at_when_everything_that_names_nodes_names_it() {
        let check = |node_name: Option<&str>, terms: Option<&[&str]>, expected: Result<[bool; 2], &str>| {
            let required = terms.map(|names| vec![term(&[names])]);
            let pod =
                Pod { node_name: node_name.map(Into::into), affinity: NodeAffinity { required, preferred: vec![] }, ..Pod::default() };
            let profile = Profile::new("");
            let fits = |name: &str| super::check(&pod, &profile, &Node { name: name.into(), ..Node::default() }).is_none();
            match named(&pod, &profile) {
                Ok(_) => assert_eq!(Ok([fits("n1"), fits("n2")]), expected, "{node_name:?} {terms:?}"),
                Err(hold) => assert_eq!(Err(hold.to_string().as_str()), expected, "{node_name:?} {terms:?}"),
            }
        };
        check(None, None, Ok([true, true]));
        check(Some("n1"), None, Ok([true, false]));
        check(None, Some(&["n2"]), Ok([false, true]));
        check(Some("n1"), Some(&["n1", "n2"]), Ok([true, false]));
        check(Some("n1"), Some(&["n2"]), Err("node(s) didn't satisfy plugin(s) [NodeAffinity NodeName] simultaneously"));
    }
}
