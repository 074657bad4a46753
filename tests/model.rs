//! Random interleavings of what writers, rotations, receivers and kills do, against a model.
//!
//! Each case drives the real binary through a list of actions and remembers every complete line
//! that was written. At the end everything is brought up, and every line must have arrived at
//! least once, and nothing else; exactly once and in order if nothing but files misbehaved.
//!
//! The model stays exact by what it refuses to do: a file is truncated only after its lines have
//! arrived (or after a copy was made while the agent was away), and deleted only while the agent
//! has it open or after its lines have arrived; an agent is not stopped while it alone can still
//! read a deleted file. An action whose condition does not hold is left out.
//!
//! `MODEL_CASES` says how many random cases to run, `MODEL_SEED` repeats those of an earlier run,
//! `MODEL_SHRINK_MS` is how long to look for a smaller case that fails.
#![allow(clippy::unwrap_used, reason = "what fails here fails the case")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use support::{FakeFluentd, LogDir, SOON, TestAgent, Told, wait_until};

use Action::*;

/// Cases that run at the same time: they wait most of the time.
const AT_ONCE: u64 = 4;

/// The names that are followed.
const NAMES: [&str; 2] = ["app.log", "other.log"];

#[derive(Clone, Debug)]
struct Case {
    limit: &'static str,
    actions: Vec<Action>,
}

/// What happens. `name` is one of [`NAMES`]; numbers that choose among what there is are taken
/// modulo its count.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Complete lines to a followed name, by the writer that keeps it open.
    Write {
        name: usize,
        lines: u64,
        long: bool,
    },
    /// The same to a file that was rotated away, or deleted.
    WriteBehind {
        which: usize,
        lines: u64,
    },
    /// The next piece of a line. The next complete line finishes it.
    Tear {
        name: usize,
    },
    /// Renames to a new name, which no pattern matches.
    Rotate {
        name: usize,
    },
    /// Renames `.2` to `.3` and so on up the chain, and then the file itself to `.1`.
    RotateChain {
        name: usize,
    },
    Delete {
        name: usize,
    },
    /// Deletes a file that was rotated away.
    DeleteRotated {
        which: usize,
    },
    CopyTruncate {
        name: usize,
    },
    Truncate {
        name: usize,
    },
    ReceiverDown,
    ReceiverUp,
    /// So many times the receiver takes a chunk and closes the connection.
    HangUp {
        times: usize,
    },
    Kill,
    Stop,
    Start,
    /// Waits until this part (in percent) of the lines has arrived.
    CatchUp {
        percent: usize,
    },
    /// Waits until positions are saved once more.
    AwaitSave,
}

