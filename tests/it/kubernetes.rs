//! The overlays of k8s/, as kustomize builds them: what Kubernetes' own schemas say, what others' operators want to find, that pods
//! are locked up, and that every metric and label of rules and dashboard is one that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use loudhailer::config::Config;
use serde_json::Value;

use super::peers::peer;

const OVERLAYS: [&str; 2] = ["single", "cluster"];

/// What a foreign kind must have, by its API's version.
const FOREIGN: &[(&str, &str, &[&str])] = &[
    ("postgresql.cnpg.io/v1", "Cluster", &["/spec/instances", "/spec/storage/size", "/spec/bootstrap/initdb/owner"]),
    (
        "kafka.strimzi.io/v1beta2",
        "Kafka",
        &["/spec/kafka/listeners/0/port", "/spec/kafka/listeners/0/type", "/spec/entityOperator/userOperator"],
    ),
    (
        "kafka.strimzi.io/v1beta2",
        "KafkaNodePool",
        &["/spec/replicas", "/spec/roles/0", "/spec/storage/type", "/metadata/labels/strimzi.io~1cluster"],
    ),
    (
        "kafka.strimzi.io/v1beta2",
        "KafkaTopic",
        &["/spec/partitions", "/spec/replicas", "/metadata/labels/strimzi.io~1cluster"],
    ),
    (
        "kafka.strimzi.io/v1beta2",
        "KafkaUser",
        &[
            "/spec/authentication/type",
            "/spec/authorization/acls/0/resource/type",
            "/metadata/labels/strimzi.io~1cluster",
        ],
    ),
    (
        "keda.sh/v1alpha1",
        "ScaledObject",
        &["/spec/scaleTargetRef/name", "/spec/triggers/0/type", "/spec/triggers/0/metadata/lagThreshold"],
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication", &["/spec/secretTargetRef/0/parameter"]),
    ("monitoring.coreos.com/v1", "ServiceMonitor", &["/spec/selector/matchLabels", "/spec/endpoints/0/port"]),
    ("monitoring.coreos.com/v1", "PrometheusRule", &["/spec/groups/0/name", "/spec/groups/0/rules/0/expr"]),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What kustomize makes of an overlay, and what is wrong with each object.
fn built(command: &str, overlay: &str) -> Vec<(Value, Option<String>)> {
    let output = Command::new(command).arg(folder("k8s/overlays").join(overlay)).output().expect("it runs");
    assert!(output.status.success(), "{overlay}: {}", String::from_utf8_lossy(&output.stderr));
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    all.into_iter().map(|one| (one["object"].clone(), one["wrong"].as_str().map(str::to_string))).collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn named<'a>(objects: &'a [(Value, Option<String>)], kind: &str) -> Vec<&'a Value> {
    objects.iter().map(|(object, _)| object).filter(|object| object["kind"] == kind).collect()
}

#[test]
fn what_kustomize_builds_is_what_kubernetes_and_the_operators_take() {
    let Some(command) = peer("manifests") else { return };
    for overlay in OVERLAYS {
        let objects = built(&command, overlay);
        let (mut own, mut foreign) = (0, BTreeSet::new());
        for (object, wrong) in &objects {
            let (version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
            match wrong {
                Some(wrong) => {
                    assert_eq!(wrong, "", "{overlay}: {kind} {}", object["metadata"]["name"]);
                    own += 1;
                }
                None => {
                    let shape = FOREIGN.iter().find(|(v, k, _)| (*v, *k) == (version, kind));
                    let (.., wanted) = shape.unwrap_or_else(|| panic!("{overlay}: nobody knows {version} {kind}"));
                    for pointer in *wanted {
                        assert!(object.pointer(pointer).is_some(), "{overlay}: {kind} has no {pointer}");
                    }
                    foreign.insert(kind);
                }
            }
        }
        let count = if overlay == "single" { (5, 2) } else { (8, FOREIGN.len()) };
        assert!(own >= count.0 && foreign.len() == count.1, "{overlay}: {own} of Kubernetes' own, {foreign:?}");
    }
}

#[test]
fn pods_are_locked_up_and_find_what_they_mount() {
    let Some(command) = peer("manifests") else { return };
    let mut pods = 0;
    for overlay in OVERLAYS {
        let objects = built(&command, overlay);
        let maps: BTreeSet<&str> =
            named(&objects, "ConfigMap").into_iter().map(|map| text(map, "/metadata/name")).collect();
        for (object, _) in &objects {
            let Some(spec) = object.pointer("/spec/template/spec") else { continue };
            pods += 1;
            let kind = text(object, "/kind");
            assert_eq!(spec["automountServiceAccountToken"], false, "{kind}");
            assert_eq!(spec["securityContext"]["runAsNonRoot"], true, "{kind}");
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{kind}");
            let claims = object["spec"]["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
            let volumes: BTreeSet<&str> = spec["volumes"]
                .as_array()
                .expect("volumes")
                .iter()
                .map(|volume| text(volume, "/name"))
                .chain(claims.iter().map(|claim| text(claim, "/metadata/name")))
                .collect();
            for volume in spec["volumes"].as_array().expect("volumes") {
                if let Some(map) = volume.pointer("/configMap/name").and_then(Value::as_str) {
                    assert!(maps.contains(map), "{kind}: there is no ConfigMap {map}");
                }
            }
            let first = spec["initContainers"].as_array().cloned().unwrap_or_default();
            for container in first.iter().chain(spec["containers"].as_array().expect("containers")) {
                let locked = &container["securityContext"];
                assert_eq!(locked["allowPrivilegeEscalation"], false, "{kind}");
                assert_eq!(locked["readOnlyRootFilesystem"], true, "{kind}");
                assert_eq!(locked["capabilities"]["drop"][0], "ALL", "{kind}");
                for mount in container["volumeMounts"].as_array().expect("mounts") {
                    assert!(volumes.contains(text(mount, "/name")), "{kind}: nothing is mounted by {mount}");
                }
                let secret =
                    |variable: &Value| variable["value"].is_string() && text(variable, "/name").contains("PASS");
                assert!(!container["env"].as_array().is_some_and(|all| all.iter().any(secret)), "{kind}");
            }
            if kind != "Job" {
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    assert!(spec["containers"][0][probe]["httpGet"]["path"].is_string(), "{kind} has no {probe}");
                }
                // Attempts on the wire may take 20 s to end.
                assert!(spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds >= 30), "{kind}");
            }
        }
        // Only what listens is asked.
        let service = named(&objects, "Service")[0]["spec"]["selector"].clone();
        for kind in ["StatefulSet", "Deployment", "Job"] {
            for pod in named(&objects, kind) {
                let labels = &pod["spec"]["template"]["metadata"]["labels"];
                let asked = service.as_object().expect("labels").iter().all(|(name, value)| labels[name] == *value);
                assert_eq!(asked, kind != "Job", "{overlay}: {kind}");
            }
        }
        let denied = |policy: &&Value| policy["spec"]["podSelector"]["matchLabels"].is_object();
        assert!(named(&objects, "NetworkPolicy").iter().any(denied), "{overlay}: nothing is denied");
    }
    assert_eq!(pods, 3);
}

#[test]
fn configurations_of_overlays_are_understood() {
    let folder_of_secrets = tempfile::tempdir().expect("a folder");
    let secret = folder_of_secrets.path().join("secret");
    std::fs::write(&secret, "secret\n").expect("written");
    for overlay in OVERLAYS {
        let file = folder("k8s/overlays").join(overlay).join("loudhailer.toml");
        let text = std::fs::read_to_string(&file).expect("read");
        let here = text
            .replace("/etc/postgres-user/password", &secret.display().to_string())
            .replace("/etc/kafka-user/password", &secret.display().to_string());
        let config = Config::from_toml(&here, &file.display().to_string(), std::iter::empty());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.store.url.starts_with("postgres:"), overlay == "cluster");
        assert_eq!(config.kafka.brokers.is_empty(), overlay == "single");
    }
}

