//! No runtime, no socket: lanes are asked what they would do, and told what happened.

use proptest::prelude::*;

use super::*;
use crate::buffer::{Budget, Fate, Home as ChunksHome, OpenChunk};
use crate::forward::RetryLimit;
use crate::model::{FileId, SpanId};
use crate::protocol::ack::AckError;

/// A dispatch with its clock, and where its chunks come home to.
struct Scene {
    dispatch: Dispatch,
    lanes: Vec<LaneId>,
    now: Instant,
    home: Arc<ChunksHome>,
    budget: Budget,
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + u16::try_from(number).unwrap()))
}

fn settings() -> Settings {
    Settings::new("forward.0", "fluentd", 24224)
}

fn closed() -> Failure {
    Failure::Closed
}

impl Scene {
    /// A lane for each (weight, standby), and dice that show these numbers over and over.
    fn new(settings: Settings, nodes: &[(u32, bool)], dice: &'static [f64]) -> Self {
        let mut shown = dice.iter().cycle();
        let dice = Box::new(move || *shown.next().unwrap());
        let mut dispatch = Dispatch::new(Arc::new(settings), dice);
        let mut lanes = Vec::new();
        for (number, (weight, standby)) in nodes.iter().enumerate() {
            let node = NodeTraits { number, weight: *weight, standby: *standby };
            lanes.extend(dispatch.set_addresses(node, &[address(number)]));
        }
        let home = ChunksHome::new(Box::new(|| ()));
        let budget = Budget::new(usize::MAX, Arc::new(|| ()));
        Self { dispatch, lanes, now: Instant::now(), home, budget }
    }

    /// Two equal nodes; the first is chosen while it is up.
    fn pair() -> Self {
        Self::new(settings(), &[(60, false), (60, false)], &[0.0])
    }

    fn arrive(&mut self, tag: &str, bytes: usize) {
        // Each byte is an event, so that it can be halved; large ones are one event.
        self.arrive_entries(tag, &vec![0xc0; bytes], if bytes > 1000 { 1 } else { bytes });
    }

    /// An event of [`EVENT`] bytes for each character, with that as `v`.
    fn arrive_values(&mut self, tag: &str, values: &str) {
        let event = |value| [b"\x92\xd7\0\0\0\0\x01\0\0\0\0\x81\xa1v\xa1", &[value][..]].concat();
        let entries: Vec<u8> = values.bytes().flat_map(event).collect();
        self.arrive_entries(tag, &entries, values.len());
    }

    fn arrive_entries(&mut self, tag: &str, entries: &[u8], events: usize) {
        let bytes = entries.len();
        let mut memory = self.budget.try_reserve(bytes).unwrap();
        let memory = memory.split(bytes).unwrap();
        let mut open = OpenChunk::new(Vec::with_capacity(bytes), memory, self.now);
        open.bytes_mut().extend_from_slice(entries);
        for _ in 0..events {
            open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.dispatch.next_number.to_be_bytes());
        let chunk = open.seal(id, Tag::new(tag), usize::MAX);
        let delivery = Delivery::of(chunk, 1, &self.home).remove(0);
        self.dispatch.arrive(delivery, self.now);
    }

    fn step(&mut self, lane: usize) -> Step {
        self.dispatch.step(self.lanes[lane], self.now)
    }

    fn connect(&mut self, lane: usize) {
        assert_eq!(self.step(lane), Step::Connect, "lane {lane}");
        self.dispatch.connected(self.lanes[lane]);
    }

    fn take(&mut self, lane: usize) -> Option<Pending> {
        let template = self.dispatch.settings.tag.clone();
        self.dispatch.take(self.lanes[lane], template.as_ref(), self.now)
    }

    /// Takes all that may go, as tags.
    fn take_all(&mut self, lane: usize) -> Vec<Pending> {
        std::iter::from_fn(|| self.take(lane)).collect()
    }

    fn confirm(&mut self, lane: usize, pending: Pending) {
        self.dispatch.confirm(self.lanes[lane], pending);
    }

