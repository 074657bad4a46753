//! Several nodes: whichever of them fails, however it fails, every line arrives, and those of a
//! tag in their order.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use support::{Arrival, FakeFluentd, LogDir, ReservedPort, SOON, TestCa, Told, wait_until};

fn distinct(nodes: &[&FakeFluentd]) -> BTreeSet<u64> {
    let records = |node: &&FakeFluentd| node.events().into_iter();
    let numbers = nodes.iter().flat_map(records);
    numbers.filter_map(|event| event.record["seq"].as_u64()).collect()
}

fn wait_for(count: usize, nodes: &[&FakeFluentd]) {
    wait_until("everything has arrived", || distinct(nodes).len() == count);
}

fn told(logs: &LogDir, nodes: &[&FakeFluentd]) -> Told {
    let told = Told::to_follow(logs, nodes[0]);
    nodes.iter().fold(told, |told, node| told.node(node.port(), &[]))
}

/// With `keeps_only_sequence`: what arrived anywhere, by tag, in the order of its first arrival.
fn first_arrivals(nodes: &[&FakeFluentd]) -> BTreeMap<String, Vec<u64>> {
    let mut all: Vec<_> = nodes.iter().flat_map(|node| node.arrivals()).collect();
    all.sort_by_key(|arrival| arrival.at);
    let mut seen = BTreeSet::new();
    let mut firsts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for Arrival { tag, numbers, .. } in all {
        let new = numbers.into_iter().filter(|number| seen.insert((tag.clone(), *number)));
        firsts.entry(tag.clone()).or_default().extend(new.collect::<Vec<_>>());
    }
    firsts
}

#[test]
fn nodes_that_are_killed_by_turns_under_load_lose_nothing_and_keep_the_order_of_each_tag() {
    const FILES: u64 = 6;
    const ROUNDS: u64 = 12;
    const LINES: u64 = 400;
    // So that there is something in flight whenever one is killed.
    let late = Duration::from_millis(20);
    let start = || FakeFluentd::start().keeps_only_sequence("seq").acks_late(late);
    let (logs, a, b) = (LogDir::new(), start(), start());
    let agent = told(&logs, &[&a, &b]).input("Tag app.*").start();
    for round in 0..ROUNDS {
        let killed = if round % 2 == 0 { &a } else { &b };
        for file in 0..FILES {
            let lines = round * LINES..(round + 1) * LINES;
            logs.append_sequence(&format!("{file}.log"), lines);
        }
        let arrived = || a.record_count() + b.record_count();
        wait_until("some of it has arrived", || arrived() > round * LINES * FILES);
        killed.stop();
        wait_until("the round has arrived", || arrived() >= (round + 1) * LINES * FILES);
        killed.restart();
    }
    let expected: Vec<u64> = (0..ROUNDS * LINES).collect();
    wait_until("everything has arrived", || {
        let firsts = first_arrivals(&[&a, &b]);
        firsts.values().map(Vec::len).sum::<usize>() == expected.len() * FILES as usize
    });
    for (tag, numbers) in first_arrivals(&[&a, &b]) {
        assert_eq!(numbers, expected, "{tag}");
    }
    let arrived = a.record_count() + b.record_count();
    assert!(arrived > ROUNDS * LINES * FILES, "something was in flight when a node was killed");
    assert_eq!(agent.stop(), 0);
}

