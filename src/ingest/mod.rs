//! The thread that thinks: from files and frames to sealed chunks, and from acknowledgements to
//! positions and to the clients that wait for theirs.
//!
//! In:  files, the kernel's notices about them, frames of clients, chunks that come home
//! Out: sealed chunks to the outputs, positions to the store, a word on each frame
//!
//! Plain blocking code with one place to wait. Memory is asked for before anything is read; when
//! there is none, every open chunk leaves and the loop waits for some to come back. Bytes read and
//! not appended are simply forgotten: they are in the file.

pub mod accounts;
pub mod encode;
mod ending;
mod figures;
mod find;
pub mod frames;
pub mod input;
pub mod pace;
mod settle;
mod shortage;
pub mod stop;
pub mod wait;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

pub use self::accounts::{Accounts, Figures, InputFigures};
pub use self::encode::Encoder;
pub use self::frames::Frames;
pub use self::input::Input;
pub use self::input::Joining;
use self::input::{Lent, Route, Turn};
pub use self::pace::Pace;
pub use self::stop::{Controls, Drain};
use self::wait::Sleeper;
pub use self::wait::{Waker, waker};
use crate::buffer::{Chunk, Delivery, Fate, Home, OpenChunks, Packer, Router, Sealing};
use crate::checkpoint::Store;
use crate::filter::Filter;
use crate::model::{Codec, Counters, FileId, Mentions, Tag};
use crate::tail::{ReadBuffer, Watch};

/// Takes the deliveries of one output.
pub type Outlet = Box<dyn Fn(Delivery) + Send>;

/// How often notices about data are read while something is going on: see `find::data_every`.
const DATA_EVERY_LEAST: Duration = Duration::from_millis(20);
const DATA_EVERY_MOST: Duration = Duration::from_millis(50);
/// How often files are looked at where there are no notices at all.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often positions are handed to the store, at most.
const SAVE_EVERY: Duration = Duration::from_millis(250);
/// How many slices are read before the loop looks at everything else again.
const SLICES_A_ROUND: usize = 16;
/// How far the clock that stamps files may be behind: it moves with the kernel's tick.
const TICK: Duration = Duration::from_millis(20);
/// How long nothing must have moved before unused buffers go back to the system.
const RELEASE_AFTER: Duration = Duration::from_secs(5);

/// What ingest is made of.
pub struct Parts {
    /// The inputs that follow files, in the order of the configuration.
    pub inputs: Vec<Input>,
    /// The inputs that take frames of clients. They are numbered behind the others.
    pub clients: Vec<Frames>,
    /// The filters, in the order in which they run.
    pub filters: Vec<Filter>,
    /// Which outputs take a tag.
    pub router: Router,
    /// The outputs, in the router's order.
    pub outlets: Vec<Outlet>,
    /// For each of them what compresses its chunks, if anything does.
    pub packers: Vec<Option<Packer>>,
    /// Where chunks come home to.
    pub home: Arc<Home>,
    /// Where positions are kept, and for which inputs (by number).
    pub stores: Vec<(Store, Vec<usize>)>,
    /// Woken by whoever has something for ingest.
    pub sleeper: Sleeper,
    /// Stop and its state.
    pub controls: Arc<Controls>,
    /// When a stop ends.
    pub drain: Drain,
    /// A file whose appearance asks for a stop.
    pub exit_when: Option<PathBuf>,
    /// What every file is read into.
    pub buffer: ReadBuffer,
    /// Lines a second, for replays.
    pub pace: Option<Pace>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// See the head of this file.
pub struct Ingest {
    parts: Parts,
    watch: Option<Watch>,
    routes: HashMap<Tag, Arc<Route>>,
    returned: Vec<(Chunk, Fate)>,
    /// Chunks that are with the outputs.
    away: usize,
    /// Bytes of files their events were.
    away_bytes: u64,
    /// Some input has something to read, and no memory for it.
    is_short_of_memory: bool,
    /// When notices about data are read next. `None`: all is quiet, and they are waited on.
    next_data: Option<Instant>,
    /// The shortest of all inputs.
    flush: Duration,
    /// How long what is read now may have been there.
    waited: Duration,
    next_look: Instant,
    next_scan: Instant,
    next_retire: Instant,
    next_save: Instant,
    positions_changed: bool,
    /// Every file that came before it is followed, if it could be opened.
    files_known: SystemTime,
    /// Notices come for every directory.
    covers_all: bool,
    mentions: Mentions<io::ErrorKind>,
    last_moved: Instant,
    intake_ended: bool,
    /// The outputs are gone, with chunks that were not acknowledged: the grace is over.
    is_abandoned: bool,
}

impl Ingest {
    /// Ready to run. No inotify (limits) means looking at files instead, and one log line.
    pub fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let wants_watch = parts.inputs.iter().any(|input| input.tail.settings().inotify_watcher);
        Self {
            watch: if wants_watch { open_watch() } else { None },
            flush: parts.inputs.iter().map(|i| i.chunks.flush()).min().unwrap_or_default(),
            parts,
            routes: HashMap::new(),
            returned: Vec::new(),
            away: 0,
            away_bytes: 0,
            is_short_of_memory: false,
            next_data: None,
            waited: Duration::ZERO,
            next_look: now,
            next_scan: now,
            next_retire: now,
            next_save: now,
            positions_changed: false,
            files_known: SystemTime::UNIX_EPOCH,
            covers_all: false,
            mentions: Mentions::default(),
            last_moved: now,
            intake_ended: false,
            is_abandoned: false,
        }
    }