    fn fail(&mut self, lane: usize, failure: Failure, back: Vec<Pending>) -> Option<Setback> {
        self.dispatch.end(self.lanes[lane], &failure, back.into(), self.now)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Has the lane refuse what it takes alone, once.
    fn refuse(&mut self, lane: usize) -> (u64, usize) {
        self.wait(60);
        self.connect(lane);
        let refused = self.take(lane).unwrap();
        let place = refused.place();
        assert!(self.take(lane).is_none(), "a suspect goes alone, and a probe is one frame");
        self.fail(lane, closed(), vec![refused]).unwrap();
        place
    }
}

/// What [`Scene::arrive_values`] makes of a character.
const EVENT: usize = 16;

fn tags_of_records() -> Settings {
    Settings { tag: Some(TagTemplate::parse("x.$v").unwrap()), ..settings() }
}

/// The values of what was taken.
fn values(taken: &Pending) -> String {
    let value = |event: &[u8]| char::from(event[EVENT - 1]);
    taken.entries().chunks(EVENT).map(value).collect()
}

/// What a part is: its id, which chunk it is of and where it begins, and its values.
fn identity(taken: &Pending) -> (String, (u64, usize), String) {
    (taken.id.to_string(), taken.place(), values(taken))
}

fn numbers(taken: &[Pending]) -> Vec<u64> {
    taken.iter().map(|pending| pending.place().0).collect()
}

#[test]
fn a_tag_keeps_to_its_lane_and_other_tags_may_have_another() {
    let mut scene = Scene::new(settings(), &[(60, false), (60, false)], &[0.2, 0.7]);
    for tag in ["a", "b", "a", "b", "a"] {
        scene.arrive(tag, 10);
    }
    scene.connect(0);
    scene.connect(1);
    let (on_first, on_second) = (scene.take_all(0), scene.take_all(1));
    assert_eq!((numbers(&on_first), numbers(&on_second)), (vec![0, 2, 4], vec![1, 3]));
}

#[test]
fn before_anything_comes_one_lane_connects_and_the_first_tag_takes_it() {
    let mut scene = Scene::new(settings(), &[(60, false), (60, false)], &[0.7, 0.1]);
    assert_eq!((scene.step(0), scene.step(1)), (Step::Wait, Step::Wait));
    scene.dispatch.reported(2);
    assert_eq!(scene.step(1), Step::Wait, "the other node has not looked itself up");
    scene.dispatch.reported(2);
    assert_eq!(scene.step(0), Step::Wait);
    scene.connect(1);
    assert_eq!(scene.fail(1, closed(), vec![]), None, "an idle connection may be closed");
    assert_eq!(scene.step(1), Step::Wait, "there is nothing to send");
    scene.arrive("a", 10);
    scene.connect(1);
    assert_eq!(scene.take_all(1).len(), 1);
}

#[test]
fn a_failed_lane_hands_its_tags_over_with_what_was_in_flight_first() {
    let mut scene = Scene::pair();
    for tag in ["a", "b", "a"] {
        scene.arrive(tag, 10);
    }
    scene.connect(0);
    let sent = vec![scene.take(0).unwrap(), scene.take(0).unwrap()];
    let setback = scene.fail(0, closed(), sent).unwrap();
    assert!(setback.elsewhere);
    scene.arrive("a", 10);
    scene.connect(1);
    // The first of them may be at fault: it goes alone, and before the others.
    let suspect = scene.take(1).unwrap();
    assert_eq!(numbers(std::slice::from_ref(&suspect)), [1], "'b' is beyond suspicion");
    scene.confirm(1, suspect);
    assert!(scene.take(1).is_none());
    assert!(scene.dispatch.is_left(scene.lanes[1]), "a suspect wants a fresh connection");
    assert_eq!(scene.fail(1, Failure::Served, vec![]), None);
    scene.connect(1);
    let suspect = scene.take(1).unwrap();
    assert_eq!(suspect.place().0, 0);
    assert!(scene.take(1).is_none(), "its tag waits for it");
    scene.confirm(1, suspect);
    assert_eq!(numbers(&scene.take_all(1)), [2, 3]);
}

#[test]
fn a_tag_that_moves_leaves_on_the_new_lane_when_all_on_the_old_is_acknowledged() {
    let mut scene = Scene::pair();
    // More than a window on the first lane.
    for _ in 0..3 {
        scene.arrive("a", 1_900_000);
    }
    scene.connect(0);
    let mut sent = scene.take_all(0);
    assert_eq!(numbers(&sent), [0, 1], "a window");
    scene.arrive("a", 10);
    scene.connect(1);
    assert!(scene.take(1).is_none(), "two of the tag are in flight on the other lane");
    scene.confirm(0, sent.remove(0));
    assert!(scene.take(1).is_none());
    scene.confirm(0, sent.remove(0));
    assert_eq!(numbers(&scene.take_all(1)), [2, 3]);
    assert!(scene.take(0).is_none());
}

#[test]
fn a_tag_that_moves_gets_back_what_its_old_lane_could_not_deliver_and_sends_it_first() {
    let mut scene = Scene::pair();
    for _ in 0..3 {
        scene.arrive("a", 1_900_000);
    }
    scene.connect(0);
    let sent = scene.take_all(0);
    scene.arrive("a", 10);
    scene.connect(1);
    assert!(scene.take(1).is_none());
    let reset = Failure::Broken(std::io::ErrorKind::TimedOut.into());
    scene.fail(0, reset, sent).unwrap();
    assert_eq!(numbers(&scene.take_all(1)), [0, 1], "a window of them, in order");
}

#[test]
fn a_tag_that_was_moved_because_its_lane_was_full_rests_before_it_moves_again() {
    let mut scene = Scene::pair();
    for _ in 0..4 {
        scene.arrive("a", 1_900_000);
    }
    let on = |scene: &Scene, lane: usize| scene.dispatch.lanes[&scene.lanes[lane]].queue.len();
    assert_eq!((on(&scene, 0), on(&scene, 1)), (0, 4), "the fourth found the first lane full");
    scene.wait(REST.as_secs() - 1);
    scene.arrive("a", 10);
    assert_eq!((on(&scene, 0), on(&scene, 1)), (0, 5), "full as well, and it stays");
    scene.wait(1);
    scene.arrive("a", 10);
    assert_eq!((on(&scene, 0), on(&scene, 1)), (6, 0));
}

#[test]
fn a_lane_that_failed_is_probed_with_one_frame_until_something_is_acknowledged() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    for _ in 0..4 {
        scene.arrive("a", 10);
    }
    scene.connect(0);
    let refused = Failure::Connect { answer: String::new() };
    let setback = scene.fail(0, refused, vec![]).unwrap();
    assert!(!setback.elsewhere && setback.waiting == 4);
    assert_eq!(scene.step(0), Step::WaitUntil(scene.now + setback.wait));
    scene.wait(1);
    scene.connect(0);
    let probe = scene.take(0).unwrap();
    assert!(scene.take(0).is_none(), "one probe");
    scene.confirm(0, probe);
    assert_eq!(scene.take_all(0).len(), 3);
}

