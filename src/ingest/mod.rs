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
pub mod frames;
pub mod input;
pub mod pace;
mod shortage;
pub mod stop;
pub mod wait;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tracing::{error, info, warn};

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
use crate::buffer::{
    Chunk, Delivery, Fate, Home, Loss, LossReason, OpenChunks, Packer, Router, Sealing,
};
use crate::checkpoint::Store;
use crate::filter::Filter;
use crate::model::{Codec, Counters, FileId, Mentions, Tag};
use crate::tail::{self, FollowedFile, Notice, ReadBuffer, Seen, Watch, watch};

/// Takes the deliveries of one output.
pub type Outlet = Box<dyn Fn(Delivery) + Send>;

/// How often notices about data are read while something is going on.
const DATA_EVERY: Duration = Duration::from_millis(20);
/// How often files are looked at where there are no notices at all.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often directories are listed where there are no notices at all.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How often positions are handed to the store, at most.
const SAVE_EVERY: Duration = Duration::from_millis(250);
/// How often rotated files are looked through for those that are done.
const RETIRE_EVERY: Duration = Duration::from_millis(500);
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
            parts,
            routes: HashMap::new(),
            returned: Vec::new(),
            away: 0,
            away_bytes: 0,
            is_short_of_memory: false,
            next_data: None,
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

    // === Chunks that come home

    fn welcome_home(&mut self) {
        self.parts.home.empty_into(&mut self.returned);
        for (chunk, fate) in std::mem::take(&mut self.returned) {
            self.away -= 1;
            self.away_bytes -= chunk.file_bytes();
            self.positions_changed = true;
            self.last_moved = Instant::now();
            self.settle(chunk, fate);
        }
    }

    fn settle(&mut self, chunk: Chunk, fate: Fate) {
        if fate == Fate::Abandoned {
            // The process ends: its lines are read again at the next start. The last word in the
            // log belongs to whoever ends it.
            self.is_abandoned = true;
            return;
        }
        self.count_ended(&chunk);
        let (buffer, shares) = chunk.into_parts();
        let Some(first) = shares.first() else {
            return;
        };
        let number = input_number(first.file);
        let Some(input) = self.parts.inputs.get_mut(number) else {
            let clients = &mut self.parts.clients[number - self.parts.inputs.len()];
            shares.iter().for_each(|share| clients.settle(share, fate));
            clients.chunks.recycle(buffer);
            return;
        };
        for share in &shares {
            input.tail.settle(share);
        }
        input.chunks.recycle(buffer);
    }

    /// What was not given up was acknowledged. Two outputs may give up the same events.
    fn count_ended(&mut self, chunk: &Chunk) {
        let (mut events, mut bytes) = (u64::from(chunk.events), chunk.file_bytes());
        for loss in &chunk.losses {
            let lost_events = (loss.events.len() as u64).min(events);
            let lost_bytes = chunk.file_bytes_of(&loss.events).min(bytes);
            events -= lost_events;
            bytes -= lost_bytes;
            let counters = &self.parts.counters;
            let (of_events, of_bytes) = match loss.reason {
                LossReason::RetryLimit => {
                    (&counters.lost_retry_limit, &counters.lost_retry_limit_bytes)
                }
                LossReason::MaxAge => (&counters.lost_max_age, &counters.lost_max_age_bytes),
                LossReason::Refused => (&counters.lost_refused, &counters.lost_refused_bytes),
            };
            of_events.add(lost_events);
            of_bytes.add(lost_bytes);
            if loss.reason == LossReason::Refused {
                self.say_refused(chunk, loss);
            }
        }
        let counters = &self.parts.counters;
        counters.chunks_acknowledged.add(u64::from(chunk.losses.is_empty()));
        counters.events_acknowledged.add(events);
        counters.bytes_acknowledged.add(bytes);
    }

    /// Only here is it known which file a chunk was made of.
    fn say_refused(&mut self, chunk: &Chunk, loss: &Loss) {
        let share = chunk.share_of(loss.events.start);
        let path = share.and_then(|share| {
            let input = self.parts.inputs.get_mut(input_number(share.file))?;
            Some(input.tail.file(share.file)?.path.display().to_string())
        });
        error!(
            file = path.unwrap_or_default(),
            from = share.map_or(0, |share| share.offset),
            to = share.map_or(0, |share| share.offset + share.bytes),
            tag = %chunk.tag,
            "an event is lost: the receiver refused it always, and took others meanwhile; \
             it lies between these offsets and begins with: {}",
            loss.beginning
        );
    }

    /// The open chunks of every input, in the order of their numbers.
    fn all_chunks(&mut self) -> impl Iterator<Item = &mut OpenChunks> {
        let files = self.parts.inputs.iter_mut().map(|input| &mut input.chunks);
        files.chain(self.parts.clients.iter_mut().map(|clients| &mut clients.chunks))
    }

    fn chunks(&mut self, number: usize) -> &mut OpenChunks {
        chunks_of(&mut self.parts.inputs, &mut self.parts.clients, number)
    }

    // === Finding files

    fn scan(&mut self, now: Instant) {
        let is_wanted = self.parts.inputs.iter().any(|input| input.tail.wants_scan());
        if self.intake_ended || (now < self.next_scan && !is_wanted) {
            return;
        }
        let files_known = SystemTime::now();
        self.cover_directories();
        let watch = &self.watch;
        let is_watched =
            |directory: &Path| watch.as_ref().is_some_and(|watch| watch.covers(directory));
        for input in &mut self.parts.inputs {
            input.tail.scan(now, is_watched);
        }
        self.files_known = files_known;
        self.positions_changed = true;
        self.next_scan = now + self.scan_interval();
    }

    fn scan_interval(&self) -> Duration {
        let refresh = |input: &Input| input.tail.settings().refresh_interval;
        let wanted = self.parts.inputs.iter().map(refresh).min().unwrap_or(LIST_EVERY);
        if self.watch.is_some() { wanted } else { wanted.min(LIST_EVERY) }
    }

    /// Watches before listing, so that nothing can appear between the two unnoticed.
    fn cover_directories(&mut self) {
        self.covers_all = false;
        let Some(watch) = &mut self.watch else {
            return;
        };
        let inputs = &self.parts.inputs;
        let directories = || inputs.iter().flat_map(|input| input.tail.directories()).collect();
        let Err(error) = watch.cover_all(directories) else {
            self.covers_all = true;
            return;
        };
        if watch::is_limit(&error) {
            warn!(%error, "no more watches; looking at files four times a second instead");
            self.watch = None;
        } else {
            let due = self.mentions.due(error.kind(), Instant::now());
            if let Some(times) = due {
                warn!(%error, times, "cannot watch a directory; its files are looked at now and then");
            }
        }
    }

    /// Looks at the files that notices do not reach.
    fn look(&mut self, now: Instant) {
        if now < self.next_look || self.intake_ended {
            return;
        }
        let all = self.watch.is_none();
        for input in &mut self.parts.inputs {
            let unwatched = all || !input.tail.settings().inotify_watcher;
            input.tail.look_at_unwatched(now, unwatched);
        }
        let interval = |input: &Input| input.tail.settings().progress_check_interval;
        let wanted = self.parts.inputs.iter().map(interval).min().unwrap_or(LOOK_EVERY);
        if self.watch.as_ref().is_some_and(Watch::has_lost_one) {
            self.next_scan = now;
        }
        let is_hurried = all || self.parts.controls.is_stopping();
        self.next_look = now + if is_hurried { wanted.min(LOOK_EVERY) } else { wanted };
    }

    fn hear_names(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let files_known = SystemTime::now();
        let inputs = &mut self.parts.inputs;
        let open = |notices: &[Notice]| {
            inputs.iter().map(|input| input.tail.open_new(notices)).collect::<Vec<_>>()
        };
        let (notices, opened) = tail::open_what_notices_mean(|| watch.take_names(), open);
        let mut opened = opened.unwrap_or_default().into_iter();
        let now = Instant::now();
        for input in inputs {
            input.tail.hear_names(&notices, opened.next().unwrap_or_default(), now);
        }
        if self.covers_all && !self.parts.inputs.iter().any(|input| input.tail.wants_scan()) {
            self.files_known = files_known;
        }
    }

    fn hear_data(&mut self, now: Instant) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let notices = watch.take_data();
        for input in &mut self.parts.inputs {
            input.tail.hear_data(&notices, now);
        }
        let is_quiet = notices.is_empty() && !self.parts.inputs.iter().any(|i| i.tail.is_busy());
        self.next_data = if is_quiet { None } else { Some(now + DATA_EVERY) };
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
        let Some(tag) = input.tail.file(id).map(|file| file.tag.clone()) else {
            return true;
        };
        let route = self.route(number, &tag);
        let input = &mut self.parts.inputs[number];
        let lent = Lent {
            buffer: &mut self.parts.buffer,
            filters: &mut self.parts.filters,
            pace: self.parts.pace.as_mut(),
        };
        match input.take_slice(id, &route, lent) {
            Turn::More => input.tail.has_more(id),
            Turn::AtEnd => input.end_burst(route.slot),
            Turn::NoRoom => {
                input.tail.has_more(id);
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
                    let buffer = chunk.replace(codec, packed);
                    chunks_of(inputs, clients, number).recycle(buffer);
                }
                Some(packed) => chunk.add_form(codec, packed),
                None => {}
            }
        }
    }

    // === The end of files, and positions

    fn retire(&mut self, now: Instant) {
        if now < self.next_retire || self.intake_ended {
            return;
        }
        self.next_retire = now + RETIRE_EVERY;
        for number in 0..self.parts.inputs.len() {
            for id in self.parts.inputs[number].tail.ending(now) {
                self.send_partial(number, id);
            }
            self.parts.inputs[number].tail.retire(now);
            self.parts.inputs[number].tail.let_go_of_surplus(now);
            self.parts.inputs[number].forget_joined_files();
        }
    }

    /// Sends the unterminated last line of a file whose life, or ours, is at its end. False: there
    /// was no memory for it, or the line is complete by now.
    fn send_partial(&mut self, number: usize, id: FileId) -> bool {
        let input = &mut self.parts.inputs[number];
        let Some(tag) = input.tail.file(id).map(|file| file.tag.clone()) else {
            return true;
        };
        let route = self.route(number, &tag);
        let input = &mut self.parts.inputs[number];
        let lent =
            Lent { buffer: &mut self.parts.buffer, filters: &mut self.parts.filters, pace: None };
        match input.take_partial(id, &route, lent) {
            Turn::AtEnd => true,
            Turn::More => {
                input.tail.has_more(id);
                false
            }
            Turn::NoRoom => {
                input.chunks.seal_all(Sealing::MemoryShort, Instant::now());
                false
            }
        }
    }

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

    // === Stopping

    /// Whether the process may end: everything taken in is settled. Ends the intake on the way.
    fn is_finished(&mut self, now: Instant) -> bool {
        if self.is_abandoned {
            return true;
        }
        let has_marker = self.parts.exit_when.as_ref().is_some_and(|marker| marker.exists());
        if has_marker || self.parts.inputs.iter_mut().any(Input::has_read_all_it_wants) {
            self.parts.controls.stop();
        }
        if !self.parts.controls.is_stopping() {
            return false;
        }
        let drain = self.parts.drain.started(now);
        self.parts.controls.report_left(|| self.left());
        if !self.intake_ended && (drain.must_end_intake(now) || self.is_quiet(now)) {
            let has_sent_all = self.send_all_partials();
            self.intake_ended = has_sent_all || drain.must_end_intake(now);
        }
        if !self.intake_ended {
            return false;
        }
        self.parts.clients.iter().for_each(Frames::end_intake);
        self.parts.clients.iter_mut().for_each(|clients| clients.look(now));
        self.away == 0 && self.parts.clients.iter().all(Frames::is_done)
    }

    fn is_quiet(&mut self, now: Instant) -> bool {
        let quiet = self.parts.drain.quiet(now);
        let is_quiet = |input: &Input| input.tail.is_quiet(now, &quiet);
        let have_said_all = self.parts.clients.iter().all(|clients| clients.is_quiet(now, &quiet));
        if !have_said_all || !self.parts.inputs.iter().all(is_quiet) {
            return false;
        }
        // Once more with our own eyes: a notice may be on its way.
        self.hear_names();
        for input in &mut self.parts.inputs {
            input.tail.look_at_unwatched(now, true);
        }
        self.parts.inputs.iter().all(is_quiet)
    }

    fn send_all_partials(&mut self) -> bool {
        let mut has_sent_all = true;
        for number in 0..self.parts.inputs.len() {
            self.parts.inputs[number].complete_all_messages();
            has_sent_all &= self.send_messages(number);
            for id in self.parts.inputs[number].tail.ids() {
                has_sent_all &= self.send_partial(number, id);
            }
            self.parts.inputs[number].chunks.seal_all(Sealing::Stopping, Instant::now());
        }
        self.hand_over();
        has_sent_all
    }

    /// What is not acknowledged yet, file by file.
    fn left(&self) -> Vec<(PathBuf, u64)> {
        let files = self.parts.inputs.iter().flat_map(|input| input.tail.files());
        let files = files.map(|file| (file.path.to_path_buf(), file.unsettled()));
        let frames = self.parts.clients.iter().flat_map(Frames::left);
        let frames = frames.map(|(whose, bytes)| (PathBuf::from(whose), bytes));
        files.chain(frames).filter(|(_, bytes)| *bytes > 0).collect()
    }

    fn finish(mut self) {
        self.positions_changed = true;
        self.next_save = Instant::now();
        self.save_positions(Instant::now());
        self.parts.controls.report_left(|| self.left());
        if !self.is_abandoned {
            self.balance();
        }
        self.parts.clients.iter_mut().for_each(Frames::finish);
        self.say_what_became_of_frames();
        for (store, _) in std::mem::take(&mut self.parts.stores) {
            store.finish();
        }
    }

    /// Says where every byte went. A difference is a fault of ours.
    fn balance(&self) {
        let accounts = self.accounts(self.seen());
        if accounts.is_balanced() {
            info!("bytes: {accounts}");
        } else {
            error!("bytes are unaccounted for, please report it: {accounts}");
        }
    }

    // === Figures

    /// Answers whoever asked. What each chunk is part of is settled between two rounds, so that
    /// the accounts balance.
    fn answer(&self) {
        let asking = self.parts.controls.take_asking();
        if asking.is_empty() || self.is_abandoned {
            return;
        }
        let figures = self.figures();
        asking.into_iter().for_each(|answer| answer(figures.clone()));
    }

    fn figures(&self) -> Figures {
        let (inputs, seen) = (&self.parts.inputs, self.seen());
        let files = || inputs.iter().flat_map(|input| input.tail.files());
        let deleted = files().filter(|file| file.is_deleted && file.is_open());
        Figures {
            counters: self.parts.counters.each().collect(),
            accounts: self.accounts(seen),
            seen,
            followed_files: files().count(),
            open_files: files().filter(|file| file.is_open()).count(),
            held_deleted: deleted.map(FollowedFile::size).sum(),
            inputs: inputs.iter().map(Input::figures).collect(),
        }
    }

    fn accounts(&self, seen: Seen) -> Accounts {
        let inputs = &self.parts.inputs;
        Accounts {
            held_unread: inputs.iter().map(|input| input.tail.unread()).sum(),
            held_in_memory: self.away_bytes
                + inputs.iter().map(Input::bytes_in_memory).sum::<u64>(),
            ..Accounts::of(&self.parts.counters, seen)
        }
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        self.parts.inputs.iter().for_each(|input| seen += input.tail.seen());
        seen
    }

    fn say_what_became_of_frames(&self) {
        if self.parts.clients.is_empty() {
            return;
        }
        let counters = &self.parts.counters;
        info!(
            "frames: {} taken, {} of them delivered; {} came again; {} refused; {} events came \
             without `chunk`, {} of them are lost",
            counters.frames.get(),
            counters.frames_delivered.get(),
            counters.frames_repeated.get(),
            counters.frames_refused.get(),
            counters.unconfirmed.get(),
            counters.lost_stop.get(),
        );
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
            Some(now + DATA_EVERY).filter(|_| stops && !self.intake_ended),
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
