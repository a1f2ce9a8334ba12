//! A world out of a measured matrix: every row a node (or several of one site), the best connected ones the cloud.

use placement::topology::matrix::Matrix;

use super::{Role, World, WorldError, WorldNode};

/// Nodes within this RTT of each other are one site where the matrix does not name any.
const SITE_US: u32 = 2000;

/// What a matrix does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatrixOptions {
    /// How many nodes are cloud: those with the smallest mean RTT to all others. Default: one in forty, at least two.
    pub cloud: Option<usize>,
    /// Nodes per row, with the diagonal as the RTT between them. Default: one.
    pub nodes_per_site: Option<usize>,
}

/// The world of a matrix. A row without a name becomes `node-000` and so on.
pub(super) fn world(name: String, matrix: &Matrix, options: &MatrixOptions) -> Result<World, WorldError> {
    let rows = matrix.len();
    let per_site = options.nodes_per_site.unwrap_or(1);
    if per_site == 0 {
        return Err(WorldError::Setting { key: "nodesPerSite", value: "0".to_owned(), expected: "at least 1" });
    }
    let count = rows * per_site;
    let directed_us = |a: usize, b: usize| matrix.directed_us(a / per_site, b / per_site);

    let cloud_count = options.cloud.unwrap_or_else(|| (count / 40).max(2)).min(count.saturating_sub(1));
    let is_cloud = most_central(matrix, cloud_count.div_ceil(per_site));
    let zones = match &matrix.names {
        Some(names) => names.clone(),
        None => sites(matrix).into_iter().map(|site| format!("site-{site:03}")).collect(),
    };
    let width = (count - 1).to_string().len().max(3);
    let mut clouds_left = cloud_count;
    let nodes = (0..count)
        .map(|index| {
            let row = index / per_site;
            let name = match &matrix.names {
                Some(names) if per_site == 1 => names[row].clone(),
                Some(names) => format!("{}-{}", names[row], index % per_site + 1),
                None => format!("node-{index:0width$}"),
            };
            let role = if is_cloud[row] && clouds_left > 0 {
                clouds_left -= 1;
                Role::Cloud
            } else {
                Role::Edge
            };
            let region = matrix.names.as_ref().map(|names| names[row].clone());
            node(name, role, zones[row].clone(), region)
        })
        .collect();
    World::from_rtt(name, nodes, directed_us)
}

/// A node of which nothing is known but its place.
pub(super) fn node(name: String, role: Role, zone: String, region: Option<String>) -> WorldNode {
    WorldNode {
        allocatable: WorldNode::default_allocatable(role),
        name,
        role,
        city: None,
        region,
        zone,
        labels: Default::default(),
        taints: Vec::new(),
    }
}

/// Marks the rows with the smallest sum of RTTs; the earlier one where they are equal.
fn most_central(matrix: &Matrix, count: usize) -> Vec<bool> {
    let rows = matrix.len();
    let mut by_sum: Vec<(u64, usize)> = (0..rows).map(|a| ((0..rows).map(|b| u64::from(matrix.rtt_us(a, b))).sum(), a)).collect();
    by_sum.sort_unstable();
    let mut marked = vec![false; rows];
    for (_, row) in by_sum.into_iter().take(count) {
        marked[row] = true;
    }
    marked
}

/// Numbers the sites: a row joins the first site all of whose rows are near it, so that no two rows of a site are far apart.
fn sites(matrix: &Matrix) -> Vec<usize> {
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut site_of = Vec::with_capacity(matrix.len());
    for row in 0..matrix.len() {
        let near = |site: &Vec<usize>| site.iter().all(|&other| matrix.rtt_us(row, other) <= SITE_US);
        let site = members.iter().position(near).unwrap_or_else(|| {
            members.push(Vec::new());
            members.len() - 1
        });
        members[site].push(row);
        site_of.push(site);
    }
    site_of
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, options: MatrixOptions, expected: &[(&str, Role, &str)]) -> World {
        let world = world("test".to_owned(), &Matrix::parse(text).unwrap(), &options).unwrap();
        let found: Vec<_> = world.nodes.iter().map(|node| (node.name.as_str(), node.role, node.zone.as_str())).collect();
        assert_eq!(found, expected);
        world
    }

    #[test]
    fn the_larger_direction_is_the_rtt_and_the_directions_keep_their_relation() {
        let cloud = MatrixOptions { cloud: Some(1), ..Default::default() };
        let world = check("r,a,b\na,3,10\nb,30,4", cloud, &[("a", Role::Cloud, "a"), ("b", Role::Edge, "b")]);
        assert_eq!(world.one_way_us, [0, 7500, 22_500, 0]);
        assert_eq!((world.rtt_us(0, 1), world.rtt_us(1, 0)), (30_000, 30_000));
    }

    #[test]
    fn nameless_rows_are_numbered_and_grouped_by_nearness() {
        // Rows 0 and 1 are neighbours, as are 1 and 2, but 0 and 2 are not: no site holds all three.
        let text = "0 1 3 50\n1 0 1 50\n3 1 0 50\n50 50 50 0";
        let cloud = MatrixOptions { cloud: Some(1), ..Default::default() };
        check(
            text,
            cloud,
            &[
                ("node-000", Role::Edge, "site-000"),
                ("node-001", Role::Cloud, "site-000"),
                ("node-002", Role::Edge, "site-001"),
                ("node-003", Role::Edge, "site-002"),
            ],
        );
    }

    #[test]
    fn the_diagonal_is_the_inside_of_a_site() {
        let two = MatrixOptions { cloud: Some(1), nodes_per_site: Some(2) };
        let expected = [("a-1", Role::Cloud, "a"), ("a-2", Role::Edge, "a"), ("b-1", Role::Edge, "b"), ("b-2", Role::Edge, "b")];
        let world = check("r,a,b\na,3,10\nb,10,4", two, &expected);
        assert_eq!((world.rtt_us(0, 1), world.rtt_us(2, 3), world.rtt_us(0, 0), world.rtt_us(1, 2)), (3000, 4000, 0, 10_000));
    }

    #[test]
    fn not_every_node_becomes_cloud() {
        let all = MatrixOptions { cloud: Some(9), ..Default::default() };
        check("0 1\n1 0", all, &[("node-000", Role::Cloud, "site-000"), ("node-001", Role::Edge, "site-000")]);
    }
}