#[test]
fn after_an_ack_timeout_frames_go_one_at_a_time_although_the_lane_works_again() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    for _ in 0..3 {
        scene.arrive("a", 10);
    }
    scene.connect(0);
    let sent = scene.take_all(0);
    let limit = Duration::from_secs(60);
    scene.fail(0, Failure::NoAck { limit }, sent).unwrap();
    scene.wait(10);
    scene.connect(0);
    for _ in 0..3 {
        let one = scene.take(0).unwrap();
        assert!(scene.take(0).is_none());
        scene.confirm(0, one);
        // A suspect (the first) wants a fresh connection only when something else was on it.
    }
    scene.arrive("a", 10);
    scene.arrive("a", 10);
    scene.wait(ONE_FRAME_FOR.as_secs());
    assert_eq!(scene.take_all(0).len(), 2);
}

#[test]
fn standby_serves_while_the_regular_node_is_down_and_hands_back_when_its_probe_is_acknowledged() {
    let mut scene = Scene::new(settings(), &[(60, false), (60, true)], &[0.5]);
    scene.arrive("a", 10);
    scene.arrive("b", 10);
    assert_eq!(scene.step(1), Step::Wait, "nobody needs it");
    scene.connect(0);
    scene.fail(0, Failure::Connect { answer: String::new() }, vec![]).unwrap();
    scene.connect(1);
    scene.take_all(1).into_iter().for_each(|sent| scene.confirm(1, sent));
    scene.wait(40);
    scene.connect(0);
    // The probe is connected: one tag, the longest waiting, proves it.
    scene.arrive("a", 10);
    scene.arrive("b", 10);
    let (probes, rest) = (scene.take_all(0), scene.take_all(1));
    assert_eq!((probes.len(), rest.len()), (1, 1));
    probes.into_iter().for_each(|sent| scene.confirm(0, sent));
    rest.into_iter().for_each(|sent| scene.confirm(1, sent));
    scene.arrive("a", 10);
    scene.arrive("b", 10);
    assert_eq!((scene.take_all(0).len(), scene.take_all(1).len()), (2, 0));
}

