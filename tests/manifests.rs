//! The Pods, the image and the configuration say the same.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;

use serde_json::{Value as Json, json};
use support::tools::python_tool;
use support::yaml::{document_of, named, repository, text_of};

const REFERENCE: &str = "fixtures/k8s/reference-pod.yaml";
const POD: &str = "k8s/pod.yaml";
const NATIVE_SIDECAR: &str = "k8s/native-sidecar.yaml";
const FORWARD_INPUT: &str = "k8s/forward-input.yaml";
const AGGREGATOR: &str = "k8s/aggregator.yaml";

/// The first version that runs native sidecars unless told not to, and the newest we know of.
const KUBERNETES: [&str; 2] = ["1.29", "1.37"];

#[test]
fn every_manifest_is_valid_for_kubernetes() {
    let mut manifests: Vec<String> = fs::read_dir(repository("k8s"))
        .unwrap()
        .map(|entry| format!("k8s/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    manifests.sort();
    assert!(manifests.len() >= 3, "{manifests:?}");
    for version in KUBERNETES {
        let mut arguments = vec!["--strict", "-k", version];
        arguments.extend(manifests.iter().map(String::as_str));
        python_tool("kubernetes-validate", &arguments);
    }
}

#[test]
fn the_pod_is_the_reference_pod_with_the_image_and_name_of_its_second_container_changed() {
    let mut expected = document_of(REFERENCE, "Pod");
    let pod = document_of(POD, "Pod");
    let ours = named(&pod["spec"]["containers"], "log-ambassador");
    let second = &mut expected["spec"]["containers"][1];
    assert_eq!(second["image"], "fluent/fluent-bit:2.2");
    assert_eq!(ours["image"], our_image());
    second["name"] = ours["name"].clone();
    second["image"] = ours["image"].clone();
    assert_eq!(pod, expected);
    assert_eq!(document_of(POD, "ConfigMap"), document_of(REFERENCE, "ConfigMap"));
}

#[test]
fn the_config_map_is_the_reference_configuration_byte_for_byte() {
    let data = document_of(POD, "ConfigMap")["data"].clone();
    let expected = json!({
        "fluent-bit.conf": text_of("config/fluent-bit.conf"),
        "parsers.conf": text_of("config/parsers.conf"),
    });
    assert_eq!(data, expected);
}

#[test]
fn the_image_without_a_mounted_configuration_runs_the_reference_configuration() {
    let own = text_of("config/image.conf");
    let without_comments = own.lines().filter(|line| !line.starts_with('#'));
    let expected = text_of("config/fluent-bit.conf").replace(
        "Parsers_File  parsers.conf",
        "Parsers_File  /etc/log-ambassador/config/parsers.conf",
    );
    assert!(without_comments.eq(expected.lines()), "{own}");
}

#[test]
fn the_native_sidecar_is_the_pods_second_container_hardened_and_moved() {
    let pod = document_of(POD, "Pod");
    let native = document_of(NATIVE_SIDECAR, "Pod");
    let mut expected = named(&pod["spec"]["containers"], "log-ambassador").clone();
    expected["restartPolicy"] = json!("Always");
    expected["env"] = json!([{
        "name": "POD_NAMESPACE",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }]);
    expected["securityContext"] = json!({
        "runAsNonRoot": true,
        "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(native["spec"]["initContainers"], json!([expected]));
    let myapp = named(&pod["spec"]["containers"], "myapp");
    assert_eq!(native["spec"]["containers"], json!([myapp]));
    assert_eq!(native["spec"]["volumes"], pod["spec"]["volumes"]);
    let seccomp = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(native["spec"]["securityContext"], seccomp);
}

#[test]
fn the_pod_of_clients_is_the_native_sidecar_with_a_shared_socket_and_the_example_configuration() {
    let native = document_of(NATIVE_SIDECAR, "Pod");
    let pod = document_of(FORWARD_INPUT, "Pod");
    let config_map = document_of(FORWARD_INPUT, "ConfigMap");
    let example = text_of("config/listen.conf");
    assert_eq!(config_map["data"], json!({"fluent-bit.conf": example}));
    let mut expected = native["spec"]["initContainers"][0].clone();
    let ours = &pod["spec"]["initContainers"][0];
    expected["volumeMounts"] = ours["volumeMounts"].clone();
    assert_eq!(*ours, expected);
    // The socket's folder is where the configuration says, for both.
    let socket = value_of(&example, "Unix_Path");
    let app = named(&pod["spec"]["containers"], "myapp");
    for container in [ours, app] {
        let mount = named(&container["volumeMounts"], "socket");
        let folder = mount["mountPath"].as_str().unwrap();
        assert_eq!(format!("{folder}/forward.sock"), socket);
        assert_ne!(mount["readOnly"], json!(true));
    }
    assert_eq!(named(&app["env"], "FLUENT_SOCKET")["value"], json!(socket));
    assert_eq!(named(&app["env"], "FLUENT_HOST")["value"], json!(value_of(&example, "Listen")));
    assert_eq!(named(&app["env"], "FLUENT_PORT")["value"], json!(value_of(&example, "Port")));
    // It has mode 0660, and nobody here is root.
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], json!(65532));
}

#[test]
fn the_grace_of_the_pod_is_longer_than_ours() {
    let native = document_of(NATIVE_SIDECAR, "Pod");
    let ours = log_ambassador::config::Service::default().grace.unwrap();
    let pods = native["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(pods > ours.as_secs(), "{pods} s, {ours:?}");
}

#[test]
fn the_aggregator_listens_where_the_configuration_sends() {
    let service = document_of(AGGREGATOR, "Service");
    let deployment = document_of(AGGREGATOR, "Deployment");
    let template = &deployment["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let host = format!(
        "{}.{}.svc.cluster.local",
        text(&service["metadata"]["name"]),
        text(&service["metadata"]["namespace"]),
    );
    let port = &service["spec"]["ports"][0];
    let configured = text_of("config/fluent-bit.conf");
    assert_eq!(host, value_of(&configured, "Host"));
    assert_eq!(port["port"].to_string(), value_of(&configured, "Port"));

    assert_eq!(service["spec"]["selector"], template["metadata"]["labels"]);
    let listens = named(&container["ports"], port["targetPort"].as_str().unwrap());
    assert_eq!(listens["containerPort"], port["port"]);
    let fluentd = document_of(AGGREGATOR, "ConfigMap");
    let fluentd = text(&fluentd["data"]["fluent.conf"]);
    assert_eq!(value_of(&fluentd, "port"), port["port"].to_string());
}

#[test]
fn the_dockerfile_labels_the_version_that_is_built() {
    let label = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(text_of("Dockerfile").contains(&label), "no {label}");
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfiles() {
    python_tool("hadolint", &["Dockerfile", "tests/pod/Dockerfile"]);
}

fn our_image() -> String {
    format!("myregistry/log-ambassador:{}", env!("CARGO_PKG_VERSION"))
}

/// The value that follows a key at the start of a line.
fn value_of<'a>(configuration: &'a str, key: &str) -> &'a str {
    let mut words = configuration.lines().map(str::split_whitespace);
    words
        .find_map(|mut words| if words.next() == Some(key) { words.next() } else { None })
        .unwrap_or_else(|| panic!("no {key} in {configuration}"))
}