fn actions() -> impl Strategy<Value = Action> {
    let name = 0..NAMES.len();
    let which = 0..8_usize;
    prop_oneof![
        10 => (name.clone(), 1..40_u64, any::<bool>())
            .prop_map(|(name, lines, long)| Write { name, lines, long }),
        4 => (which.clone(), 1..20_u64).prop_map(|(which, lines)| WriteBehind { which, lines }),
        3 => name.clone().prop_map(|name| Tear { name }),
        3 => name.clone().prop_map(|name| Rotate { name }),
        3 => name.clone().prop_map(|name| RotateChain { name }),
        2 => name.clone().prop_map(|name| Delete { name }),
        1 => which.prop_map(|which| DeleteRotated { which }),
        2 => name.clone().prop_map(|name| CopyTruncate { name }),
        1 => name.prop_map(|name| Truncate { name }),
        1 => Just(ReceiverDown),
        2 => Just(ReceiverUp),
        1 => (1..4_usize).prop_map(|times| HangUp { times }),
        2 => Just(Kill),
        2 => Just(Stop),
        4 => Just(Start),
        4 => (0..=100_usize).prop_map(|percent| CatchUp { percent }),
        1 => Just(AwaitSave),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let limit = prop::sample::select(&["50k", "512k", "5MB"][..]);
    (limit, prop::collection::vec(actions(), 4..40))
        .prop_map(|(limit, actions)| Case { limit, actions })
}

/// Cases that once failed, always run.
fn known() -> Vec<Case> {
    let case = |limit, actions: &[Action]| Case { limit, actions: actions.to_vec() };
    vec![
        // A file came while positions were being written, and was renamed after a kill.
        case(
            "5MB",
            &[
                Write { name: 0, lines: 21, long: false },
                AwaitSave,
                RotateChain { name: 0 },
                Write { name: 0, lines: 2, long: true },
                CatchUp { percent: 0 },
                Kill,
                RotateChain { name: 0 },
                RotateChain { name: 0 },
            ],
        ),
        case(
            "5MB",
            &[
                AwaitSave,
                Rotate { name: 0 },
                Kill,
                Start,
                AwaitSave,
                Kill,
                Rotate { name: 0 },
                Start,
                AwaitSave,
                Kill,
                Rotate { name: 0 },
            ],
        ),
        // A line without its newline, sent at a stop, of a file that is then deleted.
        case(
            "512k",
            &[
                Write { name: 1, lines: 3, long: false },
                Tear { name: 1 },
                Tear { name: 1 },
                Tear { name: 1 },
                Rotate { name: 1 },
                Stop,
                DeleteRotated { which: 0 },
            ],
        ),
    ]
}

/// A file and the writer that keeps it open.
struct Written {
    file: File,
    /// The followed name under which it was made.
    name: usize,
    /// Where it lies. `None`: deleted.
    place: Option<String>,
    /// What is missing of the line that was begun, and its number.
    begun: Option<(u64, String)>,
    numbers: Vec<u64>,
}

impl Written {
    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn finish_line(&mut self) {
        if let Some((number, rest)) = self.begun.take() {
            self.write(&rest);
            self.numbers.push(number);
        }
    }
}

struct World {
    logs: LogDir,
    state: LogDir,
    told: Told,
    fluentd: Option<FakeFluentd>,
    receiver_is_up: bool,
    agent: Option<TestAgent>,
    /// The file under each followed name.
    current: [Option<Written>; NAMES.len()],
    /// Files that bear another name, or none.
    behind: Vec<Written>,
    /// Files nobody writes to any more.
    numbers_of_closed: Vec<Vec<u64>>,
    /// Lines that were begun. A stop sends what there is of them.
    torn: BTreeSet<u64>,
    next_number: u64,
    next_name: u64,
    arrived: Vec<u64>,
    events_seen: usize,
    /// Nothing has happened that makes repeats.
    is_exact: bool,
}

impl World {
    fn new(limit: &str) -> Self {
        let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
        let told = Told::to_follow(&logs, &fluentd)
            .service("Flush 0.02")
            .service("scheduler.base 1")
            .service("scheduler.cap 1")
            .input(&format!("DB {}", state.file("positions").display()))
            .input(&format!("Mem_Buf_Limit {limit}"))
            .input("Rotate_Wait 120");
        let agent = Some(told.start());
        Self {
            logs,
            state,
            told,
            fluentd: Some(fluentd),
            receiver_is_up: true,
            agent,
            current: [None, None],
            behind: Vec::new(),
            numbers_of_closed: Vec::new(),
            torn: BTreeSet::new(),
            next_number: 0,
            next_name: 10,
            arrived: Vec::new(),
            events_seen: 0,
            is_exact: true,
        }
    }

    fn fluentd(&self) -> &FakeFluentd {
        self.fluentd.as_ref().expect("it is taken only for a moment")
    }

    fn act(&mut self, action: Action) {
        match action {
            Write { name, lines, long } => self.write(name, lines, long),
            WriteBehind { which, lines } => self.write_behind(which, lines),
            Tear { name } => self.tear(name),
            Rotate { name } => self.rotate(name),
            RotateChain { name } => self.rotate_chain(name),
            Delete { name } => self.delete(name),
            DeleteRotated { which } => self.delete_rotated(which),
            CopyTruncate { name } => self.truncate(name, true),
            Truncate { name } => self.truncate(name, false),
            ReceiverDown => self.receiver_down(),
            ReceiverUp => self.receiver_up(),
            HangUp { times } => self.hang_up(times),
            Kill => self.kill(),
            Stop => self.stop(),
            Start => self.start(),
            CatchUp { percent } => self.catch_up(percent),
            AwaitSave => self.await_save(),
        }
    }

    // === Writers

    fn line(&mut self, is_long: bool) -> (u64, String) {
        let number = self.next_number;
        self.next_number += 1;
        // No two neighbours are of one length, and the ends of long ones are all the same.
        let filler =
            "x".repeat(if is_long { usize::try_from(number * 997 % 3000).unwrap() } else { 0 });
        (number, format!("{{\"seq\":{number},\"filler\":\"{filler}\"}}\n"))
    }

    fn lines(&mut self, count: u64, is_long: bool) -> (Vec<u64>, String) {
        let lines = (0..count).map(|_| self.line(is_long)).collect::<Vec<_>>();
        lines.into_iter().unzip()
    }

    fn current(&mut self, name: usize) -> &mut Written {
        let logs = &self.logs;
        self.current[name].get_or_insert_with(|| Written {
            file: logs.open(NAMES[name]),
            name,
            place: Some(NAMES[name].to_owned()),
            begun: None,
            numbers: Vec::new(),
        })
    }

    fn write(&mut self, name: usize, lines: u64, is_long: bool) {
        let (numbers, text) = self.lines(lines, is_long);
        let written = self.current(name);
        written.finish_line();
        written.write(&text);
        written.numbers.extend(numbers);
    }

    fn write_behind(&mut self, which: usize, lines: u64) {
        if self.behind.is_empty() {
            return;
        }
        let which = which % self.behind.len();
        let (numbers, text) = self.lines(lines, false);
        let written = &mut self.behind[which];
        written.finish_line();
        written.write(&text);
        written.numbers.extend(numbers);
    }

    fn tear(&mut self, name: usize) {
        if self.current(name).begun.is_none() {
            let line = self.line(false);
            self.torn.insert(line.0);
            self.current(name).begun = Some(line);
        }
        let written = self.current(name);
        let (number, mut rest) = written.begun.take().expect("it was begun a moment ago");
        // The newline is never among the pieces.
        let piece = rest.drain(..(rest.len() - 1).min(9)).collect::<String>();
        written.begun = Some((number, rest));
        written.write(&piece);
    }

    // === Rotations

    /// Whether a file that is renamed now is found: the agent has it open, or saved positions name
    /// its path. (An agent that has never seen the path has no reason to look for `app.log.1`.)
    fn is_rotation_seen(&self, name: usize) -> bool {
        if self.current[name].is_none() {
            return false;
        }
        let is_named = || self.stored().contains(&format!("/{}\"", NAMES[name]));
        let Some(agent) = &self.agent else {
            return is_named();
        };
        let path = self.logs.file(NAMES[name]);
        wait_until("the file is known", || is_named() || agent.open_files().contains(&path));
        true
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.state.file("positions")).unwrap_or_default()
    }

    fn rotate(&mut self, name: usize) {
        if !self.is_rotation_seen(name) {
            return;
        }
        let place = format!("{}.{}", NAMES[name], self.next_name);
        self.next_name += 1;
        self.rename_current(name, place);
    }

    fn rotate_chain(&mut self, name: usize) {
        if !self.is_rotation_seen(name) {
            return;
        }
        let link = |number: u64| format!("{}.{number}", NAMES[name]);
        let free = (1..9).find(|&number| !self.logs.file(&link(number)).exists());
        let Some(free) = free else {
            return;
        };
        for number in (1..free).rev() {
            self.logs.rename(&link(number), &link(number + 1));
            let places = self.behind.iter_mut().filter_map(|written| written.place.as_mut());
            places.filter(|place| **place == link(number)).for_each(|p| *p = link(number + 1));
        }
        self.rename_current(name, link(1));
    }

    fn rename_current(&mut self, name: usize, place: String) {
        let mut written = self.current[name].take().expect("it was looked at before");
        self.logs.rename(NAMES[name], &place);
        written.place = Some(place);
        self.behind.push(written);
    }

    fn delete(&mut self, name: usize) {
        let Some(place) = self.current[name].as_ref().and_then(|written| written.place.clone())
        else {
            return;
        };
        if self.may_delete(&place, |world| world.current[name].as_ref().expect("it is there")) {
            let mut written = self.current[name].take().expect("it was looked at before");
            self.logs.remove(&place);
            written.place = None;
            self.let_go_or_keep(written);
        }
    }

    fn delete_rotated(&mut self, which: usize) {
        if self.behind.is_empty() {
            return;
        }
        let which = which % self.behind.len();
        let Some(place) = self.behind[which].place.clone() else {
            return;
        };
        if self.may_delete(&place, |world| &world.behind[which]) {
            let mut written = self.behind.remove(which);
            self.logs.remove(&place);
            written.place = None;
            self.let_go_or_keep(written);
        }
    }

    fn may_delete(&mut self, place: &str, written: impl Fn(&Self) -> &Written) -> bool {
        let Some(agent) = &self.agent else {
            self.take_arrived();
            return self.has_arrived(&written(self).numbers);
        };
        let path = self.logs.file(place);
        wait_until("the file is open", || agent.open_files().contains(&path));
        true
    }

    /// A deleted file can be written to only while the agent has it open.
    fn let_go_or_keep(&mut self, written: Written) {
        if self.agent.is_some() {
            self.behind.push(written);
        } else {
            self.numbers_of_closed.push(written.numbers);
        }
    }

    fn truncate(&mut self, name: usize, is_copied: bool) {
        let Some(written) = &mut self.current[name] else {
            return;
        };
        let is_torn = written.begun.is_some();
        if is_torn && !(self.agent.is_some() && self.receiver_is_up) {
            return;
        }
        written.finish_line();
        // A copy made while the agent is away is a generation it has missed, and finds.
        let is_found = is_copied && self.agent.is_none() && self.is_rotation_seen(name);
        if !is_found && !self.have_all_arrived() {
            return;
        }
        if is_copied {
            // While the agent is away it cannot tell every copy from what it has missed.
            self.is_exact &= self.agent.is_some();
            let copy = format!("{}.copy{}", NAMES[name], self.next_name);
            self.next_name += 1;
            fs::copy(self.logs.file(NAMES[name]), self.logs.file(&copy)).unwrap();
        }
        self.logs.truncate(NAMES[name], 0);
    }

    // === The receiver

    fn receiver_down(&mut self) {
        self.is_exact = false;
        self.receiver_is_up = false;
        self.fluentd().stop();
    }

    fn receiver_up(&mut self) {
        if !self.receiver_is_up {
            self.fluentd().restart();
            self.receiver_is_up = true;
        }
    }

    fn hang_up(&mut self, times: usize) {
        self.is_exact = false;
        self.fluentd = self.fluentd.take().map(|fluentd| fluentd.hangs_up_instead_of_acks(times));
    }

    // === The agent

    fn kill(&mut self) {
        if self.may_end_agent() {
            self.is_exact = false;
            self.agent.take().expect("it runs").kill();
            self.let_go_of_deleted();
        }
    }

    fn stop(&mut self) {
        if self.receiver_is_up && self.may_end_agent() {
            let mut written = self.current.iter().flatten().chain(&self.behind);
            self.is_exact &= written.all(|written| written.begun.is_none());
            let agent = self.agent.take().expect("it runs");
            agent.wait_for_log("connected");
            assert_eq!(agent.stop(), 0, "the exit status of a stop");
            self.let_go_of_deleted();
        }
    }

    fn start(&mut self) {
        if self.agent.is_none() {
            self.agent = Some(self.told.start());
        }
    }

    /// Nothing may be readable through the agent's descriptors alone, and what was rotated away
    /// must have a followed name in the positions.
    fn may_end_agent(&mut self) -> bool {
        if self.agent.is_none() {
            return false;
        }
        let deleted = self.behind.iter().filter(|written| written.place.is_none());
        let deleted = deleted.flat_map(|written| written.numbers.clone()).collect::<Vec<_>>();
        self.take_arrived();
        if !self.has_arrived(&deleted) {
            if !self.receiver_is_up {
                return false;
            }
            self.wait_for("the lines of deleted files have arrived", |world| {
                world.has_arrived(&deleted)
            });
        }
        let named = self.behind.iter().filter(|written| written.place.is_some());
        let named = named.map(|written| format!("/{}\"", NAMES[written.name])).collect::<Vec<_>>();
        wait_until("positions name what was rotated", || {
            let stored = self.stored();
            named.iter().all(|name| stored.contains(name))
        });
        true
    }

    fn let_go_of_deleted(&mut self) {
        let (kept, deleted) =
            std::mem::take(&mut self.behind).into_iter().partition(|w| w.place.is_some());
        self.behind = kept;
        let deleted: Vec<Written> = deleted;
        self.numbers_of_closed.extend(deleted.into_iter().map(|written| written.numbers));
    }

    // === What arrived

    fn take_arrived(&mut self) {
        let events = self.fluentd().events_after(self.events_seen);
        self.events_seen += events.len();
        self.arrived.extend(events.iter().filter_map(|event| event.record["seq"].as_u64()));
    }

    fn has_arrived(&self, numbers: &[u64]) -> bool {
        let arrived = self.arrived.iter().collect::<BTreeSet<_>>();
        numbers.iter().all(|number| arrived.contains(number))
    }

    fn streams(&self) -> Vec<&[u64]> {
        let written = self.current.iter().flatten().chain(&self.behind);
        let closed = self.numbers_of_closed.iter();
        written.map(|w| &w.numbers).chain(closed).map(Vec::as_slice).collect()
    }

    fn missing(&self) -> Vec<u64> {
        let arrived = self.arrived.iter().collect::<BTreeSet<_>>();
        let numbers = self.streams().concat().into_iter();
        numbers.filter(|number| !arrived.contains(number)).collect()
    }

    fn wait_for(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + SOON;
        self.take_arrived();
        while !holds(self) {
            if Instant::now() >= deadline {
                let log = self.agent.as_ref().map(TestAgent::log).unwrap_or_default();
                let missing = self.missing();
                panic!("waited until {what}; missing: {missing:?}; the agent's log:\n{log}");
            }
            thread::park_timeout(Duration::from_millis(2));
            self.take_arrived();
        }
    }

    /// Waits, if that can help.
    fn have_all_arrived(&mut self) -> bool {
        if self.agent.is_some() && self.receiver_is_up {
            self.wait_for("every line has arrived", |world| world.missing().is_empty());
        }
        self.take_arrived();
        self.missing().is_empty()
    }

    fn catch_up(&mut self, percent: usize) {
        if self.agent.is_none() || !self.receiver_is_up {
            return;
        }
        let all = self.streams().concat().len();
        self.wait_for("a part of the lines has arrived", |world| {
            world.missing().len() * 100 <= all * (100 - percent)
        });
    }

    /// A line makes positions change; with the receiver down they may not move.
    fn await_save(&mut self) {
        if self.agent.is_none() || !self.receiver_is_up {
            return;
        }
        let before = self.saved();
        self.write(0, 1, false);
        wait_until("positions are saved", || self.saved() != before);
    }

    fn saved(&self) -> Option<SystemTime> {
        fs::metadata(self.state.file("positions")).and_then(|file| file.modified()).ok()
    }

    // === The end

    fn finish(mut self) {
        for written in self.current.iter_mut().flatten().chain(&mut self.behind) {
            written.finish_line();
        }
        self.receiver_up();
        self.fluentd().behaves();
        self.start();
        self.wait_for("every line has arrived in the end", |world| world.missing().is_empty());
        let agent = self.agent.take().expect("it was started");
        agent.wait_for_log("connected");
        let (status, log) = agent.stop_and_log();
        assert_eq!(status, 0, "the exit status at the end; the log:\n{log}");
        self.take_arrived();
        self.check(&log);
    }

    fn check(&self, log: &str) {
        let streams = self.streams();
        let written = streams.concat().into_iter().collect::<BTreeSet<_>>();
        let strange =
            self.arrived.iter().filter(|n| !written.contains(n) && !self.torn.contains(n));
        let strange = strange.collect::<Vec<_>>();
        assert!(strange.is_empty(), "arrived and never written: {strange:?}; the log:\n{log}");
        if !self.is_exact {
            return;
        }
        let stream_of = streams.iter().enumerate();
        let stream_of: HashMap<u64, usize> = stream_of
            .flat_map(|(stream, numbers)| numbers.iter().map(move |&number| (number, stream)))
            .collect();
        let mut arrived = vec![Vec::new(); streams.len()];
        for number in &self.arrived {
            arrived[stream_of[number]].push(*number);
        }
        assert_eq!(arrived, streams, "each line once, in the order of its file; the log:\n{log}");
    }
}