#[test]
fn when_everything_is_down_every_lane_is_tried_again_soon() {
    let mut scene = Scene::pair();
    scene.arrive("a", 10);
    scene.connect(0);
    let limit = Duration::from_secs(60);
    let sent = scene.take_all(0);
    let first = scene.fail(0, Failure::NoAck { limit }, sent).unwrap();
    assert!(first.wait >= limit, "it cost a minute, and another node serves: {:?}", first.wait);
    scene.connect(1);
    scene.fail(1, Failure::Connect { answer: String::new() }, vec![]).unwrap();
    let Step::WaitUntil(due) = scene.step(0) else { panic!("{:?}", scene.step(0)) };
    assert!(due <= scene.now + Duration::from_secs(5));
    scene.wait(5);
    scene.connect(0);
    assert_eq!(scene.take_all(0).len(), 1, "the probe takes over what is stranded");
}

#[test]
fn a_drained_connection_ends_when_it_is_empty_and_its_tags_choose_again() {
    let mut scene = Scene::new(settings(), &[(60, false), (60, false)], &[0.1, 0.1, 0.9]);
    scene.arrive("a", 10);
    scene.connect(0);
    let sent = scene.take(0).unwrap();
    assert!(scene.dispatch.drain(scene.lanes[0]));
    scene.arrive("a", 10);
    assert!(scene.take(0).is_none(), "it takes no more");
    assert!(!scene.dispatch.is_left(scene.lanes[0]), "something is in flight");
    scene.confirm(0, sent);
    assert!(scene.dispatch.is_left(scene.lanes[0]));
    assert_eq!(scene.fail(0, Failure::Served, vec![]), None);
    let on: Vec<_> = scene.lanes.iter().map(|id| scene.dispatch.lanes[id].queue.len()).collect();
    assert_eq!(on.iter().sum::<usize>(), 1);
    let mut alone = Scene::new(settings(), &[(60, false)], &[0.5]);
    alone.arrive("a", 10);
    alone.connect(0);
    assert!(!alone.dispatch.drain(alone.lanes[0]), "there is no other node");
    assert_eq!(alone.take_all(0).len(), 1);
}

#[test]
fn an_address_that_is_no_longer_named_is_left_and_a_new_one_is_a_lane() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    scene.arrive("a", 10);
    scene.arrive("a", 10);
    scene.connect(0);
    let sent = scene.take(0).unwrap();
    let node = NodeTraits { number: 0, weight: 60, standby: false };
    let begun = scene.dispatch.set_addresses(node, &[address(7)]);
    scene.lanes.extend(begun);
    assert_eq!(scene.lanes.len(), 2);
    scene.connect(1);
    assert!(scene.take(1).is_none(), "its tag is in flight on the old address");
    scene.confirm(0, sent);
    assert!(scene.dispatch.is_left(scene.lanes[0]));
    assert_eq!(scene.fail(0, Failure::Served, vec![]), None);
    assert_eq!(scene.step(0), Step::End);
    assert_eq!(numbers(&scene.take_all(1)), [1]);
    assert_eq!(scene.dispatch.set_addresses(node, &[address(7)]), [], "nothing new");
}

#[test]
fn chunks_that_come_before_any_address_is_known_wait_for_one() {
    let mut scene = Scene::new(settings(), &[], &[0.5]);
    scene.arrive("a", 10);
    scene.arrive("a", 10);
    let (waiting, first) = scene.dispatch.fail_strays(scene.now);
    assert!(waiting == 2 && first.is_some());
    let node = NodeTraits { number: 0, weight: 60, standby: false };
    scene.lanes = scene.dispatch.set_addresses(node, &[address(0)]);
    scene.connect(0);
    assert_eq!(numbers(&scene.take_all(0)), [0, 1]);
}

