//! Host ports of a pod: those of its containers and sidecars.

use super::Unreadable;
use k8s_openapi::api::core::v1;
use placement::cluster::{EVERY_ADDRESS, HostPort, Protocol};

pub(super) fn host_ports(spec: &v1::PodSpec, unreadable: &mut Unreadable) -> Vec<HostPort> {
    let sidecar = |container: &&v1::Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
    let mut ports = Vec::new();
    for container in sidecars.chain(&spec.containers) {
        for port in container.ports.iter().flatten() {
            // On the host's network every port is the host's, also where the API server has not copied it.
            let on_host = spec.host_network.unwrap_or_default().then_some(port.container_port);
            let number = port.host_port.filter(|number| *number > 0).or(on_host).and_then(|number| u16::try_from(number).ok());
            let Some(number) = number.filter(|number| *number > 0) else { continue };
            let read = read(port, number);
            read.map_or_else(|why| unreadable.add(format!("{}: {}", container.name, why.0), why.1), |port| ports.push(port));
        }
    }
    ports
}

/// The port, or which field can't be read and why.
fn read(port: &v1::ContainerPort, number: u16) -> Result<HostPort, (&'static str, String)> {
    let ip = match port.host_ip.as_deref().unwrap_or_default() {
        "" => EVERY_ADDRESS,
        text => text.parse().map_err(|_| ("ports[].hostIP", format!("{text:?} is not an IP address")))?,
    };
    let protocol = match port.protocol.as_deref().unwrap_or_default() {
        "" | "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => return Err(("ports[].protocol", format!("{other:?} is not one of TCP, UDP, SCTP"))),
    };
    Ok(HostPort { ip, protocol, port: number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, expected: &[(&str, Protocol, u16)]) {
        let mut unreadable = Unreadable::default();
        let ports = host_ports(&serde_json::from_value(spec).unwrap(), &mut unreadable);
        let port = |&(ip, protocol, port): &(&str, Protocol, u16)| HostPort { ip: ip.parse().unwrap(), protocol, port };
        assert_eq!(ports, expected.iter().map(port).collect::<Vec<_>>());
        assert!(unreadable.refusals.is_empty());
    }

    #[test]
    fn containers_and_sidecars_take_ports_and_other_init_containers_do_not() {
        let ports = |ports: Value| json!({"name": "c", "ports": ports});
        let mut sidecar = ports(json!([{"containerPort": 1, "hostPort": 7000, "protocol": "UDP"}]));
        sidecar["restartPolicy"] = json!("Always");
        check(
            json!({
                "containers": [ports(json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "hostIP": "10.0.0.1"}]))],
                "initContainers": [sidecar, ports(json!([{"containerPort": 1, "hostPort": 7001}]))],
            }),
            &[("0.0.0.0", Protocol::Udp, 7000), ("10.0.0.1", Protocol::Tcp, 8081)],
        );
    }

    #[test]
    fn ports_on_the_hosts_network_are_host_ports() {
        let containers = json!([{"name": "c", "ports": [{"containerPort": 80}]}]);
        check(json!({"hostNetwork": true, "containers": containers}), &[("0.0.0.0", Protocol::Tcp, 80)]);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let mut unreadable = Unreadable::default();
        let spec = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 1, "hostIP": "here"}]}]});
        assert!(host_ports(&serde_json::from_value(spec).unwrap(), &mut unreadable).is_empty());
        assert_eq!(unreadable.refusals[0].field, "c: ports[].hostIP");
    }
}
