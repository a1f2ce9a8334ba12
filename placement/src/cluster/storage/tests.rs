use super::super::{Node, Pod, PodKey, PodPhase, PodVolume, Settings};
use super::*;

fn volume(name: &str, capacity: i64, claim: Option<&str>) -> PersistentVolume {
    let claim = claim.map(|name| ClaimRef { namespace: "d".into(), name: name.into(), uid: String::new() });
    PersistentVolume { name: name.into(), class: "c".into(), capacity, claim, available: true, ..PersistentVolume::default() }
}

fn claim(name: &str) -> PersistentVolumeClaim {
    let (namespace, uid) = ("d".into(), format!("uid-{name}"));
    PersistentVolumeClaim { namespace, name: name.into(), uid, class: "c".into(), ..PersistentVolumeClaim::default() }
}

fn pod(name: &str, claim: &str) -> Pod {
    let volumes = vec![PodVolume::Claim(claim.into())];
    Pod { key: PodKey::new("d", name), uid: name.into(), volumes, ..Pod::default() }
}

fn free(cluster: &Cluster) -> Vec<String> {
    cluster.view().free_volumes("c").map(|volume| volume.name.clone()).collect()
}

#[test]
fn free_volumes_come_by_size_and_claimed_ones_by_their_claim() {
    let mut cluster = Cluster::new(Settings::default());
    for (name, capacity, claim) in [("big", 30, None), ("small", 10, None), ("theirs", 5, Some("a"))] {
        cluster.apply_stored(volume(name, capacity, claim));
    }
    assert_eq!(free(&cluster), ["small", "big"]);
    let held = cluster.snapshot();
    let of = |cluster: &Cluster, name: &str| cluster.view().volumes_for(&claim(name)).map(|v| v.name.clone()).collect::<Vec<_>>();
    assert_eq!((of(&cluster, "a"), of(&cluster, "b")), (vec!["theirs".to_owned()], vec![]));
    cluster.apply_stored(volume("small", 10, Some("b")));
    cluster.delete_stored::<PersistentVolume>("", "theirs");
    assert_eq!((free(&cluster), of(&cluster, "a"), of(&cluster, "b")), (vec!["big".to_owned()], vec![], vec!["small".to_owned()]));
    assert_eq!(held.free_volumes("c").count(), 2);
}

#[test]
fn what_changed_is_told_once() {
    let mut cluster = Cluster::new(Settings::default());
    let told = |changes: Changes| changes.len();
    assert_eq!(told(cluster.apply_stored(volume("v", 1, None))), 1);
    assert_eq!(told(cluster.apply_stored(volume("v", 1, None))), 0);
    assert_eq!(told(cluster.apply_stored(PersistentVolume { version: "2".into(), ..volume("v", 1, None) })), 0);
    let room = |capacity| CsiStorageCapacity { name: "r".into(), capacity: Some(capacity), ..CsiStorageCapacity::default() };
    assert_eq!(told(cluster.apply_stored(room(5))), 1);
    assert_eq!(told(cluster.apply_stored(room(4))), 0, "less room helps nobody");
    assert_eq!(told(cluster.apply_stored(room(6))), 1);
    assert_eq!(told(cluster.delete_stored::<CsiStorageCapacity>("", "r")), 0);
}

/// A node, a class that waits for pods, a volume of it, and two pods with a claim each.
fn two_pods_and_a_volume() -> Cluster {
    let mut cluster = Cluster::new(Settings::default());
    cluster.apply_node(Node { name: "n".into(), ..Node::default() });
    cluster.apply_stored(StorageClass { name: "c".into(), delayed: true, ..StorageClass::default() });
    cluster.apply_stored(volume("v", 1, None));
    for name in ["a", "b"] {
        cluster.apply_stored(claim(name));
        cluster.apply_pod(pod(name, name));
    }
    cluster
}

fn assume(cluster: &mut Cluster, name: &str) -> bool {
    cluster.assume(&PodKey::new("d", name), name, "n").is_ok()
}

#[test]
fn two_pods_never_take_one_volume() {
    let mut cluster = two_pods_and_a_volume();
    assert!(assume(&mut cluster, "a"));
    let plan = cluster.view().volume_plan(&PodKey::new("d", "a")).cloned().unwrap();
    assert_eq!(plan.bindings, [("v".to_owned(), claim("a").reference())]);
    assert!(free(&cluster).is_empty() && !assume(&mut cluster, "b"));
    let freed = cluster.forget(&PodKey::new("d", "a"));
    assert!(freed.contains(&ClusterEvent::Storage(StorageChange::Volume)), "{freed:?}");
    assert!(assume(&mut cluster, "b"));
    cluster.delete_pod(&PodKey::new("d", "b"));
    assert_eq!(free(&cluster), ["v"]);
}

#[test]
fn a_pod_that_ends_or_goes_elsewhere_on_its_way_leaves_its_volume() {
    for update in [Pod { phase: PodPhase::Ended, ..pod("a", "a") }, Pod { node_name: Some("other".into()), ..pod("a", "a") }] {
        let mut cluster = two_pods_and_a_volume();
        assert!(assume(&mut cluster, "a"));
        let freed = cluster.apply_pod(update);
        assert!(freed.contains(&ClusterEvent::Storage(StorageChange::Volume)), "{freed:?}");
        assert_eq!(free(&cluster), ["v"]);
    }
}

#[test]
fn once_the_pod_is_bound_the_volume_is_whose_the_api_server_says() {
    let mut cluster = two_pods_and_a_volume();
    assert!(assume(&mut cluster, "a"));
    cluster.apply_stored(volume("v", 1, Some("a")));
    cluster.apply_pod(Pod { node_name: Some("n".into()), ..pod("a", "a") });
    assert_eq!(cluster.view().volume_plan(&PodKey::new("d", "a")), None);
    assert!(free(&cluster).is_empty());
    cluster.delete_pod(&PodKey::new("d", "a"));
    assert!(free(&cluster).is_empty());
}

#[test]
fn a_node_is_selected_for_the_claim_that_was_there() {
    let mut cluster = two_pods_and_a_volume();
    cluster.delete_stored::<PersistentVolume>("", "v");
    let class = StorageClass { name: "c".into(), delayed: true, provisioner: Some("p".into()), ..StorageClass::default() };
    cluster.apply_stored(class);
    assert!(assume(&mut cluster, "a"));
    assert_eq!(cluster.view().selected_node(&claim("a")), Some("n"));
    let other = PersistentVolumeClaim { uid: "other".into(), ..claim("a") };
    assert_eq!(cluster.view().selected_node(&other), None);
    cluster.forget(&PodKey::new("d", "a"));
    assert_eq!(cluster.view().selected_node(&claim("a")), None);
}
