//! The fields of a Pod's metadata and spec that are honoured and those that play no part in placing. `[]` stands for every element of a list. A path that
//! plays no part stands for all that is below it; what is below an honoured one stands in `WITHIN`. What is refused stands in the rules beside this file.
//!
//! `pod.txt` lists all fields that a kube-apiserver has, by its OpenAPI: suite `control-plane` finds it stale when a later version has more, and the
//! test below then wants them classed.

/// Honoured: the field is in the model, and filters, scores or the queue read it.
pub const HONOURED: &[&str] = &[
    // Delay bounds.
    "metadata.annotations",
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    // Replicas of one controller are spread, and are what a bound refers to by its name.
    "metadata.ownerReferences",
    "metadata.uid",
    "spec.affinity.nodeAffinity",
    "spec.affinity.podAffinity",
    "spec.affinity.podAntiAffinity",
    "spec.containers[].image",
    // Those on the host; `hostNetwork` puts all of them there.
    "spec.containers[].ports",
    "spec.containers[].resources.requests",
    // RestartAllContainers needs a feature of the node, and so do the next two.
    "spec.containers[].restartPolicyRules",
    "spec.containers[].volumeMounts[].bindMountOptions",
    // false, together with hostNetwork.
    "spec.hostUsers",
    "spec.initContainers[].image",
    // A sidecar's.
    "spec.initContainers[].ports",
    "spec.initContainers[].resources.requests",
    // "Always" makes a sidecar, which counts for as long as the pod runs.
    "spec.initContainers[].restartPolicy",
    "spec.initContainers[].restartPolicyRules",
    "spec.initContainers[].volumeMounts[].bindMountOptions",
    "spec.nodeName",
    "spec.nodeSelector",
    "spec.overhead",
    "spec.preemptionPolicy",
    // Orders the queue, and says whom the pod may preempt.
    "spec.priority",
    "spec.resourceClaims",
    "spec.resources.requests",
    "spec.schedulerName",
    "spec.schedulingGates",
    "spec.tolerations[].effect",
    "spec.tolerations[].key",
    "spec.tolerations[].operator",
    "spec.tolerations[].value",
    "spec.topologySpreadConstraints",
    "spec.volumes[].awsElasticBlockStore",
    "spec.volumes[].azureDisk",
    "spec.volumes[].cinder",
    "spec.volumes[].ephemeral",
    "spec.volumes[].gcePersistentDisk",
    "spec.volumes[].image",
    "spec.volumes[].iscsi",
    // Part of the name of the claim that is made for an ephemeral volume.
    "spec.volumes[].name",
    "spec.volumes[].persistentVolumeClaim",
    "spec.volumes[].portworxVolume",
    "spec.volumes[].rbd",
];

/// Types of what is honoured: the fields of each that are read, and those that play no part, with all that is below them.
pub const WITHIN: &[(&str, &[&str], &[&str])] = &[
    ("AWSElasticBlockStoreVolumeSource", &["volumeID"], &["fsType", "partition", "readOnly"]),
    ("AzureDiskVolumeSource", &["diskName", "diskURI", "kind"], &["cachingMode", "fsType", "readOnly"]),
    ("CinderVolumeSource", &["volumeID"], &["fsType", "readOnly", "secretRef"]),
    ("ContainerPort", &["containerPort", "hostIP", "hostPort", "protocol"], &["name"]),
    ("ContainerRestartRule", &["action"], &["exitCodes"]),
    // The claim that is made of it counts.
    ("EphemeralVolumeSource", &[], &["volumeClaimTemplate"]),
    ("GCEPersistentDiskVolumeSource", &["pdName", "readOnly"], &["fsType", "partition"]),
    (
        "ISCSIVolumeSource",
        &["iqn", "readOnly"],
        &[
            "chapAuthDiscovery",
            "chapAuthSession",
            "fsType",
            "initiatorName",
            "iscsiInterface",
            "lun",
            "portals",
            "secretRef",
            "targetPortal",
        ],
    ),
    ("ImageVolumeSource", &["reference"], &["pullPolicy"]),
    ("LabelSelector", &["matchExpressions", "matchLabels"], &[]),
    ("LabelSelectorRequirement", &["key", "operator", "values"], &[]),
    ("NodeAffinity", &["preferredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution"], &[]),
    ("NodeSelector", &["nodeSelectorTerms"], &[]),
    ("NodeSelectorRequirement", &["key", "operator", "values"], &[]),
    ("NodeSelectorTerm", &["matchExpressions", "matchFields"], &[]),
    ("OwnerReference", &["apiVersion", "controller", "kind", "name", "uid"], &["blockOwnerDeletion"]),
    ("PersistentVolumeClaimVolumeSource", &["claimName"], &["readOnly"]),
    ("PodAffinity", &["preferredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution"], &[]),
    ("PodAffinityTerm", &["labelSelector", "matchLabelKeys", "mismatchLabelKeys", "namespaceSelector", "namespaces", "topologyKey"], &[]),
    ("PodAntiAffinity", &["preferredDuringSchedulingIgnoredDuringExecution", "requiredDuringSchedulingIgnoredDuringExecution"], &[]),
    ("PodResourceClaim", &["name", "resourceClaimName", "resourceClaimTemplateName"], &[]),
    ("PodSchedulingGate", &["name"], &[]),
    ("PortworxVolumeSource", &["volumeID"], &["fsType", "readOnly"]),
    ("PreferredSchedulingTerm", &["preference", "weight"], &[]),
    ("RBDVolumeSource", &["image", "monitors", "pool", "readOnly"], &["fsType", "keyring", "secretRef", "user"]),
    (
        "TopologySpreadConstraint",
        &[
            "labelSelector",
            "matchLabelKeys",
            "maxSkew",
            "minDomains",
            "nodeAffinityPolicy",
            "nodeTaintsPolicy",
            "topologyKey",
            "whenUnsatisfiable",
        ],
        &[],
    ),
    ("WeightedPodAffinityTerm", &["podAffinityTerm", "weight"], &[]),
];

