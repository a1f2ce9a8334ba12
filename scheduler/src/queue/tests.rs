use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Happened {
    NodeAdd,
    Rtt,
}

impl Event for Happened {
    fn label(&self) -> &'static str {
        match self {
            Happened::NodeAdd => "NodeAdd",
            Happened::Rtt => "RttChange",
        }
    }

    fn topics(&self) -> Topics {
        Topics::from_iter([Topic::new(0, self.label())])
    }
}

/// Wakes for this event alone.
impl Wake<Happened> for Happened {
    fn topics(&self) -> Vec<Topic> {
        Event::topics(self).into_vec()
    }

    fn wakes(&self, event: &Happened) -> bool {
        event == self
    }
}

fn pod(name: &str, priority: i32) -> Arc<Pod> {
    Arc::new(Pod { key: PodKey::new("default", name), uid: format!("uid-{name}"), priority, ..Pod::default() })
}

fn gated(name: &str) -> Arc<Pod> {
    Arc::new(Pod { scheduling_gates: vec!["wait".into()], ..Pod::clone(&pod(name, 0)) })
}

fn queue() -> Queue<Happened> {
    Queue::new(Settings::default())
}

fn at(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1000.0) as u64)
}

fn only(wanted: Happened) -> Box<dyn Wake<Happened>> {
    Box::new(wanted)
}

/// Names popped at `now`, until nothing is left.
fn pops(queue: &mut Queue<Happened>, now: Timestamp) -> Vec<String> {
    std::iter::from_fn(|| queue.pop(now)).map(|popped| popped.pod.key.name.clone()).collect()
}

fn lengths(queue: &Queue<Happened>) -> (usize, usize, usize, usize) {
    let Lengths { active, backoff, unschedulable, gated } = queue.lengths();
    (active, backoff, unschedulable, gated)
}

#[test]
fn higher_priority_first_then_earlier_arrival() {
    let mut queue = queue();
    queue.apply(pod("late", 0), at(2.0));
    queue.apply(pod("early", 0), at(1.0));
    queue.apply(pod("urgent", 100), at(3.0));
    queue.apply(pod("zz", 0), at(1.0));
    assert_eq!(pops(&mut queue, at(4.0)), ["urgent", "early", "zz", "late"]);
}

#[test]
fn errors_back_off_from_one_second_doubling_to_ten() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let mut now = at(0.0);
    for wait in [1, 2, 4, 8, 10, 10] {
        let popped = queue.pop(now).expect("due");
        queue.retry(&popped.pod, now);
        assert_eq!(queue.next_due(), Some(Timestamp(now.0 + wait * 1000)));
        assert!(queue.pop(Timestamp(now.0 + wait * 1000 - 1)).is_none(), "an error's backoff is not cut short");
        now = Timestamp(now.0 + wait * 1000);
    }
}

#[test]
fn an_unschedulable_pod_waits_for_an_event_that_may_help() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
    assert_eq!(queue.notify(&Happened::NodeAdd, at(20.0)), 0);
    assert_eq!(lengths(&queue), (0, 0, 1, 0));
    assert_eq!(queue.notify(&Happened::Rtt, at(20.0)), 1);
    assert_eq!(lengths(&queue), (1, 0, 0, 0));
    assert!(queue.listening.is_empty(), "nobody waits");
    assert_eq!(queue.incoming()[&(Lane::Active, "RttChange")], 1);
    let again = queue.pop(at(20.0)).unwrap();
    assert_eq!((again.attempt, again.first_tried), (2, at(0.0)));
}

/// Wakes for every event of the topics it names, and counts how often it is asked.
struct Asked(Happened, Arc<AtomicUsize>);

impl Wake<Happened> for Asked {
    fn topics(&self) -> Vec<Topic> {
        Event::topics(&self.0).into_vec()
    }

    fn wakes(&self, _: &Happened) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed);
        false
    }
}

#[test]
fn pods_are_asked_only_about_events_of_their_topics() {
    let mut queue = queue();
    let asked = Arc::new(AtomicUsize::new(0));
    for i in 0..10 {
        queue.apply(pod(&i.to_string(), 0), at(0.0));
        let popped = queue.pop(at(0.0)).unwrap();
        let topic = if i == 0 { Happened::Rtt } else { Happened::NodeAdd };
        queue.fail(&popped.pod, Box::new(Asked(topic, asked.clone())), at(0.0));
    }
    queue.notify(&Happened::Rtt, at(1.0));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    queue.delete(&PodKey::new("default", "0"));
    queue.notify(&Happened::Rtt, at(1.0));
    assert_eq!(asked.load(Ordering::Relaxed), 1, "who left is not asked");
}

