//! NodeName: `spec.nodeName`, when set, names the only node (kube-scheduler 1.37, plugin NodeName; unresolvable).

use crate::cluster::{Node, Pod};
use crate::plan::Reason;

pub fn check(pod: &Pod, node: &Node) -> Option<Reason> {
    pod.node_name.as_ref().is_some_and(|name| *name != node.name).then_some(Reason::NodeName)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_node_fits() {
        let check = |name: Option<&str>, fits: bool| {
            let pod = Pod { node_name: name.map(Into::into), ..Pod::default() };
            let node = Node { name: "n1".into(), ..Node::default() };
            assert_eq!(super::check(&pod, &node).is_none(), fits, "{name:?}");
        };
        check(None, true);
        check(Some("n1"), true);
        check(Some("n10"), false);
    }
}
