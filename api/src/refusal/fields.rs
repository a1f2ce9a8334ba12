//! The fields of the PodSpec that are honoured and those that play no part in placing. A path stands for all that is below it; `[]` for every
//! element of a list. What is refused stands in the rules beside this file.

/// Honoured: the field is in the model, and filters, scores or the queue read it.
pub const HONOURED: &[&str] = &[
    "affinity.nodeAffinity",
    "affinity.podAffinity",
    "affinity.podAntiAffinity",
    "containers[].image",
    // Those on the host; `hostNetwork` puts all of them there.
    "containers[].ports",
    "containers[].resources.requests",
    // RestartAllContainers needs a feature of the node, and so do the next two.
    "containers[].restartPolicyRules",
    "containers[].volumeMounts[].bindMountOptions",
    // false, together with hostNetwork.
    "hostUsers",
    "initContainers[].image",
    // A sidecar's.
    "initContainers[].ports",
    "initContainers[].resources.requests",
    // "Always" makes a sidecar, which counts for as long as the pod runs.
    "initContainers[].restartPolicy",
    "initContainers[].restartPolicyRules",
    "initContainers[].volumeMounts[].bindMountOptions",
    "nodeName",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    // Orders the queue, and says whom the pod may preempt.
    "priority",
    "resources.requests",
    "schedulerName",
    "schedulingGates",
    "tolerations[].effect",
    "tolerations[].key",
    "tolerations[].operator",
    "tolerations[].value",
    "topologySpreadConstraints",
    "volumes[].image",
];

