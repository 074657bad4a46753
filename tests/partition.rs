//! A network that loses packets: neither end is told, and nothing is lost for that.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use support::{FakeFluentd, LogDir, Network, TestAgent, Told, distinct, wait_for_all, wait_until};

/// "Traffic resumes within 10 s of the heal."
const RESUMES: Duration = Duration::from_secs(10);

/// An agent and its receiver, with a network between them that was well so far.
struct Connected {
    network: Network,
    logs: LogDir,
    fluentd: FakeFluentd,
    agent: TestAgent,
    written: u64,
}

impl Connected {
    fn start() -> Self {
        let network = Network::enter();
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let agent = Told::to_follow(&logs, &fluentd).start();
        let mut connected = Self { network, logs, fluentd, agent, written: 0 };
        connected.write_for(Duration::from_millis(500));
        wait_for_all(&connected.fluentd, connected.written);
        connected
    }

    /// An application that writes a line now and then.
    fn write_for(&mut self, length: Duration) {
        let start = Instant::now();
        while start.elapsed() < length {
            self.logs.append_sequence("app.log", self.written..self.written + 1);
            self.written += 1;
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// How long after the heal something arrived that had not arrived before.
    fn heal(&mut self) -> Duration {
        let seen = distinct(&self.fluentd).len();
        self.network.heals();
        let healed = Instant::now();
        wait_until("traffic resumes", || distinct(&self.fluentd).len() > seen);
        healed.elapsed()
    }

    fn end(self) {
        wait_for_all(&self.fluentd, self.written);
        assert_eq!(self.agent.stop(), 0);
    }
}

/// In networks that lose something for so many seconds. Each for itself and all at once, as a test
/// of each length alone would take their sum.
fn outlives_losses_of(lengths: &[u64], loses: impl Fn(&Network, u16) + Sync) {
    thread::scope(|scope| {
        for &seconds in lengths {
            let loses = &loses;
            scope.spawn(move || {
                let mut connected = Connected::start();
                loses(&connected.network, connected.fluentd.port());
                connected.write_for(Duration::from_secs(seconds));
                let resumed = connected.heal();
                println!("{seconds} s: resumed after {resumed:?}");
                assert!(resumed < RESUMES, "{seconds} s: resumed after {resumed:?}");
                connected.end();
            });
        }
    });
}

/// `PARTITION_SECONDS=60` makes the longest of them a minute.
#[test]
#[allow(clippy::disallowed_methods, reason = "a number for whoever runs it by hand")]
fn after_a_partition_of_any_length_traffic_resumes_within_ten_seconds_and_nothing_is_lost() {
    let longest = std::env::var("PARTITION_SECONDS").map_or(14, |text| text.parse().unwrap());
    // The kernel gives a connection up after 8 s, and the agent a connect after 5.
    let lengths: Vec<u64> = [1, 4, 6, 7, 9, 11].into_iter().chain([longest]).collect();
    outlives_losses_of(&lengths, Network::loses_everything);
}

#[test]
fn when_only_answers_are_lost_what_arrived_unconfirmed_is_sent_again_and_nothing_is_lost() {
    outlives_losses_of(&[3, 7, 12], Network::loses_answers);
}

#[test]
fn an_agent_that_waits_for_a_lost_receiver_takes_under_a_hundredth_of_a_processor() {
    let mut connected = Connected::start();
    connected.network.loses_everything(connected.fluentd.port());
    connected.write_for(Duration::from_millis(200));
    let (start, before) = (Instant::now(), connected.agent.processor_time());
    connected.agent.wait_for_log("failed to flush chunk");
    connected.agent.wait_for_log("no answer in time");
    let spent = connected.agent.processor_time() - before;
    println!("{spent:?} in {:?}", start.elapsed());
    assert!(spent * 100 < start.elapsed(), "{spent:?} in {:?}", start.elapsed());
    connected.heal();
    connected.end();
}
