//! Node selectors, required terms on labels and names, preferred terms.

use super::draft::ZONES;
use super::{Draft, Draw};
use serde_json::{Value, json};

const DISKS: [&str; 3] = ["ssd", "hdd", ""];
/// Integers, and what is none.
const CORES: [&str; 6] = ["2", "8", "16", "0", "07", "many"];

pub fn apply(draft: &mut Draft) {
    for node in &mut draft.nodes {
        let labels = &mut node["metadata"]["labels"];
        if draft.draw.chance(70) {
            labels["disk"] = json!(draft.draw.pick(&DISKS));
        }
        if draft.draw.chance(70) {
            labels["cores"] = json!(draft.draw.pick(&CORES));
        }
    }
    if draft.draw.chance(30) {
        let selector =
            draft.draw.pick(&[json!({"disk": "ssd"}), json!({"disk": ""}), json!({"topology.kubernetes.io/zone": "a"}), json!({})]);
        draft.pod["spec"]["nodeSelector"] = selector;
    }
    let names: Vec<String> = draft.nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
    let draw = &mut draft.draw;
    let mut affinity = json!({});
    if draw.chance(40) {
        // All terms that name nodes make kube-scheduler look at no others.
        let named = draw.chance(25);
        let terms: Vec<Value> = (0..1 + draw.below(3)).map(|_| if named { named_term(draw, &names) } else { term(draw, &names) }).collect();
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = json!({"nodeSelectorTerms": terms});
    }
    if draw.chance(90) {
        let preferred = |draw: &mut Draw| json!({"weight": 1 + draw.below(100), "preference": term(draw, &names)});
        let terms: Vec<Value> = (0..1 + draw.below(3)).map(|_| preferred(draw)).collect();
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = json!(terms);
    }
    if affinity != json!({}) {
        draft.pod["spec"]["affinity"]["nodeAffinity"] = affinity;
    }
}

/// Requirements on labels, now and then on the name, now and then none at all.
pub fn term(draw: &mut Draw, names: &[String]) -> Value {
    let mut term = json!({});
    if draw.chance(90) {
        let expressions: Vec<Value> = (0..1 + draw.below(2)).map(|_| expression(draw)).collect();
        term["matchExpressions"] = json!(expressions);
    }
    if draw.chance(12) {
        term["matchFields"] = json!([field(draw, names)]);
    }
    term
}

fn named_term(draw: &mut Draw, names: &[String]) -> Value {
    let mut term = if draw.chance(30) { json!({"matchExpressions": [expression(draw)]}) } else { json!({}) };
    let mut fields = vec![json!({"key": "metadata.name", "operator": "In", "values": [name(draw, names)]})];
    if draw.chance(25) {
        fields.push(field(draw, names));
    }
    term["matchFields"] = json!(fields);
    term
}

fn name(draw: &mut Draw, names: &[String]) -> String {
    if draw.chance(10) { "nowhere".to_owned() } else { draw.pick(names) }
}

fn field(draw: &mut Draw, names: &[String]) -> Value {
    json!({"key": "metadata.name", "operator": draw.pick(&["In", "NotIn"]), "values": [name(draw, names)]})
}

fn expression(draw: &mut Draw) -> Value {
    let (key, values): (&str, &[&str]) =
        draw.pick(&[("topology.kubernetes.io/zone", &ZONES[..]), ("disk", &DISKS[..]), ("cores", &CORES[..]), ("absent", &["x"][..])]);
    match draw.below(if key == "cores" { 8 } else { 6 }) {
        0..3 => {
            let (operator, count) = (draw.pick(&["In", "In", "NotIn"]), 1 + draw.below(2));
            json!({"key": key, "operator": operator, "values": draw.some(values, count)})
        }
        3 => json!({"key": key, "operator": "Exists"}),
        4 => json!({"key": key, "operator": "DoesNotExist"}),
        5 => json!({"key": key, "operator": "NotIn", "values": draw.some(values, 1)}),
        // The API server takes integers alone here.
        _ => json!({"key": key, "operator": draw.pick(&["Gt", "Lt"]), "values": [draw.pick(&["0", "2", "7", "8", "16"])]}),
    }
}