fn run(case: &Case) {
    let mut world = World::new(case.limit);
    for &action in &case.actions {
        world.act(action);
    }
    world.finish();
}

#[allow(clippy::disallowed_methods, reason = "how many cases, and which, is said outside")]
fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The random case of this number, shrunk if it fails.
fn run_random(seed: u64, number: u64) -> Result<(), String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    // A failure that is not repeatable shrinks to nothing, so its own actions are told as well.
    let max_shrink_time =
        setting("MODEL_SHRINK_MS").map_or(120_000, |ms| u32::try_from(ms).unwrap());
    let config = Config { max_shrink_time, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let tree = cases().new_tree(&mut runner).unwrap();
    let first = tree.current();
    let result = runner.run_one(tree, |case| {
        run(&case);
        Ok(())
    });
    let Err(error) = result else {
        return Ok(());
    };
    let TestError::Fail(reason, shrunk) = error else {
        return Err(error.to_string());
    };
    Err(format!(
        "MODEL_SEED={seed}, case {number}: {reason}\n\nshrunk: {shrunk:?}\n\nfrom: {first:?}"
    ))
}

fn run_all_random(cases: u64, seed: u64) -> Vec<String> {
    let next = AtomicU64::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        let numbers = numbers.take_while(|&number| number < cases);
        numbers.filter_map(|number| run_random(seed, number).err()).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn cases_that_once_failed_lose_nothing() {
    for case in known() {
        let result = panic::catch_unwind(|| run(&case));
        assert!(result.is_ok(), "{case:?}");
    }
}

#[test]
fn whatever_is_done_to_files_receiver_and_agent_every_line_arrives() {
    let cases = setting("MODEL_CASES").unwrap_or(40);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = setting("MODEL_SEED").unwrap_or_else(|| u64::from(now.subsec_nanos()));
    let failures = run_all_random(cases, seed);
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n\n"));
}