#[test]
fn the_family_that_the_system_does_not_name_first_stands_by() {
    let v6 = SocketAddr::from(([0_u16, 0, 0, 0, 0, 0, 0, 1], 1));
    for (preferred, expected) in [
        (None, [false, true]),
        (Some(IpVersion::V4), [false, true]),
        (Some(IpVersion::V6), [true, false]),
    ] {
        let mut scene = Scene::new(Settings { preferred, ..settings() }, &[], &[0.5]);
        let node = NodeTraits { number: 0, weight: 60, standby: false };
        scene.dispatch.set_addresses(node, &[address(0), v6]);
        let standby: Vec<_> = scene.dispatch.lanes.values().map(|lane| lane.standby).collect();
        assert_eq!(standby, expected, "{preferred:?}");
    }
}

#[test]
fn workers_are_lanes_and_a_tag_keeps_to_one() {
    let mut scene =
        Scene::new(Settings { workers: 3, ..settings() }, &[(60, false)], &[0.1, 0.5, 0.9]);
    assert_eq!(scene.lanes.len(), 3);
    for tag in ["a", "b", "c", "a"] {
        scene.arrive(tag, 10);
    }
    let on: Vec<_> = scene.dispatch.lanes.values().map(|lane| lane.queue.len()).collect();
    assert_eq!(on, [2, 1, 1]);
}

#[test]
fn a_chunk_refused_always_is_halved_once_another_was_taken_and_a_single_event_is_lost() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    scene.arrive("a", 2);
    for _ in 0..6 {
        assert_eq!(scene.refuse(0), (0, 0));
    }
    assert!(scene.dispatch.take_halved().is_empty(), "it may be that everything is refused");
    // A later chunk of the same tag is the witness: nothing else could tell.
    scene.arrive("a", 1);
    scene.wait(60);
    scene.connect(0);
    let witness = scene.take(0).unwrap();
    assert_eq!(witness.place(), (1, 0));
    scene.confirm(0, witness);
    assert!(scene.take(0).is_none());
    assert_eq!(scene.fail(0, Failure::Served, vec![]), None, "the suspect gets a fresh connection");
    assert_eq!(scene.refuse(0), (0, 0));
    assert_eq!(scene.dispatch.take_halved().len(), 1);
    // The first half is refused; the second is taken, and is the witness against it.
    for _ in 0..5 {
        assert_eq!(scene.refuse(0), (0, 0));
    }
    scene.wait(60);
    scene.connect(0);
    let second = scene.take(0).unwrap();
    assert_eq!(second.place(), (0, 1));
    scene.confirm(0, second);
    assert!(scene.take(0).is_none());
    assert_eq!(scene.fail(0, Failure::Served, vec![]), None);
    assert_eq!(scene.refuse(0), (0, 0));
    let lost = scene.dispatch.take_lost();
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].0.events(), lost[0].1), (1, LossReason::Refused));
}

#[test]
fn an_acknowledgement_of_another_tag_is_witness_enough_and_no_order_is_broken() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    scene.arrive("bad", 2);
    scene.arrive("bad", 1);
    let mut order = Vec::new();
    for _ in 0..5 {
        scene.arrive("good", 1);
        scene.wait(60);
        // What is beyond suspicion goes first, then the suspect on a connection of its own.
        while scene.dispatch.take_halved().is_empty() {
            scene.wait(60);
            scene.connect(0);
            let taken = scene.take(0).unwrap();
            order.push(taken.place().0);
            if taken.tag() == &Tag::new("bad") {
                scene.fail(0, Failure::BadAck(AckError::WithoutAck), vec![taken]).unwrap();
                break;
            }
            scene.confirm(0, taken);
            assert!(scene.take(0).is_none());
            scene.fail(0, Failure::Served, vec![]);
        }
    }
    assert_eq!(order, [0, 2, 0, 3, 0, 4, 0, 5, 0], "and never chunk 1, which comes after 0");
    assert_eq!(scene.dispatch.lanes[&scene.lanes[0]].queue.front().unwrap().events(), 1);
}

