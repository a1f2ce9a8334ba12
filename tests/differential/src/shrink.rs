//! Makes a case that differs as small as it gets while it still differs in the same.

use crate::case::Case;
use serde_json::Value;

/// A place in a document: keys of objects, indexes of lists.
type Path = Vec<Step>;

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    At(usize),
}

/// What makes an object what it is; without it a case says nothing.
const KEPT: [&str; 6] = ["apiVersion", "kind", "metadata", "name", "namespace", "uid"];

/// Takes parts out of the case, the largest first, for as long as `differs` still holds of what is left.
pub fn shrink(case: &Case, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let mut smallest = case.clone();
    loop {
        let Ok(document) = serde_json::to_value(&smallest) else { return smallest };
        let mut paths = Vec::new();
        collect(&document, &mut Vec::new(), &mut paths);
        paths.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        let smaller = paths.into_iter().find_map(|(_, path)| {
            let mut without = document.clone();
            remove(&mut without, &path);
            let candidate: Case = serde_json::from_value(without).ok()?;
            differs(&candidate).then_some(candidate)
        });
        match smaller {
            Some(smaller) => smallest = smaller,
            None => return smallest,
        }
    }
}

/// Every part that may go, with its size.
fn collect(value: &Value, path: &mut Path, paths: &mut Vec<(usize, Path)>) {
    let mut below = |step: Step, value: &Value, may_go: bool| {
        path.push(step);
        if may_go {
            paths.push((value.to_string().len(), path.clone()));
        }
        collect(value, path, paths);
        path.pop();
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let top = ["id", "objects", "pod"].contains(&key.as_str());
            below(Step::Key(key.clone()), value, !top && !KEPT.contains(&key.as_str()));
        }),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| below(Step::At(at), value, true)),
        _ => {}
    }
}

fn remove(document: &mut Value, path: &[Step]) {
    let Some((last, above)) = path.split_last() else { return };
    let mut at = document;
    for step in above {
        at = match step {
            Step::Key(key) => &mut at[key.as_str()],
            Step::At(index) => &mut at[*index],
        };
    }
    match (last, at) {
        (Step::Key(key), Value::Object(fields)) => drop(fields.shift_remove(key)),
        (Step::At(index), Value::Array(items)) => drop(items.remove(*index)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_difference_does_not_need_goes() {
        let node =
            |name: &str, cpu: &str| json!({"kind": "Node", "metadata": {"name": name, "labels": {"zone": "a"}}, "status": {"cpu": cpu}});
        let case = Case {
            id: 1,
            objects: vec![node("a", "1"), node("b", "2"), node("c", "1")],
            pod: json!({"kind": "Pod", "spec": {"x": 1}}),
            profile: Some(json!({})),
        };
        let smallest = shrink(&case, |case| case.objects.iter().any(|node| node["status"]["cpu"] == "2"));
        let expected = json!({"kind": "Node", "metadata": {"name": "b"}, "status": {"cpu": "2"}});
        assert_eq!(smallest, Case { id: 1, objects: vec![expected], pod: json!({"kind": "Pod"}), profile: None });
    }
}