/// Irrelevant: kube-scheduler places by none of them either. Where admission turns one into another field, that field counts.
pub const IRRELEVANT: &[&str] = &[
    "metadata.deletionGracePeriodSeconds",
    "metadata.finalizers",
    "metadata.generateName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.selfLink",
    "spec.activeDeadlineSeconds",
    "spec.automountServiceAccountToken",
    "spec.containers[].args",
    "spec.containers[].command",
    "spec.containers[].env",
    "spec.containers[].envFrom",
    "spec.containers[].imagePullPolicy",
    "spec.containers[].lifecycle",
    "spec.containers[].livenessProbe",
    "spec.containers[].name",
    "spec.containers[].readinessProbe",
    "spec.containers[].resizePolicy",
    // Names entries of spec.resourceClaims, which all count.
    "spec.containers[].resources.claims",
    // The API server makes a missing request of it.
    "spec.containers[].resources.limits",
    "spec.containers[].restartPolicy",
    "spec.containers[].securityContext",
    "spec.containers[].startupProbe",
    "spec.containers[].stdin",
    "spec.containers[].stdinOnce",
    "spec.containers[].terminationMessagePath",
    "spec.containers[].terminationMessagePolicy",
    "spec.containers[].tty",
    "spec.containers[].volumeDevices",
    "spec.containers[].volumeMounts[].mountPath",
    "spec.containers[].volumeMounts[].mountPropagation",
    "spec.containers[].volumeMounts[].name",
    "spec.containers[].volumeMounts[].readOnly",
    "spec.containers[].volumeMounts[].recursiveReadOnly",
    "spec.containers[].volumeMounts[].subPath",
    "spec.containers[].volumeMounts[].subPathExpr",
    "spec.containers[].workingDir",
    "spec.dnsConfig",
    "spec.dnsPolicy",
    "spec.enableServiceLinks",
    // May not request anything.
    "spec.ephemeralContainers",
    "spec.evictionResponders",
    "spec.hostAliases",
    "spec.hostIPC",
    // Alone; what it makes of ports and of hostUsers counts there.
    "spec.hostNetwork",
    "spec.hostPID",
    "spec.hostname",
    "spec.hostnameOverride",
    "spec.imagePullSecrets",
    "spec.initContainers[].args",
    "spec.initContainers[].command",
    "spec.initContainers[].env",
    "spec.initContainers[].envFrom",
    "spec.initContainers[].imagePullPolicy",
    "spec.initContainers[].lifecycle",
    "spec.initContainers[].livenessProbe",
    "spec.initContainers[].name",
    "spec.initContainers[].readinessProbe",
    "spec.initContainers[].resizePolicy",
    "spec.initContainers[].resources.claims",
    "spec.initContainers[].resources.limits",
    "spec.initContainers[].securityContext",
    "spec.initContainers[].startupProbe",
    "spec.initContainers[].stdin",
    "spec.initContainers[].stdinOnce",
    "spec.initContainers[].terminationMessagePath",
    "spec.initContainers[].terminationMessagePolicy",
    "spec.initContainers[].tty",
    "spec.initContainers[].volumeDevices",
    "spec.initContainers[].volumeMounts[].mountPath",
    "spec.initContainers[].volumeMounts[].mountPropagation",
    "spec.initContainers[].volumeMounts[].name",
    "spec.initContainers[].volumeMounts[].readOnly",
    "spec.initContainers[].volumeMounts[].recursiveReadOnly",
    "spec.initContainers[].volumeMounts[].subPath",
    "spec.initContainers[].volumeMounts[].subPathExpr",
    "spec.initContainers[].workingDir",
    // The kubelet of another system rejects the pod; nodeSelector, and what a RuntimeClass makes of it, keep it away.
    "spec.os",
    // Admission makes priority of it.
    "spec.priorityClassName",
    "spec.readinessGates",
    "spec.resources.claims",
    "spec.resources.limits",
    "spec.restartPolicy",
    // Admission makes overhead, nodeSelector and tolerations of it.
    "spec.runtimeClassName",
    "spec.securityContext",
    "spec.serviceAccount",
    "spec.serviceAccountName",
    "spec.setHostnameAsFQDN",
    "spec.shareProcessNamespace",
    "spec.subdomain",
    "spec.terminationGracePeriodSeconds",
    // Says how long a pod stays after a taint appears.
    "spec.tolerations[].tolerationSeconds",
    "spec.volumes[].azureFile",
    "spec.volumes[].cephfs",
    "spec.volumes[].configMap",
    "spec.volumes[].csi",
    "spec.volumes[].downwardAPI",
    "spec.volumes[].emptyDir",
    "spec.volumes[].fc",
    "spec.volumes[].flexVolume",
    "spec.volumes[].flocker",
    "spec.volumes[].gitRepo",
    "spec.volumes[].glusterfs",
    "spec.volumes[].hostPath",
    "spec.volumes[].nfs",
    "spec.volumes[].photonPersistentDisk",
    "spec.volumes[].projected",
    "spec.volumes[].quobyte",
    "spec.volumes[].scaleIO",
    "spec.volumes[].secret",
    "spec.volumes[].storageos",
    "spec.volumes[].vsphereVolume",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use crate::refusal::POD_RULES;
    use placement::cluster::Pod;
    use serde_json::{Value, json};
    use std::collections::HashMap;

    /// Types with the fields of each and their types, as `pod.txt` writes them.
    type Types<'a> = HashMap<&'a str, Vec<(&'a str, &'a str)>>;

    fn types() -> Types<'static> {
        let line = |line: &'static str| {
            let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
            (name, fields.split(' ').filter_map(|field| field.split_once(':')).collect())
        };
        include_str!("pod.txt").lines().filter(|text| !text.starts_with('#')).map(line).collect()
    }

    fn refused() -> Vec<String> {
        POD_RULES.iter().map(|(field, ..)| format!("spec.{field}")).collect()
    }

    fn classes_of(path: &str) -> usize {
        let refused = refused();
        HONOURED.iter().chain(IRRELEVANT).copied().chain(refused.iter().map(String::as_str)).filter(|classed| *classed == path).count()
    }

    fn element_of(ty: &str) -> &str {
        ["[]", "{}"].into_iter().find_map(|list| ty.strip_prefix(list)).map_or(ty, element_of)
    }

    /// Fields of the type of an honoured path, and of the types of those that are read, which `WITHIN` does not have, and its fields that are not there.
    fn look_within(path: &str, ty: &str, types: &Types<'_>, unclassed: &mut Vec<String>) {
        let Some(fields) = types.get(element_of(ty)) else { return };
        let nothing: (&str, &[&str], &[&str]) = ("", &[], &[]);
        let (_, read, rest) = WITHIN.iter().find(|(name, ..)| *name == element_of(ty)).unwrap_or(&nothing);
        for (name, ty) in fields {
            let path = format!("{path}.{name}");
            match (read.contains(name), rest.contains(name)) {
                (true, false) => look_within(&path, ty, types, unclassed),
                (false, true) => {}
                _ => unclassed.push(path),
            }
        }
        let gone = read.iter().chain(*rest).filter(|known| !fields.iter().any(|(name, _)| name == *known));
        unclassed.extend(gone.map(|known| format!("{path}.{known}, which is no field")));
    }

    /// Every path from the root on which no class stands at or above, or that `WITHIN` does not have, and the type of each classed path.
    fn walk<'a>(path: &str, ty: &'a str, types: &Types<'a>, unclassed: &mut Vec<String>, classed: &mut Vec<(String, &'a str)>) {
        match classes_of(path) {
            1 => {
                if HONOURED.contains(&path) {
                    look_within(path, ty, types, unclassed);
                }
                return classed.push((path.to_owned(), ty));
            }
            0 => {}
            n => panic!("{path} stands in {n} classes"),
        }
        if let Some(element) = ty.strip_prefix("[]") {
            return walk(&format!("{path}[]"), element, types, unclassed, classed);
        }
        let Some(fields) = types.get(ty) else { return unclassed.push(path.to_owned()) };
        for (name, ty) in fields {
            let path = if path.is_empty() { (*name).to_owned() } else { format!("{path}.{name}") };
            walk(&path, ty, types, unclassed, classed);
        }
    }

    fn classed_fields() -> Vec<(String, Value)> {
        let (types, mut unclassed, mut classed) = (types(), Vec::new(), Vec::new());
        walk("", "Pod", &types, &mut unclassed, &mut classed);
        assert_eq!(unclassed, Vec::<String>::new(), "fields of a Pod in no class");
        classed.into_iter().map(|(path, ty)| (path, sample(ty, &types))).collect()
    }

    /// Some value of the type, with every field set.
    fn sample(ty: &str, types: &Types<'_>) -> Value {
        if let Some(element) = ty.strip_prefix("[]") {
            return json!([sample(element, types)]);
        }
        if let Some(value) = ty.strip_prefix("{}") {
            return json!({"cpu": sample(value, types)});
        }
        if let Some(fields) = types.get(ty) {
            return fields.iter().map(|(name, ty)| ((*name).to_owned(), sample(ty, types))).collect();
        }
        match ty {
            "integer" => json!(7),
            "boolean" => json!(true),
            "Time" | "MicroTime" => json!("2026-01-02T03:04:05Z"),
            "FieldsV1" => json!({}),
            _ => json!("7"),
        }
    }

    fn base() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "100m"}}}],
            "tolerations": [{"operator": "Exists"}],
        }})
    }

    /// Puts `value` at a path, making lists of one element on the way.
    fn put(target: &mut Value, path: &str, value: Value) {
        let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
        let slot = match head.strip_suffix("[]") {
            Some(list) => {
                let list = target.as_object_mut().unwrap().entry(list).or_insert(json!([{}]));
                &mut list[0]
            }
            None => target.as_object_mut().unwrap().entry(head).or_insert(json!({})),
        };
        match rest {
            Some(rest) => put(slot, rest, value),
            None => *slot = value,
        }
    }

    fn converted(pod: Value) -> Pod {
        convert::pod(&serde_json::from_value(pod).unwrap())
    }

    fn with(path: &str, value: Value) -> Pod {
        let mut pod = base();
        put(&mut pod, path, value);
        converted(pod)
    }

    /// Values that show an honoured field at work, where a sample of the schema would not.
    fn telling(path: &str) -> Option<Value> {
        Some(match path {
            "metadata.annotations" => json!({(crate::labels::DELAY_ANNOTATION): r#"{"node/n": "5ms"}"#}),
            "metadata.ownerReferences" => {
                json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "7", "controller": true}])
            }
            "spec.initContainers[].resources.requests" => json!({"cpu": "2"}),
            "spec.initContainers[].restartPolicy" => json!("Always"),
            "spec.containers[].restartPolicyRules" | "spec.initContainers[].restartPolicyRules" => {
                json!([{"action": "RestartAllContainers"}])
            }
            "spec.hostUsers" => json!(false),
            "spec.volumes[].azureDisk" => json!({"diskName": "d", "diskURI": "uri", "kind": "Managed"}),
            "spec.containers[].ports" | "spec.initContainers[].ports" => json!([{"containerPort": 80, "hostPort": 8080}]),
            "spec.preemptionPolicy" => json!("Never"),
            "spec.tolerations[].operator" => json!("Equal"),
            "spec.tolerations[].effect" => json!("NoExecute"),
            "spec.affinity.podAffinity" | "spec.affinity.podAntiAffinity" => json!({
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": {
                    "topologyKey": "zone", "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}}],
            }),
            "spec.topologySpreadConstraints" => json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "a"}}}]),
            "spec.affinity.nodeAffinity" => json!({
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [
                    {"key": "metadata.name", "operator": "In", "values": ["n"]}]}]},
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "preference": {"matchExpressions": [
                    {"key": "zone", "operator": "Gt", "values": ["1"]}]}}],
            }),
            _ => return None,
        })
    }

    #[test]
    fn every_field_is_in_a_class_and_every_class_names_a_field() {
        let known: Vec<String> = classed_fields().into_iter().map(|(path, _)| path).collect();
        let refused = refused();
        let all = HONOURED.iter().chain(IRRELEVANT).copied().chain(refused.iter().map(String::as_str));
        let unknown: Vec<&str> = all.filter(|path| !known.iter().any(|known| known == path)).collect();
        assert_eq!(unknown, Vec::<&str>::new(), "classed, and no field of a Pod");
    }

    #[test]
    fn a_field_that_is_not_in_the_tables_is_found() {
        let (mut types, mut unclassed) = (types(), Vec::new());
        types.get_mut("Container").unwrap().push(("gravity", "string"));
        walk("", "Pod", &types, &mut unclassed, &mut Vec::new());
        assert_eq!(unclassed, ["spec.containers[].gravity", "spec.initContainers[].gravity"]);

        let (mut types, mut unclassed) = (self::types(), Vec::new());
        types.get_mut("NodeSelectorTerm").unwrap().push(("matchPlanets", "[]string"));
        types.get_mut("PodResourceClaim").unwrap().retain(|(name, _)| *name != "name");
        walk("", "Pod", &types, &mut unclassed, &mut Vec::new());
        let affinity = "spec.affinity.nodeAffinity";
        let expected = [
            format!("{affinity}.preferredDuringSchedulingIgnoredDuringExecution.preference.matchPlanets"),
            format!("{affinity}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.matchPlanets"),
            "spec.resourceClaims.name, which is no field".to_owned(),
        ];
        assert_eq!(unclassed, expected, "also within what is honoured");
    }

    /// What must be there besides, for an honoured field to be at work.
    fn beside(path: &str) -> Option<(&'static str, Value)> {
        Some(match path {
            "spec.hostUsers" => ("spec.hostNetwork", json!(true)),
            "spec.volumes[].name" => ("spec.volumes[].ephemeral", json!({})),
            "spec.initContainers[].ports" => ("spec.initContainers[].restartPolicy", json!("Always")),
            _ => return None,
        })
    }

    #[test]
    fn honoured_fields_change_the_model() {
        for (path, sample) in classed_fields().into_iter().filter(|(path, _)| HONOURED.contains(&path.as_str())) {
            let mut without = base();
            if let Some((other, value)) = beside(&path) {
                put(&mut without, other, value);
            }
            let mut with = without.clone();
            put(&mut with, &path, telling(&path).unwrap_or(sample));
            let changed = converted(with);
            assert_eq!(changed.refusals, [], "{path}");
            assert_ne!(changed, converted(without), "{path} leaves no trace");
        }
    }

    #[test]
    fn node_affinity_arrives_whole() {
        let affinity = with("spec.affinity.nodeAffinity", telling("spec.affinity.nodeAffinity").unwrap()).affinity;
        assert_eq!(affinity.required.unwrap()[0].match_fields[0].values, ["n"]);
        assert_eq!((affinity.preferred[0].0, affinity.preferred[0].1.match_expressions[0].key.as_str()), (3, "zone"));
    }

    #[test]
    fn irrelevant_fields_change_nothing() {
        let plain = converted(base());
        for (path, sample) in classed_fields().into_iter().filter(|(path, _)| IRRELEVANT.contains(&path.as_str())) {
            assert_eq!(with(&path, sample), plain, "{path}");
        }
    }

    #[test]
    fn refused_fields_are_named() {
        let refused = refused();
        for (path, sample) in classed_fields().into_iter().filter(|(path, _)| refused.contains(path)) {
            let fields: Vec<String> = with(&path, sample).refusals.into_iter().map(|refusal| refusal.field).collect();
            // The reported path counts the elements.
            assert_eq!(fields, [path.replace("[]", "[0]")], "{path}");
        }
    }

    #[test]
    fn what_is_set_and_empty_or_the_default_is_not_refused() {
        let check = |path: &str, value: Value| assert_eq!(with(path, value).refusals, [], "{path}");
        check("spec.affinity.podAffinity", json!({}));
        check("spec.affinity.podAntiAffinity", json!({"requiredDuringSchedulingIgnoredDuringExecution": []}));
        check("spec.topologySpreadConstraints", json!([]));
    }
}
