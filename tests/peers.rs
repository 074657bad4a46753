//! Third-party senders and receivers agree with ours.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{FakeFluentd, LogDir, Receiver, Told, npm_fluent_server, peers};

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
