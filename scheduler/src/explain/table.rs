//! The decision as a table for a terminal.

use super::{Explanation, Judgement, NodeLine};
use comfy_table::{ContentArrangement, Table, presets};
use placement::units::Micros;

/// One line a node: verdict, figure, scores.
pub fn table(explanation: &Explanation) -> String {
    let Explanation { namespace, pod, result, node, message, nodes, recomputed, .. } = explanation;
    let fate = match (result, node) {
        (Judgement::Scheduled, Some(node)) if *recomputed => format!("would be placed on {node}"),
        (Judgement::Scheduled, Some(node)) => format!("placed on {node}"),
        (Judgement::Held, _) => "held".to_owned(),
        _ => "no node fits".to_owned(),
    };
    let anew = if *recomputed { " (judged anew, on the cluster as it is)" } else { "" };
    let mut text = format!("{namespace}/{pod}: {fate}{anew}\n{message}\n");
    if nodes.is_empty() {
        return text;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["NODE", "VERDICT", "FIGURE", "SCORES"]);
    for line in nodes {
        let chosen = node.as_deref() == Some(line.node.as_str());
        let verdict = match (line.fits, chosen) {
            (true, true) => "chosen",
            (true, false) => "fits",
            (false, _) => "rejected",
        };
        table.add_row([line.node.clone(), verdict.to_owned(), figure(line), scores(line)]);
    }
    text.push('\n');
    for row in table.lines() {
        text.push_str(row.trim());
        text.push('\n');
    }
    text
}

fn figure(line: &NodeLine) -> String {
    match line.cost_us {
        Some(cost_us) if line.in_band => format!("cost {}, in the band", Micros(cost_us.round() as u32)),
        Some(cost_us) => format!("cost {}", Micros(cost_us.round() as u32)),
        None => line.reasons.join("; "),
    }
}

fn scores(line: &NodeLine) -> String {
    let Some(total) = line.total else { return String::new() };
    let parts: Vec<String> = line.scores.iter().map(|score| format!("{} {}x{}", score.name, score.score, score.weight)).collect();
    if parts.is_empty() { String::new() } else { format!("{} = {total}", parts.join(" + ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::plan::ScoreLine;

    #[test]
    fn every_node_has_its_verdict_and_figure() {
        let rejected = |node: &str, why: &str| NodeLine {
            node: node.into(),
            fits: false,
            reasons: vec![why.into()],
            cost_us: None,
            in_band: false,
            scores: vec![],
            total: None,
        };
        let score = |name: &str, score, weight| ScoreLine { name: name.into(), raw: score, score, weight };
        let fits = NodeLine {
            fits: true,
            reasons: vec![],
            cost_us: Some(3_100.4),
            in_band: true,
            scores: vec![score("NodeResourcesFit", 80, 1), score("TaintToleration", 100, 3)],
            total: Some(380),
            ..rejected("edge-2", "")
        };
        let explanation = Explanation {
            namespace: "default".into(),
            pod: "a".into(),
            uid: "u".into(),
            decided_at_ms: 0,
            recomputed: false,
            result: Judgement::Scheduled,
            node: Some("edge-2".into()),
            message: "Successfully assigned default/a to edge-2: 3.1 ms from edge-1, bound 25 ms".into(),
            nodes: vec![rejected("cloud-1", "31.2 ms from edge-1, bound 25 ms"), fits],
        };
        let expected = "default/a: placed on edge-2\n\
            Successfully assigned default/a to edge-2: 3.1 ms from edge-1, bound 25 ms\n\n\
            NODE     VERDICT   FIGURE                            SCORES\n\
            cloud-1  rejected  31.2 ms from edge-1, bound 25 ms\n\
            edge-2   chosen    cost 3.1 ms, in the band          NodeResourcesFit 80x1 + TaintToleration 100x3 = 380\n";
        assert_eq!(table(&explanation), expected);
    }
}