/// Names and labels of an expression: `loudhailer_x{a="b"}`, `by (a, b)`.
fn metrics_of(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).map(str::to_string).collect()
    };
    let names = words(expression).into_iter().filter(|word| word.starts_with("loudhailer_")).collect();
    let mut labels = BTreeSet::new();
    for (opens, closes) in [("by (", ')'), ("{", '}')] {
        for part in expression.split(opens).skip(1) {
            let inside = part.split(closes).next().unwrap_or_default();
            labels.extend(inside.split(',').filter_map(|one| words(one).into_iter().next()));
        }
    }
    (names, labels)
}

#[test]
fn every_metric_and_label_that_rules_and_dashboard_name_is_one_that_there_is() {
    let operations = std::fs::read_to_string(folder("docs/OPERATIONS.md")).expect("read");
    // The table of metrics: | `name` | `label label` | what |
    let known: BTreeMap<&str, BTreeSet<&str>> = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `loudhailer_").map(|_| line.split('|').collect::<Vec<_>>()))
        .map(|row| (row[1].trim().trim_matches('`'), row[2].trim().trim_matches('`').split_whitespace().collect()))
        .collect();
    assert!(known.len() > 20, "{known:?}");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder("k8s/monitoring/dashboard.json")).expect("read"))
            .expect("JSON");
    let targets = dashboard["panels"].as_array().expect("panels").iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().expect("targets").iter();
        targets.map(|target| format!("{} {}", text(target, "/expr"), text(target, "/legendFormat")))
    });
    let rules = std::fs::read_to_string(folder("k8s/monitoring/rules.yaml")).expect("read");
    let expressions = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ").map(str::to_string));
    // What Prometheus and Kubernetes add by themselves.
    let theirs = BTreeSet::from(["instance", "job", "persistentvolumeclaim"]);
    let mut count = 0;
    for expression in targets.chain(expressions) {
        let (names, labels) = metrics_of(&expression);
        for name in &names {
            let own = known.get(name.as_str()).unwrap_or_else(|| panic!("there is no {name}: {expression}"));
            let strange = labels.iter().find(|label| !own.contains(label.as_str()) && !theirs.contains(label.as_str()));
            // Two metrics in one expression have their own labels each.
            assert!(strange.is_none() || names.len() > 1, "{name} has no {strange:?}: {expression}");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
    // Each metric of the table is in the program.
    let mut program = String::new();
    for entry in walk(&folder("src")) {
        program.push_str(&std::fs::read_to_string(entry).expect("read"));
    }
    for name in known.keys() {
        assert!(program.contains(&format!("\"{name}\"")), "{name} is nowhere");
    }
    // And each alert says where it is explained.
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/OPERATIONS.md#")) {
        let heading = |heading: &str| heading.trim_start_matches('#').trim().trim_matches('*').to_lowercase() == line;
        assert!(operations.lines().filter(|line| line.starts_with('#')).any(heading), "no heading for {line}");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => files.extend(walk(&entry)),
            false if entry.extension().is_some_and(|kind| kind == "rs") => files.push(entry),
            false => {}
        }
    }
    files
}