/// Irrelevant: kube-scheduler filters by none of them either. Where admission turns one into another field, that field counts.
pub const IRRELEVANT: &[&str] = &[
    "activeDeadlineSeconds",
    "automountServiceAccountToken",
    "containers[].args",
    "containers[].command",
    "containers[].env",
    "containers[].envFrom",
    "containers[].imagePullPolicy",
    "containers[].lifecycle",
    "containers[].livenessProbe",
    "containers[].name",
    "containers[].readinessProbe",
    "containers[].resizePolicy",
    // Names entries of resourceClaims, which is refused.
    "containers[].resources.claims",
    // The API server makes a missing request of it.
    "containers[].resources.limits",
    "containers[].restartPolicy",
    "containers[].securityContext",
    "containers[].startupProbe",
    "containers[].stdin",
    "containers[].stdinOnce",
    "containers[].terminationMessagePath",
    "containers[].terminationMessagePolicy",
    "containers[].tty",
    "containers[].volumeDevices",
    "containers[].volumeMounts[].mountPath",
    "containers[].volumeMounts[].mountPropagation",
    "containers[].volumeMounts[].name",
    "containers[].volumeMounts[].readOnly",
    "containers[].volumeMounts[].recursiveReadOnly",
    "containers[].volumeMounts[].subPath",
    "containers[].volumeMounts[].subPathExpr",
    "containers[].workingDir",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    // May not request anything.
    "ephemeralContainers",
    "evictionResponders",
    "hostAliases",
    "hostIPC",
    // Alone; what it makes of ports and of hostUsers counts there.
    "hostNetwork",
    "hostPID",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers[].args",
    "initContainers[].command",
    "initContainers[].env",
    "initContainers[].envFrom",
    "initContainers[].imagePullPolicy",
    "initContainers[].lifecycle",
    "initContainers[].livenessProbe",
    "initContainers[].name",
    "initContainers[].readinessProbe",
    "initContainers[].resizePolicy",
    "initContainers[].resources.claims",
    "initContainers[].resources.limits",
    "initContainers[].securityContext",
    "initContainers[].startupProbe",
    "initContainers[].stdin",
    "initContainers[].stdinOnce",
    "initContainers[].terminationMessagePath",
    "initContainers[].terminationMessagePolicy",
    "initContainers[].tty",
    "initContainers[].volumeDevices",
    "initContainers[].volumeMounts[].mountPath",
    "initContainers[].volumeMounts[].mountPropagation",
    "initContainers[].volumeMounts[].name",
    "initContainers[].volumeMounts[].readOnly",
    "initContainers[].volumeMounts[].recursiveReadOnly",
    "initContainers[].volumeMounts[].subPath",
    "initContainers[].volumeMounts[].subPathExpr",
    "initContainers[].workingDir",
    // Admission makes priority of it.
    "priorityClassName",
    "readinessGates",
    "resources.claims",
    "resources.limits",
    "restartPolicy",
    // Admission makes overhead, nodeSelector and tolerations of it.
    "runtimeClassName",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    // Says how long a pod stays after a taint appears.
    "tolerations[].tolerationSeconds",
    "volumes[].cephfs",
    "volumes[].configMap",
    "volumes[].downwardAPI",
    "volumes[].emptyDir",
    "volumes[].gitRepo",
    "volumes[].glusterfs",
    "volumes[].hostPath",
    "volumes[].name",
    "volumes[].nfs",
    "volumes[].projected",
    "volumes[].quobyte",
    "volumes[].secret",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert;
    use crate::refusal::{POD_RULES, VOLUME_RULES};
    use k8s_openapi::api::core::v1;
    use placement::cluster::Pod;
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    fn schema() -> Value {
        let generator = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true).into_generator();
        generator.into_root_schema_for::<v1::PodSpec>().to_value()
    }

    fn refused() -> Vec<String> {
        let volumes = VOLUME_RULES.iter().map(|(field, ..)| format!("volumes[].{field}"));
        POD_RULES.iter().map(|(field, ..)| field.to_string()).chain(volumes).collect()
    }

    fn classes_of(path: &str) -> usize {
        let refused = refused();
        HONOURED.iter().chain(IRRELEVANT).copied().chain(refused.iter().map(String::as_str)).filter(|classed| *classed == path).count()
    }

    /// Every path from the root on which no class stands at or above, and the schema of each classed path.
    fn walk(path: &str, schema: &Value, unclassed: &mut Vec<String>, classed: &mut Vec<(String, Value)>) {
        match classes_of(path) {
            1 => return classed.push((path.to_owned(), schema.clone())),
            0 => {}
            n => panic!("{path} stands in {n} classes"),
        }
        if let Some(items) = schema.get("items") {
            return walk(&format!("{path}[]"), items, unclassed, classed);
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return unclassed.push(path.to_owned());
        };
        for (name, property) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(&path, property, unclassed, classed);
        }
    }

    fn classed_fields() -> Vec<(String, Value)> {
        let (mut unclassed, mut classed) = (Vec::new(), Vec::new());
        walk("", &schema(), &mut unclassed, &mut classed);
        assert_eq!(unclassed, Vec::<String>::new(), "fields of the PodSpec in no class");
        classed
    }

    /// Some value that the schema allows, with every property set.
    fn sample(schema: &Value) -> Value {
        if let Some(items) = schema.get("items") {
            return json!([sample(items)]);
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            return properties.iter().map(|(name, property)| (name.clone(), sample(property))).collect();
        }
        if let Some(values) = schema.get("additionalProperties") {
            return json!({"cpu": sample(values)});
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("integer") => json!(7),
            Some("boolean") => json!(true),
            _ if schema.get("format").is_some_and(|format| format == "date-time") => json!("2026-01-02T03:04:05Z"),
            _ => json!("7"),
        }
    }

    fn base() -> Value {
        json!({
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "100m"}}}],
            "tolerations": [{"operator": "Exists"}],
        })
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

    fn pod(spec: Value) -> Pod {
        convert::pod(&serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap())
    }

    fn with(path: &str, value: Value) -> Pod {
        let mut spec = base();
        put(&mut spec, path, value);
        pod(spec)
    }

    /// Values that show an honoured field at work, where a sample of the schema would not.
    fn telling(path: &str) -> Option<Value> {
        Some(match path {
            "initContainers[].resources.requests" => json!({"cpu": "2"}),
            "initContainers[].restartPolicy" => json!("Always"),
            "containers[].restartPolicyRules" | "initContainers[].restartPolicyRules" => json!([{"action": "RestartAllContainers"}]),
            "hostUsers" => json!(false),
            "containers[].ports" | "initContainers[].ports" => json!([{"containerPort": 80, "hostPort": 8080}]),
            "preemptionPolicy" => json!("Never"),
            "tolerations[].operator" => json!("Equal"),
            "tolerations[].effect" => json!("NoExecute"),
            "affinity.podAffinity" | "affinity.podAntiAffinity" => json!({
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "a"}}}],
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 3, "podAffinityTerm": {
                    "topologyKey": "zone", "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}}],
            }),
            "topologySpreadConstraints" => json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": "a"}}}]),
            "affinity.nodeAffinity" => json!({
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
        assert_eq!(unknown, Vec::<&str>::new(), "classed, and no field of the PodSpec");
    }

    #[test]
    fn a_field_that_is_not_in_the_tables_is_found() {
        let mut schema = schema();
        schema["properties"]["containers"]["items"]["properties"]["gravity"] = json!({"type": "string"});
        let mut unclassed = Vec::new();
        walk("", &schema, &mut unclassed, &mut Vec::new());
        assert_eq!(unclassed, ["containers[].gravity"]);
    }

    /// What must be there besides, for an honoured field to be at work.
    fn beside(path: &str) -> Option<(&'static str, Value)> {
        Some(match path {
            "hostUsers" => ("hostNetwork", json!(true)),
            "initContainers[].ports" => ("initContainers[].restartPolicy", json!("Always")),
            _ => return None,
        })
    }

    #[test]
    fn honoured_fields_change_the_model() {
        for (path, schema) in classed_fields().into_iter().filter(|(path, _)| HONOURED.contains(&path.as_str())) {
            let mut without = base();
            if let Some((other, value)) = beside(&path) {
                put(&mut without, other, value);
            }
            let mut spec = without.clone();
            put(&mut spec, &path, telling(&path).unwrap_or_else(|| sample(&schema)));
            let changed = pod(spec);
            assert_eq!(changed.refusals, [], "{path}");
            assert_ne!(changed, pod(without), "{path} leaves no trace");
        }
    }

    #[test]
    fn node_affinity_arrives_whole() {
        let affinity = with("affinity.nodeAffinity", telling("affinity.nodeAffinity").unwrap()).affinity;
        assert_eq!(affinity.required.unwrap()[0].match_fields[0].values, ["n"]);
        assert_eq!((affinity.preferred[0].0, affinity.preferred[0].1.match_expressions[0].key.as_str()), (3, "zone"));
    }

    #[test]
    fn irrelevant_fields_change_nothing() {
        let plain = pod(base());
        for (path, schema) in classed_fields().into_iter().filter(|(path, _)| IRRELEVANT.contains(&path.as_str())) {
            assert_eq!(with(&path, sample(&schema)), plain, "{path}");
        }
    }

    #[test]
    fn refused_fields_are_named() {
        let refused = refused();
        for (path, schema) in classed_fields().into_iter().filter(|(path, _)| refused.contains(path)) {
            let mut spec = base();
            put(&mut spec, &path, sample(&schema));
            let fields: Vec<String> = pod(spec).refusals.into_iter().map(|refusal| refusal.field).collect();
            // The reported path counts the elements; inside a container the field keeps its own brackets.
            let (list, rest) = path.split_once("[].").unwrap_or(("", ""));
            let expected = if list.is_empty() { format!("spec.{path}") } else { format!("spec.{list}[0].{rest}") };
            assert_eq!(fields, [expected], "{path}");
        }
    }

    #[test]
    fn what_is_set_and_empty_or_the_default_is_not_refused() {
        let check = |path: &str, value: Value| assert_eq!(with(path, value).refusals, [], "{path}");
        check("affinity.podAffinity", json!({}));
        check("affinity.podAntiAffinity", json!({"requiredDuringSchedulingIgnoredDuringExecution": []}));
        check("topologySpreadConstraints", json!([]));
        check("resourceClaims", json!([]));
        check("os", json!({"name": "linux"}));
    }
}
