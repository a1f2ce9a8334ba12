//! What an operator can set.

use api::protocol::ProbeMethod;
use chassis::client::ClientConfig;
use chassis::config::{Duration, Problems, Validate};
use chassis::topology::TopologyConfig;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Name of this agent's Node object; in a pod `spec.nodeName` through the downward API.
    pub node_name: String,
    /// Address that probes leave from and the echo listens on, which limits the agent to its family. Unspecified: all of the machine's, of both
    /// families where the machine has both, and the kernel chooses for probes.
    pub listen_address: IpAddr,
    /// Address at which peers reach this agent; in the pod network the pod's IP. Absent: the node's InternalIP.
    pub advertise_address: Option<IpAddr>,
    /// UDP and TCP port of the echo, the same on every node.
    pub echo_port: u16,
    /// Address of the admin port (health, metrics, /check, /check_all).
    pub admin_address: SocketAddr,
    /// Methods in the order in which they are tried.
    pub methods: Vec<ProbeMethod>,
    /// Most probes a second that this agent sends; a row that needs more takes longer.
    pub max_probes_per_second: u32,
    /// How often changed pairs are reported.
    pub report_interval: Duration,
    /// How often devices are looked at again.
    pub device_interval: Duration,
    pub topology: TopologyConfig,
    pub client: ClientConfig,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            node_name: String::new(),
            listen_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            advertise_address: None,
            echo_port: 9444,
            admin_address: SocketAddr::from(([0, 0, 0, 0], 9445)),
            methods: vec![ProbeMethod::IcmpDatagram, ProbeMethod::IcmpRaw, ProbeMethod::Udp, ProbeMethod::Tcp],
            max_probes_per_second: 100,
            report_interval: Duration::from_secs(1),
            device_interval: Duration::from_secs(30),
            topology: TopologyConfig::default(),
            client: ClientConfig::default(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        if self.node_name.is_empty() {
            problems.wrong("nodeName", "\"\"", "the name of this agent's Node (flag --node-name, variable EDGE_PINGER_NODE_NAME)");
        }
        if self.methods.is_empty() {
            problems.wrong("methods", "[]", "at least one of icmp-datagram, icmp-raw, udp, tcp");
        }
        if self.max_probes_per_second == 0 {
            problems.wrong("maxProbesPerSecond", 0, "1 or more");
        }
        if self.report_interval.is_zero() {
            problems.wrong("reportInterval", self.report_interval, "more than 0s");
        }
        problems.within("topology", |problems| self.topology.validate(problems));
    }
}