#[test]
fn only_the_chunk_that_was_tried_has_failed_and_a_limit_gives_it_up_by_itself() {
    let limited = Settings {
        retry_limit: RetryLimit::Times(1),
        scheduler_base: Duration::from_secs(1),
        ..settings()
    };
    let mut scene = Scene::new(limited, &[(60, false)], &[0.5]);
    for _ in 0..3 {
        scene.arrive("a", 10);
    }
    for failures in 1..=2 {
        scene.connect(0);
        scene.fail(0, Failure::Connect { answer: String::new() }, vec![]).unwrap();
        // Fluent Bit would have waited for two seconds between its two tries.
        scene.wait(1);
        assert!(scene.dispatch.take_lost().is_empty(), "after {failures}");
    }
    scene.connect(0);
    let setback = scene.fail(0, Failure::Connect { answer: String::new() }, vec![]).unwrap();
    assert_eq!(setback.waiting, 2);
    let lost = scene.dispatch.take_lost();
    assert_eq!((lost[0].0.place(), lost[0].1, lost.len()), ((0, 0), LossReason::RetryLimit, 1));
}

#[test]
fn what_is_older_than_the_greatest_age_is_given_up_before_it_is_sent() {
    let aged = Settings { retry_max_age: Some(Duration::from_secs(10)), ..settings() };
    let mut scene = Scene::new(aged, &[(60, false)], &[0.5]);
    scene.arrive("a", 10);
    scene.wait(5);
    scene.arrive("a", 10);
    scene.wait(6);
    scene.connect(0);
    assert_eq!(numbers(&scene.take_all(0)), [1]);
    let lost = scene.dispatch.take_lost();
    assert_eq!((lost[0].0.place().0, lost[0].1), (0, LossReason::MaxAge));
}

#[test]
fn tags_without_chunks_are_forgotten_when_there_are_many() {
    let mut scene = Scene::new(settings(), &[(60, false)], &[0.5]);
    for number in 0..REMEMBERED_TAGS * 2 {
        scene.arrive(&format!("tag.{number}"), 1);
        if number == 0 {
            scene.connect(0);
        }
        let sent = scene.take(0).unwrap();
        scene.confirm(0, sent);
    }
    assert!(scene.dispatch.homes.len() <= REMEMBERED_TAGS + 1);
}

#[test]
fn events_that_share_a_made_tag_go_together_in_order_and_a_chunk_ends_with_its_last_part() {
    let mut scene = Scene::new(tags_of_records(), &[(60, false)], &[0.5]);
    scene.arrive_values("a", "ppqpp");
    scene.arrive_values("a", "ppp");
    scene.connect(0);
    let sent = scene.take_all(0);
    assert_eq!(sent.iter().map(values).collect::<Vec<_>>(), ["pp", "q", "pp", "ppp"]);
    assert_eq!(sent.iter().map(Pending::events).collect::<Vec<_>>(), [2, 1, 2, 3]);
    let ids: HashSet<ChunkId> = sent.iter().map(|part| part.id).collect();
    assert_eq!(ids.len(), 4);
    let mut arrived = Vec::new();
    for (number, part) in sent.into_iter().enumerate() {
        scene.home.empty_into(&mut arrived);
        assert_eq!(arrived.len(), usize::from(number > 2), "after {number} parts");
        scene.confirm(0, part);
    }
    scene.home.empty_into(&mut arrived);
    assert!(arrived.len() == 2 && arrived.iter().all(|(_, fate)| *fate == Fate::Acknowledged));
    assert_eq!(scene.dispatch.lanes[&scene.lanes[0]].bytes_in_flight, 0);
}

#[test]
fn there_are_no_more_parts_than_may_be_on_the_way_however_many_tags_a_chunk_makes() {
    let mut scene = Scene::new(tags_of_records(), &[(60, false)], &[0.5]);
    scene.arrive_values("a", &"pq".repeat(2000));
    scene.connect(0);
    let waiting = |scene: &Scene| scene.dispatch.lanes[&scene.lanes[0]].queue.len();
    let mut sent: VecDeque<Pending> = scene.take_all(0).into();
    let (window, mut parts) = (sent.len(), sent.len());
    assert!(window < 4000, "{window}");
    while let Some(first) = sent.pop_front() {
        assert!(waiting(&scene) <= 2, "the next part and all the others");
        assert!(scene.take(0).is_none());
        scene.confirm(0, first);
        let more = scene.take_all(0);
        assert!(more.len() <= 1 && sent.len() + more.len() <= window);
        parts += more.len();
        sent.extend(more);
    }
    assert_eq!((parts, waiting(&scene)), (4000, 0));
    let lane = &scene.dispatch.lanes[&scene.lanes[0]];
    assert_eq!((lane.queued_bytes, lane.bytes_in_flight, lane.frames_in_flight), (0, 0, 0));
}