#[test]
fn a_pod_woken_within_its_backoff_goes_behind_active_ones_and_is_taken_early_when_there_are_none() {
    let mut queue = queue();
    queue.apply(pod("a", 1000), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
    queue.notify(&Happened::Rtt, at(0.5));
    assert_eq!(lengths(&queue), (0, 1, 0, 0));
    queue.apply(pod("b", 0), at(0.5));
    assert_eq!(pops(&mut queue, at(0.5)), ["b", "a"]);
}

#[test]
fn an_event_during_the_attempt_is_not_lost() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    queue.apply(pod("b", 0), at(0.0));
    let (a, b) = (queue.pop(at(0.0)).unwrap(), queue.pop(at(0.0)).unwrap());
    queue.notify(&Happened::NodeAdd, at(0.1));
    queue.fail(&a.pod, only(Happened::NodeAdd), at(0.2));
    queue.fail(&b.pod, only(Happened::Rtt), at(0.2));
    assert_eq!(lengths(&queue), (0, 1, 1, 0));
}

#[test]
fn a_change_of_the_pod_during_the_attempt_is_not_lost() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.apply(Arc::new(Pod { labels: [("delay_edge-1".into(), "50".into())].into(), ..Pod::clone(&popped.pod) }), at(0.1));
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.2));
    let again = queue.pop(at(2.0)).unwrap();
    assert_eq!(again.pod.labels["delay_edge-1"], "50", "the new spec is tried");
}

#[test]
fn after_five_minutes_without_an_event_it_is_tried_anyway() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
    assert_eq!(queue.next_due(), Some(at(300.0)));
    assert!(queue.pop(at(299.9)).is_none());
    assert!(queue.pop(at(300.0)).is_some());
}

#[test]
fn gates_hold_a_pod_until_they_are_gone() {
    let mut queue = queue();
    queue.apply(gated("a"), at(0.0));
    queue.notify(&Happened::NodeAdd, at(400.0));
    assert!(queue.pop(at(400.0)).is_none());
    assert!(queue.take(&PodKey::new("default", "a")).is_none());
    assert_eq!(lengths(&queue), (0, 0, 0, 1));
    queue.apply(pod("a", 0), at(500.0));
    let popped = queue.pop(at(500.0)).unwrap();
    assert_eq!((popped.attempt, popped.first_tried), (1, at(500.0)), "the wait behind gates is the user's");
}

#[test]
fn a_group_is_taken_wherever_its_members_wait() {
    let mut queue = queue();
    for name in ["a", "b", "c"] {
        queue.apply(pod(name, 0), at(0.0));
    }
    let a = queue.pop(at(0.0)).unwrap();
    queue.fail(&a.pod, only(Happened::Rtt), at(0.0));
    let b = queue.pop(at(0.0)).unwrap();
    queue.retry(&b.pod, at(0.0));
    for name in ["a", "b", "c"] {
        assert!(queue.take(&PodKey::new("default", name)).is_some(), "{name}");
    }
    assert!(queue.take(&PodKey::new("default", "a")).is_none(), "already out");
    assert_eq!(lengths(&queue), (0, 0, 0, 0));
}

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let old = queue.pop(at(0.0)).unwrap();
    let reborn = Arc::new(Pod { uid: "uid-2".into(), ..Pod::clone(&old.pod) });
    queue.apply(reborn, at(1.0));
    queue.done(&old.pod);
    queue.fail(&old.pod, only(Happened::Rtt), at(1.0));
    let popped = queue.pop(at(1.0)).expect("the old pod's end does not touch the new one");
    assert_eq!((popped.pod.uid.as_str(), popped.attempt), ("uid-2", 1));
}

#[test]
fn deleted_and_bound_pods_leave_nothing_behind() {
    let mut queue = queue();
    for name in ["a", "b", "c", "d"] {
        queue.apply(pod(name, 0), at(0.0));
    }
    queue.apply(gated("e"), at(0.0));
    let a = queue.pop(at(0.0)).unwrap();
    queue.done(&a.pod);
    let b = queue.pop(at(0.0)).unwrap();
    queue.fail(&b.pod, only(Happened::Rtt), at(0.0));
    let c = queue.pop(at(0.0)).unwrap();
    queue.retry(&c.pod, at(0.0));
    for name in ["b", "c", "d", "e"] {
        queue.delete(&PodKey::new("default", name));
    }
    assert_eq!(lengths(&queue), (0, 0, 0, 0));
    assert_eq!((queue.pods.len(), queue.next_due()), (0, None));
}

#[test]
fn seen_again_unchanged_nothing_moves() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
    queue.apply(pod("a", 0), at(60.0));
    assert_eq!(lengths(&queue), (0, 0, 1, 0));
}

#[test]
fn called_off_it_is_first_tried_again_without_backoff() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.put_back(&popped.pod, at(0.0));
    assert_eq!(queue.pop(at(0.0)).unwrap().attempt, 1);
}