/// `FAILOVER_SECONDS=60` makes it the whole minute.
#[test]
#[allow(clippy::disallowed_methods, reason = "a number for whoever runs it by hand")]
fn a_node_that_is_killed_every_two_seconds_loses_nothing_and_no_connection_sees_disorder() {
    const FILES: u64 = 6;
    let seconds = std::env::var("FAILOVER_SECONDS").map_or(7, |text| text.parse().unwrap());
    let late = Duration::from_millis(5);
    let start = || FakeFluentd::start().keeps_only_sequence("seq").acks_late(late);
    let (logs, dying, steady) = (LogDir::new(), start(), start());
    let agent = told(&logs, &[&dying, &steady])
        .input("Tag app.*")
        // So that the one that is back gets something again before it is killed again.
        .output("net.max_connection_age 500ms")
        .start();
    let (begun, mut written, mut kills) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let killed = Instant::now();
        dying.stop();
        kills += 1;
        let mut is_back = false;
        while killed.elapsed() < Duration::from_secs(2) {
            for file in 0..FILES {
                logs.append_sequence(&format!("{file}.log"), written..written + 50);
            }
            written += 50;
            std::thread::park_timeout(Duration::from_millis(20));
            if !is_back && killed.elapsed() > Duration::from_millis(500) {
                dying.restart();
                is_back = true;
            }
        }
    }
    wait_until("everything has arrived", || {
        let firsts = first_arrivals(&[&dying, &steady]);
        firsts.values().map(Vec::len).sum::<usize>() as u64 == written * FILES
    });
    for (tag, numbers) in first_arrivals(&[&dying, &steady]) {
        assert!(numbers.iter().copied().eq(0..written), "{tag}");
    }
    for node in [&dying, &steady] {
        let mut last = BTreeMap::new();
        for Arrival { connection, tag, numbers, .. } in node.arrivals() {
            for number in numbers {
                let before = last.insert((connection, tag.clone()), number);
                assert!(before < Some(number), "{tag}: {number} after {before:?}");
            }
        }
    }
    let arrived = dying.record_count() + steady.record_count();
    println!(
        "{kills} kills, {} lines, {} of them twice, {} of them on the node that was killed",
        written * FILES,
        arrived - written * FILES,
        dying.record_count(),
    );
    assert!(dying.record_count() > 0, "it was used while it was there");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn tls_keys_and_users_of_a_node_are_its_own() {
    let (first, second) = (TestCa::new(), TestCa::new());
    second.write("us", "us.example");
    std::fs::write(second.file("key"), "key-c\n").unwrap();
    let a = FakeFluentd::start().speaks_tls(first.server("a.example")).demands_key("key-a");
    let b = FakeFluentd::start().speaks_tls(second.mutual_server("b.example")).demands_key("key-b");
    let c = FakeFluentd::start().demands_key("key-c").demands_user("carol", "c");
    let path = |ca: &TestCa, name: &str| ca.file(name).display().to_string();
    let logs = LogDir::new();
    let agent = Told::to_follow(&logs, &a)
        .input("Tag app.*")
        .output("tls on")
        .output("tls.verify_hostname on")
        .output("tls.vhost a.example")
        .output(&format!("tls.ca_file {}", path(&first, "ca.crt")))
        .output("Shared_Key key-a")
        .output("Self_Hostname usual")
        .node(a.port(), &[])
        .node(
            b.port(),
            &[
                "tls.vhost b.example",
                "tls.max_version TLSv1.2",
                &format!("tls.ca_file {}", path(&second, "ca.crt")),
                &format!("tls.crt_file {}", path(&second, "us.crt")),
                &format!("tls.key_file {}", path(&second, "us.key")),
                "Shared_Key key-b",
                "Self_Hostname own",
            ],
        )
        .node(
            c.port(),
            &[
                "tls off",
                &format!("Shared_Key_File {}", path(&second, "key")),
                "Username carol",
                "Password c",
            ],
        )
        .start();
    // One of three gets none of 60 tags once in 10 thousand million runs.
    for file in 0..60 {
        logs.append_sequence(&format!("{file}.log"), file..file + 1);
    }
    wait_for(60, &[&a, &b, &c]);
    for (node, guest) in [(&a, ("usual", "")), (&b, ("own", "")), (&c, ("usual", "carol"))] {
        let guests = node.guests();
        assert!(!guests.is_empty());
        assert!(guests.iter().all(|(name, user)| (&**name, &**user) == guest), "{guests:?}");
    }
    let (status, log) = agent.stop_and_log();
    assert!(status == 0 && !log.contains("retry in"), "{log}");
}

