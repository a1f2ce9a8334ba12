//! The end of the network in one namespace: a TUN device.

use std::io;
use std::net::IpAddr;

use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// The largest packet, in bytes: what a device that says nothing else has.
pub(super) const MTU: u16 = 1500;

/// A node's device could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the TUN device {name} (it takes root, or CAP_NET_ADMIN, and /dev/net/tun)")]
pub struct PortError {
    name: String,
    #[source]
    source: io::Error,
}

/// A TUN device with the addresses that its node is reached at. Dropping it removes the device.
pub struct Port {
    pub(super) device: SyncDevice,
    pub(super) addresses: Vec<IpAddr>,
}

impl Port {
    /// Makes the device in the network namespace of the calling thread, without addresses: those are the namespace's to assign. `addresses` are
    /// what the switch delivers to it; the device stays where it is whichever thread uses it.
    pub fn open(name: &str, addresses: Vec<IpAddr>) -> Result<Port, PortError> {
        let failed = |source| PortError { name: name.to_owned(), source };
        let device = DeviceBuilder::new().name(name).layer(Layer::L3).mtu(MTU).build_sync().map_err(failed)?;
        device.set_nonblocking(true).map_err(failed)?;
        Ok(Port { device, addresses })
    }
}
