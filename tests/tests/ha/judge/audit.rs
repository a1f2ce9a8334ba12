//! The API server's audit log: who asked for which binding and which change of the lease, when, and with what result.

use jiff::Timestamp;
use serde_json::Value;
use std::path::Path;

/// One request for a binding.
#[derive(Clone, Debug)]
pub struct Binding {
    /// namespace/name.
    pub pod: String,
    pub uid: String,
    pub node: String,
    /// The pod whose token asked.
    pub by: String,
    pub received: Timestamp,
    pub code: u64,
}

impl Binding {
    pub fn is_done(&self) -> bool {
        (200..300).contains(&self.code)
    }
}

/// One change of the lease that was done.
#[derive(Clone, Debug)]
pub struct LeaseWrite {
    pub by: String,
    /// Who holds the lease after it, as the lease names the writer; empty: nobody.
    pub holder: String,
    pub received: Timestamp,
    pub answered: Timestamp,
    /// What the writer's clock said.
    pub renew_time: Timestamp,
    pub duration_s: i64,
}

impl LeaseWrite {
    pub fn holds(&self) -> bool {
        !self.holder.is_empty()
    }
}

/// What concerns the schedulers, in the order of the log.
#[derive(Debug, Default)]
pub struct Log {
    pub bindings: Vec<Binding>,
    pub leases: Vec<LeaseWrite>,
}

impl Log {
    pub fn read(path: &Path, lease: &str) -> Log {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Log::parse(&text, lease)
    }

    /// A line that is not whole was being written when the API server was killed.
    pub fn parse(text: &str, lease: &str) -> Log {
        let mut log = Log::default();
        for event in
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|event| event["stage"] == "ResponseComplete")
        {
            let object = &event["objectRef"];
            if event["verb"] == "create" && object["resource"] == "pods" && object["subresource"] == "binding" {
                log.bindings.push(binding(&event));
            } else if object["resource"] == "leases" && object["namespace"] == "edge-system" {
                let request = &event["requestObject"];
                let ours = object["name"] == lease || request["metadata"]["name"] == lease;
                let done = (200..300).contains(&code(&event));
                if ours && done && matches!(event["verb"].as_str(), Some("create" | "update")) {
                    log.leases.push(lease_write(&event));
                }
            }
        }
        log
    }
}

fn binding(event: &Value) -> Binding {
    let (object, request) = (&event["objectRef"], &event["requestObject"]);
    Binding {
        pod: format!("{}/{}", text(&object["namespace"]), text(&object["name"])),
        uid: text(&request["metadata"]["uid"]),
        node: text(&request["target"]["name"]),
        by: by(event),
        received: time(&event["requestReceivedTimestamp"]),
        code: code(event),
    }
}

fn lease_write(event: &Value) -> LeaseWrite {
    let spec = &event["requestObject"]["spec"];
    LeaseWrite {
        by: by(event),
        holder: text(&spec["holderIdentity"]),
        received: time(&event["requestReceivedTimestamp"]),
        answered: time(&event["stageTimestamp"]),
        renew_time: time(&spec["renewTime"]),
        duration_s: spec["leaseDurationSeconds"].as_i64().unwrap_or_default(),
    }
}

/// Replicas share an account; their tokens are for one pod each.
fn by(event: &Value) -> String {
    text(&event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0])
}

fn code(event: &Value) -> u64 {
    event["responseStatus"]["code"].as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: &str = r#"{"stage":"ResponseComplete","verb":"create","user":{"username":"system:serviceaccount:edge-system:edge-scheduler","extra":{"authentication.kubernetes.io/pod-name":["replica-a"]}},"objectRef":{"resource":"pods","namespace":"default","name":"p","subresource":"binding"},"responseStatus":{"code":201},"requestObject":{"metadata":{"uid":"u"},"target":{"kind":"Node","name":"node-1"}},"requestReceivedTimestamp":"2026-01-01T00:00:01.000000Z","stageTimestamp":"2026-01-01T00:00:01.002000Z"}"#;
    const LEASE: &str = r#"{"stage":"ResponseComplete","verb":"update","user":{"extra":{"authentication.kubernetes.io/pod-name":["replica-b"]}},"objectRef":{"resource":"leases","namespace":"edge-system","name":"edge-scheduler"},"responseStatus":{"code":200},"requestObject":{"spec":{"holderIdentity":"h_1","leaseDurationSeconds":15,"renewTime":"2026-01-01T00:01:00.000000Z"}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.002000Z"}"#;

    #[test]
    fn bindings_and_what_was_done_to_the_lease_are_found() {
        let (torn, conflict, other) =
            (&BINDING[..80], LEASE.replace("\"code\":200", "\"code\":409"), LEASE.replace("\"edge-scheduler\"", "\"another\""));
        let log = Log::parse(&[BINDING, LEASE, &conflict, &other, torn].join("\n"), "edge-scheduler");
        let [binding] = log.bindings.as_slice() else { panic!("{log:?}") };
        assert_eq!(
            (&*binding.pod, &*binding.uid, &*binding.node, &*binding.by, binding.is_done()),
            ("default/p", "u", "node-1", "replica-a", true)
        );
        let [write] = log.leases.as_slice() else { panic!("{log:?}") };
        assert_eq!((&*write.by, &*write.holder, write.duration_s), ("replica-b", "h_1", 15));
        assert_eq!(write.renew_time.duration_since(write.received).as_secs(), 60);
    }
}
