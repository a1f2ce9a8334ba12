//! The network itself: what it does to packets of every kind, and that nothing of it stays.

use super::alone;
use edge_demo::wan::Links;
use edge_tests::wan::{Namespace, Network, address_v4, address_v6, remove_leftovers};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bound of every wait.
const LIMIT: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

/// Two nodes, 3 ms there and 2 ms back.
fn two(label: &str) -> Network {
    Network::start(label, Arc::new(Links::new(2, vec![0, 3000, 2000, 0], 0).unwrap()), 7).unwrap()
}

fn families() -> [[IpAddr; 2]; 2] {
    [[address_v4(0).into(), address_v4(1).into()], [address_v6(0).into(), address_v6(1).into()]]
}

fn udp(network: &Network, node: usize, address: IpAddr) -> UdpSocket {
    let socket = network.node(node).run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// How long a datagram takes one way: all namespaces have one clock.
fn one_way(from: &UdpSocket, to: &UdpSocket) -> Duration {
    let sent = Instant::now();
    from.send_to(b"datagram", to.local_addr().unwrap()).unwrap();
    let (length, source) = to.recv_from(&mut [0; 64]).unwrap();
    let took = sent.elapsed();
    assert_eq!((length, source), (8, from.local_addr().unwrap()));
    took
}

fn counted(count: &AtomicU64, at_least: u64) {
    let begun = Instant::now();
    while count.load(Relaxed) < at_least {
        assert!(begun.elapsed() < LIMIT, "{} of {at_least}", count.load(Relaxed));
        std::thread::yield_now();
    }
}

#[test]
fn datagrams_of_both_families_take_the_delay_of_their_direction_and_follow_its_changes() {
    let Some(_alone) = alone("datagrams_of_both_families") else { return };
    let network = two("udp");
    for addresses in families() {
        let [a, b] = [0, 1].map(|node| udp(&network, node, addresses[node]));
        network.links().set_link(0, 1, |link| link.delay_us = 3000).unwrap();
        assert!(one_way(&a, &b) >= 3 * MS && one_way(&b, &a) >= 2 * MS);
        network.links().set_link(0, 1, |link| link.delay_us = 300_000).unwrap();
        let (there, back) = (one_way(&a, &b), one_way(&b, &a));
        assert!(there >= 300 * MS && back >= 2 * MS && back < 300 * MS, "{there:?} there, {back:?} back");

        network.links().set_link(0, 1, |link| link.cut = true).unwrap();
        let cut = network.counts().cut.load(Relaxed);
        a.send_to(b"cut off", b.local_addr().unwrap()).unwrap();
        counted(&network.counts().cut, cut + 1);
        one_way(&b, &a);
        network.links().set_link(0, 1, |link| (link.cut, link.delay_us, link.loss) = (false, 1000, 1.0)).unwrap();
        let lost = network.counts().lost.load(Relaxed);
        a.send_to(b"lost", b.local_addr().unwrap()).unwrap();
        counted(&network.counts().lost, lost + 1);
        network.links().set_link(0, 1, |link| link.loss = 0.0).unwrap();
        one_way(&a, &b);
    }
}

#[test]
fn jitter_only_adds_and_never_reorders() {
    let Some(_alone) = alone("jitter_adds") else { return };
    let network = two("jitter");
    network.links().set_link(0, 1, |link| (link.delay_us, link.jitter_us) = (2000, 4000)).unwrap();
    let [a, b] = [0, 1].map(|node| udp(&network, node, address_v4(node).into()));
    let target = b.local_addr().unwrap();
    let sent: Vec<Instant> = (0..200u8)
        .map(|number| {
            let now = Instant::now();
            a.send_to(&[number], target).unwrap();
            // Spread over the jitter's span, or all would come at once.
            std::thread::sleep(Duration::from_micros(200));
            now
        })
        .collect();
    for (number, sent) in sent.iter().enumerate() {
        let mut byte = [0];
        b.recv_from(&mut byte).unwrap();
        assert_eq!(usize::from(byte[0]), number, "out of order");
        assert!(sent.elapsed() >= 2 * MS, "early");
    }
    assert!(network.counts().stray.load(Relaxed) < 50, "the addresses are the switch's");
}

#[test]
fn streams_of_both_families_pass_whole_and_need_a_round_trip_to_begin() {
    let Some(_alone) = alone("streams_of_both_families") else { return };
    let network = two("tcp");
    let sent: Vec<u8> = (0..2_000_000u32).map(|index| (index / 7) as u8).collect();
    for addresses in families() {
        let listener = network.node(1).run(|| TcpListener::bind((addresses[1], 0)).unwrap()).unwrap();
        let target = listener.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            stream.write_all(&received).unwrap();
        });
        let begun = Instant::now();
        let mut stream = connect(&network, target).unwrap();
        assert!(begun.elapsed() >= 5 * MS);
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
        echo.join().unwrap();
        // The other kernel's own answer crosses as well.
        assert_eq!(connect(&network, target).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

fn connect(network: &Network, target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = network.node(0).run(|| TcpStream::connect_timeout(&target, LIMIT)).unwrap()?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

#[test]
fn nothing_stays_after_a_panic() {
    let Some(_alone) = alone("nothing_stays_after_a_panic") else { return };
    let mut names = Vec::new();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let network = two("panic");
        names.extend([0, 1].map(|node| network.node(node).name().to_owned()));
        assert!(names.iter().all(|name| exists(name)));
        // Without the hook, which would print what looks like a failure.
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(ended.is_err() && names.len() == 2);
    assert!(!names.iter().any(|name| exists(name)), "{names:?}");
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_a_living_one_has_stays() {
    let Some(_alone) = alone("what_a_dead_process_left") else { return };
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let left = format!("edge-wan-{}-left", dead.id());
    assert!(Command::new("ip").args(["netns", "add", &left]).status().unwrap().success());
    let mut orphan = Command::new("ip").args(["netns", "exec", &left, "sleep", "600"]).spawn().unwrap();
    let ours = Namespace::create("ours").unwrap();
    // `ip` becomes the program once it is in the namespace.
    let begun = Instant::now();
    while std::fs::read_to_string(format!("/proc/{}/comm", orphan.id())).unwrap().trim() != "sleep" {
        assert!(begun.elapsed() < LIMIT);
        std::thread::yield_now();
    }
    assert!(remove_leftovers() >= 1);
    assert!(!exists(&left) && exists(ours.name()));
    let status = orphan.wait().unwrap();
    assert!(!status.success(), "{status}");
}
