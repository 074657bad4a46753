//! What the agent says of itself over HTTP: to probes, to scrapers, and to whoever should not ask.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::{FakeFluentd, LogDir, ReservedPort, SOON, TestAgent, Told, wait_until};

/// An agent with the server on, and its port.
struct Served {
    agent: TestAgent,
    port: ReservedPort,
}

impl Served {
    fn start(told: Told) -> Self {
        let port = ReservedPort::new(0);
        let agent = with_server(told, &port).start();
        agent.wait_for_log("[http_server] listening");
        Self { agent, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.port.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn request(&self, method: &str, path: &str) -> Response {
        let mut stream = self.connect();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Response {
        self.request("GET", path)
    }

    fn metrics(&self) -> Metrics {
        let response = self.get("/metrics");
        assert_eq!(response.status, 200);
        Metrics(response.body)
    }
}

fn with_server(told: Told, port: &ReservedPort) -> Told {
    let told = told.service("HTTP_Server On").service("HTTP_Listen 127.0.0.1");
    told.service(&format!("HTTP_Port {}", port.address().port()))
}

struct Response {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

struct Metrics(String);

impl Metrics {
    /// The value of a sample, by its name and labels as they are written.
    fn of(&self, sample: &str) -> i64 {
        let value = self.0.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in\n{}", self.0)).parse().unwrap()
    }

    fn ours(&self, name: &str) -> i64 {
        self.of(&format!("log_ambassador_{name}"))
    }

    fn lost(&self) -> i64 {
        let reasons = ["truncated", "long_line", "retry_limit", "held"];
        reasons
            .map(|reason| self.ours(&format!("lost_bytes_total{{reason=\"{reason}\"}}")))
            .iter()
            .sum()
    }

    /// Every byte of every file is in one of the accounts.
    fn assert_balanced(&self) {
        let came = self.ours("bytes_written_total") + self.ours("bytes_sent_again_total");
        let went = self.ours("bytes_acknowledged_total")
            + self.ours("bytes_filtered_total")
            + self.ours("bytes_of_holes_total")
            + self.lost();
        let held = self.ours("held_unread_bytes") + self.ours("held_in_memory_bytes");
        assert_eq!(came, went + held, "{}", self.0);
        assert_eq!(self.ours("unaccounted_bytes"), 0);
    }
}

/// Lines of about 400 bytes.
fn long_lines(numbers: std::ops::Range<u64>) -> String {
    let filler = "x".repeat(380);
    numbers.map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")).collect()
}

#[test]
fn a_probe_on_the_health_path_of_fluent_bit_is_answered_as_there() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let served = Served::start(Told::to_follow(&logs, &fluentd).service("Health_Check On"));
    for path in ["/api/v1/health", "/api/v1/health?from=kubelet"] {
        let health = served.get(path);
        assert_eq!((health.status, health.body.as_str()), (200, "ok\n"), "{path}");
        assert!(!health.head.contains("content-type"), "{}", health.head);
    }
    let detail = served.get("/api/v2/health");
    assert_eq!(
        detail.body,
        r#"{"status":"ok","errors":0,"retries_failed":0,"error_limit":5,"retry_failure_limit":5,"period_limit":60}"#
    );
    assert!(detail.head.contains("content-type: application/json"), "{}", detail.head);
    for path in ["/api/v1/health/", "/api/v1/storage", "/api/v2/reload"] {
        let nothing = served.get(path);
        assert_eq!((nothing.status, nothing.body.as_str()), (404, ""), "{path}");
    }
    assert_eq!(served.request("POST", "/api/v1/health").status, 405);
    assert_eq!(served.request("HEAD", "/api/v1/health").body, "");
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn without_health_check_there_is_no_such_path_and_without_http_server_no_server() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let served = Served::start(Told::to_follow(&logs, &fluentd));
    assert_eq!(served.get("/api/v1/health").status, 404);
    assert_eq!(served.agent.stop(), 0);

    let told = with_server(Told::to_follow(&logs, &fluentd), &served.port);
    let agent = told.service("HTTP_Server Off").start();
    agent.wait_for_log("connected");
    assert!(TcpStream::connect(served.port.address()).is_err());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn chunks_that_are_given_up_are_unhealthy_until_the_period_is_over() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    let told = Told::to_follow(&logs, &fluentd).output("Retry_Limit no_retries");
    let told = told.service("Health_Check On").service("HC_Retry_Failure_Count 0");
    let served = Served::start(told.service("HC_Period 3"));
    assert_eq!(served.get("/api/v1/health").status, 200, "a receiver that is away is no reason");
    logs.append_sequence("app.log", 0..10);
    wait_until("it is unhealthy", || served.get("/api/v1/health").status == 500);
    assert_eq!(served.get("/api/v1/health").body, "error\n");
    wait_until("it is healthy again", || served.get("/api/v1/health").status == 200);
    let metrics = served.metrics();
    assert_eq!(metrics.of("fluentbit_output_retries_failed_total{name=\"forward.0\"}"), 1);
    assert_eq!(metrics.of("fluentbit_output_dropped_records_total{name=\"forward.0\"}"), 10);
    assert!(metrics.ours("lost_bytes_total{reason=\"retry_limit\"}") > 0);
    metrics.assert_balanced();
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn while_the_receiver_is_away_the_metrics_show_what_is_held_and_where() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 50k").input("Rotate_Wait 1");
    let served = Served::start(told);
    let lines = long_lines(0..1000);
    logs.append("app.log", &lines);
    let size = i64::try_from(lines.len()).unwrap();
    let file = logs.file("app.log");
    wait_until("the file is open", || served.agent.open_files().contains(&file));
    logs.remove("app.log");
    wait_until("the deleted file shows", || served.metrics().ours("held_deleted_bytes") == size);
    let paused = "fluentbit_input_ingestion_paused{name=\"tail.0\"}";
    wait_until("the pause shows", || served.metrics().of(paused) == 1);
    let metrics = served.metrics();
    assert!(metrics.ours("held_unread_bytes") > size - 50_000);
    assert!(metrics.ours("held_in_memory_bytes") > 0);
    assert_eq!((metrics.ours("followed_files"), metrics.ours("open_files")), (1, 1));
    assert_eq!(metrics.ours("bytes_acknowledged_total"), 0);
    assert!(metrics.ours("memory_bytes{name=\"tail.0\"}") > 0);
    assert_eq!(metrics.ours("memory_limit_bytes{name=\"tail.0\"}"), 50_000);
    metrics.assert_balanced();

    fluentd.restart();
    wait_until("nothing is held any more", || {
        let metrics = served.metrics();
        metrics.assert_balanced();
        metrics.ours("held_deleted_bytes") == 0 && metrics.ours("held_in_memory_bytes") == 0
    });
    let metrics = served.metrics();
    assert_eq!(metrics.ours("bytes_acknowledged_total"), size);
    assert_eq!(metrics.of(paused), 0);
    for name in
        ["input_records_total{name=\"tail.0\"}", "output_proc_records_total{name=\"forward.0\"}"]
    {
        assert_eq!(metrics.of(&format!("fluentbit_{name}")), 1000);
    }
    assert_eq!(metrics.of("fluentbit_input_bytes_total{name=\"tail.0\"}"), size);
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn every_byte_is_accounted_for_at_any_moment_while_files_grow_rotate_and_are_truncated() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k");
    let served = Served::start(told.input("Buffer_Max_Size 33k").input("Rotate_Wait 1"));
    let is_done = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..60 {
                logs.append("app.log", long_lines(round * 500..round * 500 + 500));
                // Above the limit; an empty line; one that is not complete.
                logs.append("app.log", format!("{}\n\n{{\"partial\":", "y".repeat(50_000)));
                match round % 3 {
                    0 => logs.rename("app.log", &format!("app.log.{round}")),
                    1 => logs.copy_and_truncate("app.log", &format!("app.copy.{round}")),
                    _ => logs.append("app.log", "true}\n"),
                }
            }
            is_done.store(true, Ordering::SeqCst);
        });
        let mut answers = 0;
        while !is_done.load(Ordering::SeqCst) {
            served.metrics().assert_balanced();
            answers += 1;
        }
        answers
    });
    assert!(answers > 10, "{answers}");
    wait_until("all of it is delivered", || {
        let metrics = served.metrics();
        metrics.assert_balanced();
        metrics.ours("held_in_memory_bytes") + metrics.ours("held_unread_bytes") == 0
    });
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn clients_that_never_finish_their_request_do_not_stop_others() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let served = Served::start(Told::to_follow(&logs, &fluentd).service("Health_Check On"));
    let slow: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET /api/v1/health HT").unwrap();
            stream
        })
        .collect();
    assert_eq!(served.get("/api/v1/health").status, 200);
    let agent_has = || {
        let files = served.agent.open_files();
        files.iter().filter(|file| file.to_string_lossy().starts_with("socket:")).count()
    };
    assert!(agent_has() < 50, "{} sockets", agent_has());
    // And those that were let in end as well, though nobody pushes them out.
    let mut end = Vec::new();
    slow.last().unwrap().read_to_end(&mut end).ok();
    assert_eq!(served.get("/api/v1/health").status, 200);
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn a_request_that_is_none_ends_its_connection_and_nothing_else() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let served = Served::start(Told::to_follow(&logs, &fluentd));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
    for bytes in [b"\x16\x03\x01\x02\x00\x01".as_slice(), b"\0\0\r\n\r\n", endless.as_bytes()] {
        let mut stream = served.connect();
        // It may hang up in the middle.
        stream.write_all(bytes).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        stream.read_to_end(&mut Vec::new()).ok();
    }
    assert_eq!(served.get("/api/v1/uptime").status, 200);
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn the_other_paths_have_the_shapes_that_fluent_bit_gives_them() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let served = Served::start(Told::to_follow(&logs, &fluentd));
    logs.append_sequence("app.log", 0..10);
    fluentd.wait_for_records(10, SOON);
    let json =
        |path: &str| -> serde_json::Value { serde_json::from_str(&served.get(path).body).unwrap() };
    assert_eq!(json("/")["log-ambassador"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(json("/")["fluent-bit"]["version"].is_string());
    assert!(json("/api/v1/uptime")["uptime_sec"].is_u64());
    wait_until("they are acknowledged", || {
        json("/api/v1/metrics")["output"]["forward.0"]["proc_records"] == 10
    });
    assert_eq!(json("/api/v1/metrics")["input"]["tail.0"]["records"], 10);
    for path in ["/api/v1/metrics/prometheus", "/api/v2/metrics/prometheus"] {
        let metrics = served.get(path);
        assert!(
            metrics.head.contains("content-type: text/plain; version=0.0.4"),
            "{}",
            metrics.head
        );
        assert_eq!(Metrics(metrics.body).ours("lines_total"), 10);
    }
    assert_eq!(served.agent.stop(), 0);
}

#[test]
fn a_port_that_is_taken_stops_the_start_and_names_the_key() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let port = ReservedPort::new(0);
    let _taken = port.listen();
    let agent = with_server(Told::to_follow(&logs, &fluentd), &port).start();
    agent.wait_for_log("[SERVICE]: HTTP_Port: cannot listen on 127.0.0.1:");
    agent.wait_for_log("write another HTTP_Port");
    assert_eq!(agent.status(SOON), 1);
}

#[test]
fn failures_of_connections_are_counted_by_reason() {
    for (fluentd, reason) in [
        (FakeFluentd::start().never_acknowledges(), "ack"),
        (FakeFluentd::start().acknowledges_another_chunk(), "answer"),
        (FakeFluentd::start().greets_with_helo(), "answer"),
        (FakeFluentd::start().hangs_up_instead_of_acks(1), "closed"),
        (FakeFluentd::start().resets_in_mid_frame(1), "broken"),
        (FakeFluentd::start().demands_key("other"), "handshake"),
        (FakeFluentd::start(), "connect"),
        (FakeFluentd::start(), "resolve"),
    ] {
        let logs = LogDir::new();
        logs.append_sequence("app.log", 0..10);
        let mut told = Told::to_follow(&logs, &fluentd).output("net.io_timeout 1");
        told = match reason {
            "handshake" => told.output("Shared_Key k3y"),
            "resolve" => told.host("no-such-host.invalid"),
            "connect" => {
                fluentd.stop();
                told
            }
            _ => told,
        };
        let served = Served::start(told);
        let sample = format!("connection_failures_total{{reason=\"{reason}\"}}");
        wait_until(&sample, || served.metrics().ours(&sample) > 0);
        served.agent.kill();
    }
}