#[test]
fn held_it_is_not_tried_and_what_woke_it_counts_afterwards() {
    let check = |happens: fn(&mut Queue<Happened>), tried: bool| {
        let mut queue = queue();
        queue.apply(pod("a", 0), at(0.0));
        let popped = queue.pop(at(0.0)).unwrap();
        queue.hold(&popped.pod);
        queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
        happens(&mut queue);
        assert_eq!((pops(&mut queue, at(301.0)), lengths(&queue)), (Vec::new(), (0, 0, 1, 0)));
        assert!(queue.take(&popped.pod.key).is_none(), "nor with the others of its group");
        queue.release(&popped.pod, at(302.0));
        assert_eq!(queue.pop(at(302.0)).is_some(), tried);
    };
    check(|queue| assert_eq!(queue.notify(&Happened::Rtt, at(5.0)), 1), true);
    check(|queue| queue.apply(pod("a", 7), at(5.0)), true);
    check(|queue| queue.activate(&PodKey::new("default", "a"), "ForceActivate", at(5.0)), true);
    check(|queue| assert_eq!(queue.notify(&Happened::NodeAdd, at(300.5)), 0), true);

    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.hold(&popped.pod);
    queue.notify(&Happened::Rtt, at(0.0));
    queue.fail(&popped.pod, only(Happened::Rtt), at(0.0));
    assert_eq!(pops(&mut queue, at(9.0)), Vec::<String>::new(), "though it happened while the pod was in flight");
    queue.release(&popped.pod, at(9.0));
    assert_eq!(pops(&mut queue, at(9.0)), ["a"]);

    queue.fail(&popped.pod, only(Happened::Rtt), at(9.0));
    queue.release(&popped.pod, at(9.0));
    assert_eq!(pops(&mut queue, at(20.0)), Vec::<String>::new(), "nothing happened");

    queue.notify(&Happened::Rtt, at(20.0));
    let popped = queue.pop(at(20.0)).unwrap();
    let another = Arc::new(Pod { uid: "another".into(), ..Pod::clone(&popped.pod) });
    queue.apply(another.clone(), at(20.0));
    queue.hold(&popped.pod);
    assert_eq!(pops(&mut queue, at(20.0)), ["a"], "the hold was of another pod of the name");
    queue.hold(&another);
    queue.retry(&another, at(20.0));
    queue.release(&popped.pod, at(40.0));
    assert_eq!(pops(&mut queue, at(40.0)), Vec::<String>::new(), "so was the release");
}

/// Rejected by both plugins, and helped by nothing.
struct Helpless;

impl Wake<Happened> for Helpless {
    fn topics(&self) -> Vec<Topic> {
        Vec::new()
    }

    fn wakes(&self, _: &Happened) -> bool {
        false
    }

    fn rejected_by(&self) -> Vec<&'static str> {
        vec!["NodeAffinity", "NodeResourcesFit"]
    }
}

#[test]
fn a_plugin_has_rejected_the_pods_that_wait_since() {
    let mut queue = queue();
    let check = |queue: &Queue<Happened>, wanted: [usize; 3]| {
        let of = |plugin| queue.rejected().get(&(plugin, String::new())).copied().unwrap_or(0);
        assert_eq!(["NodeAffinity", "NodeResourcesFit", "SchedulingGates"].map(of), wanted);
    };
    for name in ["a", "b"] {
        queue.apply(pod(name, 0), at(0.0));
        let popped = queue.pop(at(0.0)).unwrap();
        queue.fail(&popped.pod, Box::new(Helpless), at(0.0));
    }
    queue.apply(gated("c"), at(0.0));
    check(&queue, [2, 2, 1]);
    queue.activate(&PodKey::new("default", "a"), "ForceActivate", at(20.0));
    check(&queue, [2, 2, 1]);
    queue.pop(at(20.0)).unwrap();
    check(&queue, [1, 1, 1]);
    queue.delete(&PodKey::new("default", "b"));
    queue.apply(pod("c", 0), at(20.0));
    queue.pop(at(20.0)).unwrap();
    check(&queue, [0, 0, 0]);
}

#[test]
fn whom_time_alone_took_up_again_is_known() {
    let mut queue = queue();
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    assert!(!popped.after_timeout);
    queue.fail(&popped.pod, Box::new(Helpless), at(0.0));
    assert!(queue.pop(at(299.0)).is_none());
    let popped = queue.pop(at(300.0)).unwrap();
    assert!(popped.after_timeout);
    queue.retry(&popped.pod, at(300.0));
    assert!(!queue.pop(at(320.0)).unwrap().after_timeout);
}

#[test]
fn pods_and_events_in_flight_are_counted() {
    let mut queue = queue();
    queue.notify(&Happened::Rtt, at(0.0));
    queue.apply(pod("a", 0), at(0.0));
    let popped = queue.pop(at(0.0)).unwrap();
    queue.notify(&Happened::Rtt, at(0.0));
    queue.notify(&Happened::NodeAdd, at(0.0));
    queue.notify(&Happened::Rtt, at(0.0));
    assert_eq!(queue.in_flight(), BTreeMap::from([("PodPopped", 1), ("NodeAdd", 1), ("RttChange", 2)]));
    queue.done(&popped.pod);
    assert_eq!(queue.in_flight(), BTreeMap::from([("PodPopped", 0)]));
}
