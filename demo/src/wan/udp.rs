//! Datagrams: one socket per node on its public address and the echo port, both to take what is sent to the node and to hand out
//! what the node sent, so that a datagram privA:P -> pubB:P arrives at privB:P from pubA:P.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::address;
use super::links::Passage;
use super::switch::Shared;

/// A datagram on its way.
pub(super) struct Datagram {
    from: usize,
    to: usize,
    data: Box<[u8]>,
}

/// Binds every node's public address.
pub(super) fn bind(nodes: usize, port: u16) -> Result<Vec<UdpSocket>, (SocketAddr, io::Error)> {
    (0..nodes)
        .map(|node| {
            let at = SocketAddr::from(SocketAddrV4::new(address::public(node), port));
            let bound = std::net::UdpSocket::bind(at).and_then(|socket| {
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            });
            bound.map_err(|error| (at, error))
        })
        .collect()
}

/// Takes in what is sent to one node, for ever.
pub(super) async fn receive(shared: Rc<Shared>, sockets: Rc<Vec<UdpSocket>>, port: u16, to: usize, scratch: Rc<RefCell<Vec<u8>>>) {
    let socket = &sockets[to];
    loop {
        if let Err(error) = socket.readable().await {
            tracing::error!(node = to, %error, "WAN socket failed");
            return;
        }
        let mut scratch = scratch.borrow_mut();
        // All that waits is stamped before the loop yields: stamping late would only add delay.
        while let Ok((length, source)) = socket.try_recv_from(&mut scratch) {
            let now = Instant::now();
            shared.counts.udp_received.fetch_add(1, Relaxed);
            let from = address::node_of_private(source.ip()).filter(|from| *from < sockets.len() && source.port() == port);
            let Some(from) = from else {
                shared.counts.udp_stray.fetch_add(1, Relaxed);
                continue;
            };
            match shared.links.draw(from, to, &mut shared.random.borrow_mut()) {
                Passage::Lost => shared.counts.udp_lost.fetch_add(1, Relaxed),
                Passage::Cut => shared.counts.udp_cut.fetch_add(1, Relaxed),
                Passage::After(delay) => {
                    let datagram = Datagram { from, to, data: scratch[..length].into() };
                    if let Err(error) = shared.timer.push(now + delay, datagram) {
                        tracing::error!(%error, "WAN timer failed");
                        return;
                    }
                    continue;
                }
            };
        }
    }
}

/// Hands out one datagram whose time has come.
pub(super) fn deliver(shared: &Shared, sockets: &[UdpSocket], port: u16, datagram: Datagram, lateness: Duration) {
    let target = SocketAddrV4::new(address::private(datagram.to), port);
    // A full socket buffer is a full router queue: the datagram is gone, and counted.
    match sockets[datagram.from].try_send_to(&datagram.data, target.into()) {
        Ok(_) => {
            shared.counts.udp_delivered.fetch_add(1, Relaxed);
            shared.counts.lateness.note(lateness);
        }
        Err(_) => {
            shared.counts.udp_lost.fetch_add(1, Relaxed);
        }
    }
}