#[test]
fn parts_that_come_back_go_again_as_they_were_and_only_the_first_is_under_suspicion() {
    let mut scene = Scene::new(tags_of_records(), &[(60, false)], &[0.5]);
    scene.arrive_values("a", "pqqp");
    scene.arrive_values("b", "r");
    scene.connect(0);
    let sent = scene.take_all(0);
    let before: Vec<_> = sent.iter().map(identity).collect();
    scene.fail(0, closed(), sent).unwrap();
    scene.wait(60);
    scene.connect(0);
    // The other tag is beyond suspicion and goes first; then the suspect, on a fresh connection.
    let other = scene.take(0).unwrap();
    assert_eq!(identity(&other), before[3]);
    scene.confirm(0, other);
    assert!(scene.take(0).is_none());
    scene.fail(0, Failure::Served, vec![]);
    scene.connect(0);
    let suspect = scene.take(0).unwrap();
    assert_eq!(identity(&suspect), before[0]);
    assert!(scene.take(0).is_none(), "its tag waits for it");
    scene.confirm(0, suspect);
    let rest: Vec<_> = scene.take_all(0).iter().map(identity).collect();
    assert_eq!(rest, before[1..3]);
}

#[test]
fn a_part_that_is_refused_always_is_halved_and_its_event_lost_under_its_number_in_the_chunk() {
    let mut scene = Scene::new(tags_of_records(), &[(60, false)], &[0.5]);
    scene.arrive_values("a", "pqq");
    scene.connect(0);
    let first = scene.take(0).unwrap();
    scene.confirm(0, first);
    let sent = scene.take_all(0);
    assert_eq!(values(&sent[0]), "qq");
    scene.fail(0, closed(), sent).unwrap();
    let mut lost = Vec::new();
    for _ in 0..60 {
        scene.arrive_values("good", "g");
        scene.wait(60);
        scene.connect(0);
        while let Some(taken) = scene.take(0) {
            if values(&taken).starts_with('q') {
                scene.fail(0, closed(), vec![taken]).unwrap();
                break;
            }
            scene.confirm(0, taken);
        }
        if scene.dispatch.lanes[&scene.lanes[0]].is_connected {
            scene.fail(0, Failure::Served, vec![]);
        }
        lost.extend(scene.dispatch.take_lost());
    }
    assert_eq!(scene.dispatch.take_halved().len(), 1);
    assert_eq!(lost.len(), 2);
    lost.into_iter().for_each(|(pending, reason)| pending.lost(reason));
    let mut arrived = Vec::new();
    scene.home.empty_into(&mut arrived);
    let (chunk, fate) = arrived.iter().find(|(chunk, _)| chunk.tag == Tag::new("a")).unwrap();
    let numbers: Vec<_> = chunk.losses.iter().map(|loss| loss.events.clone()).collect();
    assert_eq!((*fate, numbers), (Fate::Lost, vec![1..2, 2..3]));
    assert!(chunk.losses[0].beginning.contains("\"v\":\"q\""), "{}", chunk.losses[0].beginning);
}

#[test]
fn the_limit_of_retries_gives_up_what_was_tried_and_what_was_not_cut_off_yet() {
    let limited = Settings { retry_limit: RetryLimit::Times(0), ..tags_of_records() };
    let mut scene = Scene::new(limited, &[(60, false)], &[0.5]);
    scene.arrive_values("a", "pqr");
    scene.connect(0);
    let sent = scene.take(0).unwrap();
    scene.fail(0, closed(), vec![sent]).unwrap();
    scene.wait(60);
    scene.connect(0);
    scene.fail(0, Failure::Connect { answer: String::new() }, vec![]).unwrap();
    for (pending, reason) in scene.dispatch.take_lost() {
        pending.lost(reason);
    }
    let mut arrived = Vec::new();
    scene.home.empty_into(&mut arrived);
    let numbers: Vec<_> = arrived[0].0.losses.iter().map(|loss| loss.events.clone()).collect();
    assert_eq!(numbers, vec![0..1, 1..3]);
}

