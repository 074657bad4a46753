//! Third-party senders and receivers agree with ours.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{FakeFluentd, LogDir, Receiver, TestCa, Told, npm_fluent_server, peers};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_npm_client_is_understood_and_acknowledged_in_all_its_modes() {
    let receiver = Receiver::start();
    for mode in ["Message", "Forward", "PackedForward", "CompressedPackedForward"] {
        peers::npm_client_sends(receiver.port(), mode, 1000);
        let events = receiver.wait_for_events(1000, SOON);
        assert_eq!(events.len(), 1000, "{mode}");
        for (n, event) in events.iter().enumerate() {
            let expected = json!({
                "tag": format!("npm.{mode}"),
                "time": format!("1970-01-01T00:{:02}:{:02}.{n:09}Z", n / 60, n % 60),
                "record": {"n": n, "text": "naïve 😀"},
            });
            assert_eq!(*event, expected, "{mode}");
        }
        receiver.take_printed();
    }
}

#[test]
fn the_python_logger_is_understood_with_whole_and_with_exact_times() {
    let receiver = Receiver::start();
    peers::python_logger_sends(receiver.port(), 100);
    let mut events = receiver.wait_for_events(100, SOON);
    // Whole and exact times come over a connection each.
    events.sort_by_key(|event| event["record"]["n"].as_u64());
    for (n, event) in events.iter().enumerate() {
        let fraction = if n % 2 == 1 { 500_000_000 } else { 0 };
        let second = 1_700_000_000 + i64::try_from(n).unwrap();
        let time = chrono::DateTime::from_timestamp(second, fraction).unwrap();
        let expected = json!({
            "tag": "pypi.app",
            "time": time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true),
            "record": {"n": n, "text": "naïve 😀"},
        });
        assert_eq!(*event, expected);
    }
}

#[test]
fn the_npm_server_gets_the_same_records_from_the_agent() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let server = npm_fluent_server();
    for number in 0..2000 {
        logs.append(
            "app.log",
            format!(
                "{{\"timestamp\":\"2026-01-02T03:04:05.{number:06}\",\"n\":{number},\
                 \"text\":\"naïve 😀 \\n\",\"nested\":{{\"list\":[1,2.5,null,true]}}}}\n"
            ),
        );
    }
    let to_fake = Told::to_follow(&logs, &fluentd).start();
    let expected = fluentd.wait_for_records(2000, SOON);
    let to_npm = Told::to_follow(&logs, &fluentd).port(server.port()).start();
    assert_eq!(server.wait_for_records(2000, SOON), expected);
    assert_eq!((to_fake.stop(), to_npm.stop()), (0, 0));
}

#[test]
fn the_npm_server_takes_us_with_tls_key_user_and_gzip_and_over_a_unix_socket() {
    let (logs, fluentd, ca) = (LogDir::new(), FakeFluentd::start(), TestCa::new());
    for n in 0..2000 {
        let line = format!("{{\"timestamp\":\"2026-01-02T03:04:05.{n:06}\",\"n\":{n}}}\n");
        logs.append("app.log", line);
    }
    let to_fake = Told::to_follow(&logs, &fluentd).start();
    let expected = fluentd.wait_for_records(2000, SOON);
    assert_eq!(to_fake.stop(), 0);

    ca.write("server", "fluentd.example");
    ca.write("us", "us.example");
    let security = json!({
        "serverHostname": "npm.example", "sharedKey": "clé-鍵", "authorize": true,
        "userDict": {"alice": "pa55"},
    });
    let tls = peers::npm_fluent_server_with(&json!({
        "tlsFiles": {
            "cert": ca.file("server.crt"), "key": ca.file("server.key"), "ca": ca.file("ca.crt"),
        },
        "tlsOptions": {"requestCert": true, "rejectUnauthorized": true},
        "security": security,
    }));
    let path = ca.file("npm.sock");
    let unix = peers::npm_fluent_server_with(&json!({
        "listenOptions": {"path": path}, "security": security,
    }));
    let told = Told::to_follow(&logs, &fluentd)
        .output("Shared_Key clé-鍵")
        .output("Username alice")
        .output("Password pa55")
        .output("Compress gzip");
    let file = |name: &str| ca.file(name).display().to_string();
    let over_tls = told
        .clone()
        .port(tls.port())
        .output("tls on")
        .output("tls.verify_hostname on")
        .output("tls.vhost fluentd.example")
        .output(&format!("tls.ca_file {}", file("ca.crt")))
        .output(&format!("tls.crt_file {}", file("us.crt")))
        .output(&format!("tls.key_file {}", file("us.key")));
    let over_unix = told.output(&format!("Unix_Path {}", path.display()));
    for (told, server) in [(over_tls, tls), (over_unix, unix)] {
        let agent = told.start();
        assert_eq!(server.wait_for_records(2000, SOON), expected);
        assert_eq!(agent.stop(), 0);
    }
}