#[test]
fn tags_spread_over_four_nodes_by_weight_and_each_keeps_to_its_node() {
    let (logs, nodes) = (LogDir::new(), [(); 4].map(|()| FakeFluentd::start()));
    let unused = FakeFluentd::start();
    let told = nodes
        .iter()
        .fold(Told::to_follow(&logs, &unused), |told, node| told.node(node.port(), &["Weight 10"]));
    let agent = told.node(unused.port(), &["Weight 0"]).input("Tag app.*").start();
    for _ in 0..3 {
        for file in 0..60 {
            logs.append_sequence(&format!("{file}.log"), 0..1);
        }
        let had = nodes.iter().map(FakeFluentd::record_count).sum::<u64>();
        wait_until("a round has arrived", || {
            nodes.iter().map(FakeFluentd::record_count).sum::<u64>() >= had.div_ceil(60) * 60
        });
    }
    wait_until("all rounds have arrived", || {
        nodes.iter().map(FakeFluentd::record_count).sum::<u64>() == 180
    });
    let tags = |node: &FakeFluentd| {
        node.events().into_iter().map(|event| event.tag).collect::<BTreeSet<_>>()
    };
    let tags: Vec<_> = nodes.iter().map(tags).collect();
    // One of four gets none of 60 tags once in 8 million runs.
    assert!(tags.iter().all(|tags| !tags.is_empty()), "{tags:?}");
    assert_eq!(tags.iter().map(BTreeSet::len).sum::<usize>(), 60, "a tag has one node");
    assert_eq!(unused.connections(), 0);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn standby_gets_nothing_until_all_others_fail_and_no_more_when_they_are_back() {
    let (logs, main, standby) = (LogDir::new(), FakeFluentd::start(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &main).node(main.port(), &[]);
    let agent = told.node(standby.port(), &["Standby On"]).start();
    logs.append_sequence("app.log", 0..10);
    main.wait_for_records(10, SOON);
    assert_eq!(standby.connections(), 0);
    main.stop();
    logs.append_sequence("app.log", 10..20);
    standby.wait_for_records(10, SOON);
    main.restart();
    let mut written = 20;
    wait_until("the main node serves again", || {
        logs.append_sequence("app.log", written..written + 1);
        written += 1;
        main.record_count() > 20
    });
    let had = standby.record_count();
    logs.append_sequence("app.log", written..written + 10);
    wait_for(usize::try_from(written).unwrap() + 10, &[&main, &standby]);
    assert_eq!(standby.record_count(), had);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_node_that_comes_back_gets_one_frame_until_it_has_acknowledged_one() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    fluentd.stop();
    for file in ["a.log", "b.log", "c.log"] {
        logs.append_sequence(file, 0..1);
    }
    let told = Told::to_follow(&logs, &fluentd).input("Tag app.*").output("net.io_timeout 1");
    let agent = told.start();
    agent.wait_for_log("failed to flush chunk");
    fluentd.restart();
    agent.wait_for_log("no acknowledgement within 1s");
    fluentd.wait_for_chunks(2, SOON);
    let (chunks, connections) = (fluentd.chunk_ids().len(), fluentd.connections());
    assert!(chunks <= connections, "{chunks} frames on {connections} connections without an ack");
    fluentd.behaves();
    wait_until("all three have arrived", || {
        let tags = fluentd.events().into_iter().map(|event| event.tag);
        tags.collect::<BTreeSet<_>>().len() == 3
    });
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_node_that_answers_no_connection_is_left_for_another() {
    let (logs, other) = (LogDir::new(), FakeFluentd::start());
    // A queue of one that is full: further connections are not even refused.
    let port = ReservedPort::new(0);
    let silent = port.listen_for(0);
    let filling: Vec<_> = (0..2).filter_map(|_| port.connect_soon()).collect();
    let told = Told::to_follow(&logs, &other)
        .node(port.address().port(), &["Weight 1000000"])
        .node(other.port(), &["Weight 1"]);
    let agent = told.output("net.connect_timeout 1").start();
    logs.append_sequence("app.log", 0..10);
    other.wait_for_records(10, SOON);
    agent.wait_for_log("no answer in time");
    assert_eq!(agent.stop(), 0);
    drop((silent, filling));
}

#[test]
fn a_node_that_accepts_and_never_reads_is_left_for_another_and_taken_up_again_when_it_heals() {
    let (logs, sick) = (LogDir::new(), FakeFluentd::start().stalls_reading());
    let told = Told::to_follow(&logs, &sick).output("net.io_timeout 1");
    let other = FakeFluentd::start();
    let agent = told
        .node(sick.port(), &["Weight 1000000"])
        .node(other.port(), &["Weight 1"])
        .output("net.max_connection_age 500ms")
        .start();
    logs.append_sequence("app.log", 0..10);
    other.wait_for_records(10, SOON);
    sick.behaves();
    let healed = Instant::now();
    let mut written = 10;
    wait_until("it serves again", || {
        logs.append_sequence("app.log", written..written + 1);
        written += 1;
        distinct(&[&sick]).contains(&(written - 1)) || sick.record_count() > 20
    });
    assert!(healed.elapsed() < Duration::from_secs(10), "{:?}", healed.elapsed());
    wait_for(usize::try_from(written).unwrap(), &[&sick, &other]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_reset_in_mid_frame_sends_the_chunk_to_another_node_under_the_same_id() {
    let (logs, sick) = (LogDir::new(), FakeFluentd::start().resets_in_mid_frame(1000));
    let other = FakeFluentd::start();
    let told = Told::to_follow(&logs, &sick)
        .node(sick.port(), &["Weight 1000000"])
        .node(other.port(), &["Weight 1"]);
    logs.append_sequence("app.log", 0..1000);
    let agent = told.start();
    other.wait_for_records(1000, SOON);
    assert_eq!(distinct(&[&other]).len(), 1000);
    assert_eq!((sick.record_count(), other.record_count()), (0, 1000));
    agent.wait_for_log("has never acknowledged anything: it may not speak the forward protocol");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_node_killed_after_it_received_and_before_it_acknowledged_has_its_chunk_sent_to_another() {
    let (logs, a) = (LogDir::new(), FakeFluentd::start().hangs_up_instead_of_acks(1000));
    let b = FakeFluentd::start();
    let told = Told::to_follow(&logs, &a)
        .node(a.port(), &["Weight 1000000"])
        .node(b.port(), &["Weight 1"]);
    let agent = told.start();
    logs.append_sequence("app.log", 0..10);
    b.wait_for_records(10, SOON);
    assert_eq!(a.chunk_ids()[0], b.chunk_ids()[0], "the receiver can tell a repeat");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_node_that_never_acknowledges_is_named_with_the_option_and_left_for_another() {
    let (logs, mute) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    let other = FakeFluentd::start();
    let told = Told::to_follow(&logs, &mute)
        .node(mute.port(), &["Weight 1000000"])
        .node(other.port(), &["Weight 1"]);
    let agent = told.output("net.io_timeout 1").start();
    logs.append_sequence("app.log", 0..10);
    other.wait_for_records(10, SOON);
    let advice = format!(
        "127.0.0.1:{} reads and has never acknowledged anything: if it never does, write \
         `Require_ack_response Off`",
        mute.port()
    );
    agent.wait_for_log(&advice);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn late_and_split_acks_are_waited_for_and_nothing_is_sent_twice() {
    let late = Duration::from_millis(300);
    let (logs, a) = (LogDir::new(), FakeFluentd::start().acks_late(late).splits_acks());
    let b = FakeFluentd::start().acks_late(late).splits_acks();
    let agent = told(&logs, &[&a, &b]).input("Tag app.*").start();
    for round in 0..5 {
        for file in ["a.log", "b.log", "c.log", "d.log"] {
            logs.append_sequence(file, round * 10..round * 10 + 10);
        }
        let had = || a.record_count() + b.record_count();
        wait_until("a round has arrived", || had() >= (round + 1) * 40);
    }
    assert_eq!(a.record_count() + b.record_count(), 200);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_wrong_ack_destroys_the_connection_and_the_chunk_goes_to_another_node() {
    let (logs, wrong) = (LogDir::new(), FakeFluentd::start().acknowledges_another_chunk());
    let other = FakeFluentd::start();
    let told = Told::to_follow(&logs, &wrong)
        .node(wrong.port(), &["Weight 1000000"])
        .node(other.port(), &["Weight 1"]);
    let agent = told.start();
    logs.append_sequence("app.log", 0..10);
    other.wait_for_records(10, SOON);
    agent.wait_for_log("which is not on its way");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_ack_that_comes_twice_is_let_pass_and_said_once() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().acknowledges_twice());
    let agent = Told::to_follow(&logs, &fluentd).start();
    for round in 0..10 {
        logs.append_sequence("app.log", round * 10..round * 10 + 10);
        fluentd.wait_for_records(round * 10 + 10, SOON);
    }
    agent.wait_for_log("acknowledges chunks twice");
    assert_eq!((fluentd.record_count(), fluentd.connections()), (100, 1));
    let (status, log) = agent.stop_and_log();
    assert_eq!((status, log.matches("acknowledges chunks twice").count()), (0, 1));
}

#[test]
fn a_connection_of_some_age_is_drained_and_its_tags_choose_again_without_a_repeat() {
    let (logs, a, b) = (LogDir::new(), FakeFluentd::start(), FakeFluentd::start());
    let agent = told(&logs, &[&a, &b]).output("net.max_connection_age 100ms").start();
    let mut written = 0;
    wait_until("both nodes have had their turns", || {
        logs.append_sequence("app.log", written..written + 1);
        written += 1;
        a.record_count() > 5 && b.record_count() > 5 && a.connections() + b.connections() > 6
    });
    wait_for(usize::try_from(written).unwrap(), &[&a, &b]);
    assert_eq!(a.record_count() + b.record_count(), written, "nothing is sent twice");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn workers_are_connections_and_a_tag_keeps_to_one() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    let agent = Told::to_follow(&logs, &fluentd).input("Tag app.*").output("Workers 3").start();
    for file in 0..30 {
        logs.append_sequence(&format!("{file}.log"), 0..1000);
    }
    fluentd.wait_for_records(30_000, SOON);
    assert_eq!(fluentd.connections(), 3);
    let sequences = fluentd.sequences();
    assert_eq!(sequences.len(), 30);
    assert!(sequences.values().all(|numbers| numbers.iter().copied().eq(0..1000)));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_event_that_is_always_refused_is_found_by_halving_named_and_everything_else_arrives() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().refuses_chunks_with("poison"));
    let told = Told::to_follow(&logs, &fluentd).service("scheduler.cap 1");
    let agent = told.start();
    let mut lines = support::sequence(0..5);
    lines.push_str("{\"seq\":5,\"what\":\"poison\"}\n");
    lines.push_str(&support::sequence(6..8));
    logs.append("app.log", &lines);
    fluentd.wait_for_refused_chunks(5, SOON);
    // Until something else is taken, it may be that everything is refused.
    logs.append_sequence("app.log", 8..10);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !agent.log().contains("an event is lost") {
        assert!(Instant::now() < deadline, "{}", agent.log());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(distinct(&[&fluentd]), (0..10).filter(|number| *number != 5).collect());
    assert_eq!(fluentd.record_count(), 9, "nothing twice");
    let (status, log) = agent.stop_and_log();
    let line = log.lines().find(|line| line.contains("an event is lost")).unwrap();
    let file = logs.file("app.log").display().to_string();
    for part in [file.as_str(), "from=0", "\"what\":\"poison\""] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(log.contains("it is halved to find out why"), "{log}");
    assert_eq!(status, 0);
}

#[test]
fn what_is_older_than_retry_max_age_is_given_up_and_younger_lines_arrive() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    logs.append_sequence("app.log", 0..10);
    let told = Told::to_follow(&logs, &fluentd).output("Retry_Max_Age 1s");
    let agent = told.start();
    agent.wait_for_log("it is older than Retry_Max_Age");
    fluentd.restart();
    // Lines that come long before the next try may be too old by then, too.
    let mut written = 10;
    wait_until("younger lines have arrived", || {
        logs.append_sequence("app.log", written..written + 1);
        written += 1;
        fluentd.record_count() > 0
    });
    assert!(distinct(&[&fluentd]).iter().all(|number| *number >= 10));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_retry_limit_holds_a_chunk_as_long_as_fluent_bit_would_at_least() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    logs.append_sequence("app.log", 0..10);
    let told =
        Told::to_follow(&logs, &fluentd).service("scheduler.base 1").service("scheduler.cap 1");
    let start = Instant::now();
    let agent = told.output("Retry_Limit 2").start();
    agent.wait_for_log("Retry_Limit is reached");
    // Two waits of at least one second, and one more each.
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    let (status, log) = agent.stop_and_log();
    assert!(log.contains("events=10 bytes="), "{log}");
    assert_eq!(status, 0);
}
