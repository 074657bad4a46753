//! The real image and the real manifests, run by podman: one container engine, one machine, no
//! registry.
//!
//! Two things are not as in a cluster. The base image of the Dockerfile's build stage cannot be
//! had without a registry, so the folder which that stage makes is made here, by the same script.
//! And what kubelet would put into a container, the name of the aggregator in the Pod's DNS and
//! the service account's files, is mounted by podman.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::time::Duration;

use serde_json::{Value as Json, json};
use support::podman::{Played, Podman};
use support::yaml::{document_of, documents_of};

const POD: &str = "k8s/pod.yaml";
const NATIVE_SIDECAR: &str = "k8s/native-sidecar.yaml";

/// With a tenth of a core, a `Flush` of 5 s and a receiver that comes late.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn the_reference_pod_delivers_every_line_once_its_image_is_ours() {
    let podman = Podman::with_images_of(POD);
    let pod = podman.play(&documents_of(POD));
    let fluentd = pod.start_fluentd();
    fluentd.wait_for_records(20, SOON);

    assert_eq!(pod.status_of_agent("Uid"), "65532\t65532\t65532\t65532");
    assert_eq!(pod.status_of_agent("CapEff"), "0000000000000000");
    assert_eq!(pod.memory_limit_of_agent(), 128 << 20);
    let mounts = pod.mounts_of_agent();
    for path in ["/var/log/app", "/fluent-bit/etc"] {
        assert!(mounts.iter().any(|mount| mount.is(path) && mount.read_only), "{mounts:#?}");
    }

    stops_with_everything_delivered(&pod, "default");
}

#[test]
fn the_native_sidecar_needs_no_writable_path_and_no_capability() {
    let podman = Podman::with_images_of(POD);
    let pod = podman.play(&[as_podman_takes_it(NATIVE_SIDECAR), document_of(POD, "ConfigMap")]);
    let fluentd = pod.start_fluentd();
    fluentd.wait_for_records(5, SOON);

    assert_eq!(pod.status_of_agent("Uid"), "65532\t65532\t65532\t65532");
    assert_eq!(pod.status_of_agent("CapBnd"), "0000000000000000");
    assert_eq!(pod.status_of_agent("NoNewPrivs"), "1");
    assert_eq!(pod.status_of_agent("Seccomp"), "2");
    let mounts = pod.mounts_of_agent();
    assert!(mounts.iter().any(|mount| mount.is("/") && mount.read_only), "{mounts:#?}");
    let writable = pod.writable_paths_of_agent();
    assert!(writable.is_empty(), "uid 65532 could write to {writable:?}");

    stops_with_everything_delivered(&pod, "default");
}

/// Stops the Pod as kubelet does; the application's last line is written after the signal.
fn stops_with_everything_delivered(pod: &Played<'_>, namespace: &str) {
    pod.stop(Duration::from_secs(30));
    let log = pod.log_of_agent();
    assert_eq!(pod.exit_status_of_agent(), 0, "{log}");

    let fluentd = pod.fluentd();
    let events = fluentd.events();
    assert_eq!(fluentd.take_faults(), Vec::<String>::new());
    for (number, event) in (1_u64..).zip(&events) {
        assert_eq!(event.tag, "app.logs");
        assert_eq!(event.seconds, 1_795_507_200, "2026-11-24T08:00:00Z");
        assert_eq!(u64::from(event.nanos), number % 1000 * 1_000_000);
        let message = if number == events.len() as u64 { "last words" } else { "working" };
        let expected = json!({
            "level": "info",
            "n": number,
            "message": message,
            "hostname": "myapp-with-logging",
            "namespace": namespace,
        });
        assert_eq!(event.record, expected, "{log}");
    }
    let written = fs::read_to_string(pod.volume("app-logs").join("application.log")).unwrap();
    assert_eq!(events.len(), written.lines().count());
}

/// The Pod without what podman 4 has not: an init container that keeps running is started as one
/// of the containers, and a field that is read from the metadata is its value.
fn as_podman_takes_it(manifest: &str) -> Json {
    let mut pod = document_of(manifest, "Pod");
    let namespace = pod["metadata"]["namespace"].clone();
    let spec = pod["spec"].as_object_mut().unwrap();
    let Some(Json::Array(mut sidecars)) = spec.remove("initContainers") else {
        panic!("{manifest} has no init container");
    };
    for sidecar in &mut sidecars {
        sidecar.as_object_mut().unwrap().remove("restartPolicy");
        assert_eq!(sidecar["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.namespace");
        sidecar["env"] = json!([{"name": sidecar["env"][0]["name"], "value": namespace}]);
    }
    spec["containers"].as_array_mut().unwrap().extend(sidecars);
    pod
}