    /// Runs until a stop was asked for and all that was taken in is settled, or the grace is
    /// over. The error is one of waiting, which no retry would help.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let now = Instant::now();
            self.welcome_home();
            self.scan(now);
            self.look(now);
            self.take_turns();
            self.take_frames();
            self.seal(Instant::now());
            self.hand_over();
            self.retire(now);
            self.save_positions(now);
            self.answer();
            if self.is_finished(now) {
                break;
            }
            self.wait()?;
        }
        self.finish();
        Ok(())
    }

    // === Reading

    fn take_turns(&mut self) {
        self.is_short_of_memory = false;
        if self.intake_ended {
            return;
        }
        for number in 0..self.parts.inputs.len() {
            for _ in 0..SLICES_A_ROUND {
                if self.parts.pace.as_mut().is_some_and(|pace| !pace.may_go(Instant::now())) {
                    return;
                }
                if !self.take_turn(number) {
                    break;
                }
            }
        }
    }

    /// Reads one slice of the file whose turn it is. False: nothing to read, or no memory.
    fn take_turn(&mut self, number: usize) -> bool {
        self.parts.inputs[number].complete_due_messages(Instant::now());
        if !self.send_messages(number) {
            self.lack_room(number);
            return false;
        }
        let input = &mut self.parts.inputs[number];
        let Some(id) = input.tail.next_file() else {
            return false;
        };
        let Some((tag, begin)) =
            input.tail.file(id).map(|file| (file.tag.clone(), file.next_offset()))
        else {
            return true;
        };
        let route = self.route(number, &tag);
        let input = &mut self.parts.inputs[number];
        let lent = Lent {
            buffer: &mut self.parts.buffer,
            filters: &mut self.parts.filters,
            pace: self.parts.pace.as_mut(),
            waited: self.waited,
        };
        match input.take_slice(id, &route, lent) {
            Turn::More => input.tail.has_more(id),
            Turn::AtEnd => input.end_burst(route.slot),
            Turn::NoRoom => {
                if input.tail.file(id).is_some_and(|file| file.next_offset() == begin) {
                    input.tail.keeps_its_turn(id);
                } else {
                    input.tail.has_more(id);
                }
                // What it will have lost if it is truncated before there is memory.
                input.tail.look(id, Instant::now());
                self.lack_room(number);
                return false;
            }
        }
        input.note_room();
        self.last_moved = Instant::now();
        // Spans without a share are settled as they are read.
        self.positions_changed = true;
        true
    }

    fn lack_room(&mut self, number: usize) {
        let (input, now) = (&mut self.parts.inputs[number], Instant::now());
        input.chunks.seal_all(Sealing::MemoryShort, now);
        input.note_short_of_memory(now);
        self.is_short_of_memory = true;
    }

    /// Sends the joined lines that are complete. False: no memory for some of them.
    fn send_messages(&mut self, number: usize) -> bool {
        for (id, tag) in self.parts.inputs[number].files_with_messages() {
            let route = self.route(number, &tag);
            let input = &mut self.parts.inputs[number];
            if !input.send_messages(id, &route, &mut self.parts.filters) {
                return false;
            }
            self.last_moved = Instant::now();
        }
        true
    }

    fn route(&mut self, number: usize, tag: &Tag) -> Arc<Route> {
        if let Some(route) = self.routes.get(tag)
            && route.input == number
        {
            return Arc::clone(route);
        }
        let slot = self.chunks(number).slot(tag);
        let route = Arc::new(Route {
            input: number,
            slot,
            filters: (0..self.parts.filters.len())
                .filter(|&filter| self.parts.filters[filter].takes(tag))
                .collect(),
            has_output: !self.parts.router.route(tag).is_empty(),
        });
        self.routes.insert(tag.clone(), Arc::clone(&route));
        route
    }

    // === Frames of clients

    /// Takes what clients have sent. Also when the intake has ended: what was read is ours to
    /// deliver.
    fn take_frames(&mut self) {
        for number in 0..self.parts.clients.len() {
            self.parts.clients[number].look(Instant::now());
            for _ in 0..SLICES_A_ROUND {
                if !self.take_frame_slice(number) {
                    break;
                }
            }
            let clients = &mut self.parts.clients[number];
            if !clients.has_more() {
                clients.seal_awaited();
            }
        }
    }

    /// Takes some events of the frame whose turn it is. False: there is none, or no memory.
    fn take_frame_slice(&mut self, number: usize) -> bool {
        let place = self.parts.inputs.len() + number;
        let clients = &mut self.parts.clients[number];
        if clients.forgets_tags(Instant::now()) {
            self.routes.retain(|_, route| route.input != place);
        }
        let Some(tag) = self.parts.clients[number].next_tag() else {
            return false;
        };
        let route = self.route(place, &tag);
        let clients = &mut self.parts.clients[number];
        let turn = clients.take_slice(&route, &mut self.parts.filters);
        if turn == Turn::NoRoom {
            clients.note_short_of_memory(Instant::now());
            return false;
        }
        clients.note_room();
        self.last_moved = Instant::now();
        turn == Turn::More
    }

    // === Sealing and handing over

    fn seal(&mut self, now: Instant) {
        let is_due = |input: &mut Input| input.chunks.next_due().is_some_and(|due| due <= now);
        if self.next_data.is_some() && self.parts.inputs.iter_mut().any(is_due) {
            // What was written until now goes along.
            self.hear_data(now);
            self.take_turns();
        }
        let is_stopping = self.parts.controls.is_stopping();
        let is_idle = now.duration_since(self.last_moved) >= RELEASE_AFTER;
        for chunks in self.all_chunks() {
            chunks.seal_due(now);
            if is_stopping {
                chunks.seal_all(Sealing::Stopping, now);
            }
            if is_idle {
                chunks.release_unused();
            }
        }
    }

    fn hand_over(&mut self) {
        for number in 0..self.parts.inputs.len() + self.parts.clients.len() {
            for chunk in self.chunks(number).take_sealed() {
                self.deliver(number, chunk);
            }
        }
    }

    fn deliver(&mut self, number: usize, mut chunk: Chunk) {
        self.parts.counters.chunks.add(1);
        self.parts.counters.events.add(u64::from(chunk.events));
        self.away += 1;
        self.away_bytes += chunk.file_bytes();
        let outputs = self.parts.router.route(&chunk.tag);
        self.pack(number, &mut chunk, &outputs);
        let deliveries = Delivery::of(chunk, outputs.len(), &self.parts.home);
        for (output, delivery) in outputs.into_iter().zip(deliveries) {
            (self.parts.outlets[output])(delivery);
        }
    }

    /// Compresses a chunk, once for all outputs that want it so. Outputs that want it otherwise
    /// each get their own form.
    fn pack(&mut self, number: usize, chunk: &mut Chunk, outputs: &[usize]) {
        let Parts { packers, inputs, clients, .. } = &mut self.parts;
        let codec_of = |output: &usize| packers[*output].as_ref().map(Packer::codec);
        let wanted: Vec<Option<Codec>> = outputs.iter().map(codec_of).collect();
        let is_for_all = wanted.iter().all(|codec| *codec == wanted[0]);
        for (at, &output) in outputs.iter().enumerate() {
            let Some(packer) = &mut packers[output] else {
                continue;
            };
            let codec = packer.codec();
            if wanted[..at].contains(&Some(codec)) {
                continue;
            }
            match packer.pack(&chunk.entries) {
                Some(packed) if is_for_all => {
                    chunks_of(inputs, clients, number).replace(chunk, codec, packed);
                }
                Some(packed) => chunk.add_form(codec, packed),
                None => {}
            }
        }
    }

    // === Positions

    fn save_positions(&mut self, now: Instant) {
        if !self.positions_changed || now < self.next_save || self.parts.stores.is_empty() {
            return;
        }
        self.next_save = now + SAVE_EVERY;
        self.positions_changed = false;
        // A file that came a moment ago goes along, and any other is younger than the positions.
        if !self.intake_ended {
            self.hear_names();
        }
        let taken = self.files_known - TICK;
        for (store, inputs) in &self.parts.stores {
            let tails = inputs.iter().map(|&number| &self.parts.inputs[number].tail);
            let positions = tails.flat_map(|tail| tail.files()).map(|f| f.stored_position());
            store.save(positions.collect(), taken);
        }
    }

    // === The open chunks of every input

    /// The open chunks of every input, in the order of their numbers.
    fn all_chunks(&mut self) -> impl Iterator<Item = &mut OpenChunks> {
        let files = self.parts.inputs.iter_mut().map(|input| &mut input.chunks);
        files.chain(self.parts.clients.iter_mut().map(|clients| &mut clients.chunks))
    }

    fn chunks(&mut self, number: usize) -> &mut OpenChunks {
        chunks_of(&mut self.parts.inputs, &mut self.parts.clients, number)
    }

    // === Waiting

    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let timeout = self.next_deadline(now).map(|deadline| deadline.duration_since(now));
        let with_data = self.next_data.is_none() && !self.intake_ended;
        let woken = self.parts.sleeper.wait(self.watch.as_ref(), with_data, timeout)?;
        if self.intake_ended {
            return Ok(());
        }
        if woken.by_names {
            self.hear_names();
        }
        let now = Instant::now();
        if woken.by_data || self.next_data.is_some_and(|next| next <= now) {
            self.hear_data(now);
        }
        Ok(())
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let is_busy = self.parts.inputs.iter().any(|input| input.tail.is_busy());
        if is_busy && !self.is_short_of_memory && !self.intake_ended {
            let resume = self.parts.pace.as_ref().and_then(Pace::resumes);
            return Some(resume.unwrap_or(now).max(now));
        }
        let has_frames = |clients: &Frames| clients.has_more() && !clients.is_short_of_memory();
        if self.parts.clients.iter().any(has_frames) {
            return Some(now);
        }
        let chunks = self.all_chunks().filter_map(OpenChunks::next_due).min();
        let next_message = |input: &Input| input.next_message(self.is_short_of_memory);
        let messages = self.parts.inputs.iter().filter_map(next_message).min();
        let has_rotated = self.parts.inputs.iter().any(|input| input.tail.has_rotated());
        let looks = self.watch.is_none()
            || self
                .parts
                .inputs
                .iter()
                .any(|i| i.tail.has_unwatched() || !i.tail.settings().inotify_watcher);
        let has_unused = self.all_chunks().any(|chunks| chunks.unused() > 0);
        let stops = self.parts.controls.is_stopping();
        let saves = self.positions_changed && !self.parts.stores.is_empty();
        let deadlines = [
            chunks,
            messages.filter(|_| !self.intake_ended),
            self.next_data,
            Some(self.next_scan).filter(|_| !self.intake_ended),
            Some(self.next_look).filter(|_| looks && !self.intake_ended),
            Some(self.next_retire).filter(|_| has_rotated && !self.intake_ended),
            Some(self.next_save).filter(|_| saves),
            Some(self.last_moved + RELEASE_AFTER).filter(|_| has_unused),
            Some(now + LOOK_EVERY).filter(|_| self.parts.exit_when.is_some() && !stops),
            Some(now + DATA_EVERY_LEAST).filter(|_| stops && !self.intake_ended),
            Some(now + SAVE_EVERY).filter(|_| stops),
        ];
        deadlines.into_iter().flatten().min().map(|deadline| deadline.max(now))
    }
}

/// The open chunks of an input, by its number.
fn chunks_of<'a>(
    inputs: &'a mut [Input],
    clients: &'a mut [Frames],
    number: usize,
) -> &'a mut OpenChunks {
    let files = inputs.len();
    if number < files { &mut inputs[number].chunks } else { &mut clients[number - files].chunks }
}

/// Files are numbered by the input that follows them: see `Tail::new`.
fn input_number(file: FileId) -> usize {
    usize::try_from(file.0 >> 48).expect("16 bits fit")
}

fn open_watch() -> Option<Watch> {
    match Watch::new() {
        Ok(watch) => Some(watch),
        Err(error) => {
            warn!(%error, "no inotify; looking at files four times a second instead");
            None
        }
    }
}