#[test]
fn a_node_with_a_tag_of_its_own_cuts_for_itself_what_another_had_cut() {
    let mut scene = Scene::new(tags_of_records(), &[(60, false)], &[0.5]);
    scene.arrive_values("a", "ppqq");
    scene.connect(0);
    let (lane, now) = (scene.lanes[0], scene.now);
    let one_tag = TagTemplate::parse("y.$none").unwrap();
    let whole = scene.dispatch.take(lane, Some(&one_tag), now).unwrap();
    assert_eq!(
        (values(&whole).as_str(), whole.id.to_string()),
        ("ppqq", ChunkId::new([0; 16]).to_string())
    );
    let reset = Failure::Broken(std::io::ErrorKind::TimedOut.into());
    scene.fail(0, reset, vec![whole]).unwrap();
    scene.wait(60);
    scene.connect(0);
    let first = scene.take(0).unwrap();
    assert_eq!(values(&first), "pp");
    scene.confirm(0, first);
    assert_eq!(values(&scene.take(0).unwrap()), "qq");
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Take,
    Confirm,
    Break,
}

proptest! {
    /// Whatever breaks: each event is confirmed once, in the order of its tag, always with those
    /// that share its made tag, and the same bytes never go under two ids nor others under one.
    #[test]
    fn parts_cover_every_event_once_and_in_order_whatever_breaks(
        chunks in prop::collection::vec((0_usize..2, "[pqr]{1,12}"), 1..6),
        moves in prop::collection::vec((0_usize..2, prop_oneof![
            6 => Just(Move::Take), 3 => Just(Move::Confirm), 1 => Just(Move::Break),
        ]), 0..80),
    ) {
        let mut scene = Scene::new(tags_of_records(), &[(60, false), (60, false)], &[0.2, 0.7]);
        let tags = ["a", "b"];
        let mut expected = [String::new(), String::new()];
        for (tag, values) in &chunks {
            scene.arrive_values(tags[*tag], values);
            expected[*tag].push_str(values);
        }
        let mut confirmed = [String::new(), String::new()];
        let mut flying = [VecDeque::new(), VecDeque::new()];
        let mut ids = HashMap::new();
        let to_the_end = (0..200).flat_map(|_| [
            (0, Move::Take), (0, Move::Confirm), (1, Move::Take), (1, Move::Confirm),
        ]);
        for (lane, what) in moves.into_iter().chain(to_the_end) {
            if !scene.dispatch.lanes[&scene.lanes[lane]].is_connected {
                scene.wait(60);
                if scene.step(lane) != Step::Connect {
                    continue;
                }
                scene.dispatch.connected(scene.lanes[lane]);
            }
            match what {
                Move::Take => if let Some(taken) = scene.take(lane) {
                    let (id, place, values) = identity(&taken);
                    prop_assert!(values.bytes().all(|value| value == values.as_bytes()[0]));
                    let known = ids.entry(id).or_insert_with(|| (place, values.clone()));
                    prop_assert_eq!(&(place, values), &*known);
                    flying[lane].push_back(taken);
                },
                Move::Confirm => if let Some(first) = flying[lane].pop_front() {
                    let tag = usize::from(first.tag() == &Tag::new("b"));
                    confirmed[tag].push_str(&values(&first));
                    scene.confirm(lane, first);
                },
                Move::Break => {
                    let back = std::mem::take(&mut flying[lane]).into();
                    scene.fail(lane, Failure::Broken(std::io::ErrorKind::TimedOut.into()), back);
                }
            }
        }
        prop_assert_eq!(confirmed, expected);
        let mut arrived = Vec::new();
        scene.home.empty_into(&mut arrived);
        prop_assert_eq!(arrived.len(), chunks.len());
        prop_assert!(arrived.iter().all(|(_, fate)| *fate == Fate::Acknowledged));
    }
}
