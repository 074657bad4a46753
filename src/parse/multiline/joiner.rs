//! What is pending of one file, and the messages it becomes.
//!
//! In:  lines, each with the place it came from
//! Out: messages, complete or taken to be; until it is taken away a message counts as held

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::rules::Step;
use super::{Around, Compiled, Group, Lines, Look, TEXT_KEY};
use crate::model::EventTime;
use crate::model::record::{write_bool, write_map_header, write_str};
use crate::parse::TimeFound;

/// The most streams (values of `Key_Group`) of one file whose lines are joined at a time.
const MOST_STREAMS: usize = 6;

/// What a message takes beyond its text and its other pairs: headers, and the mark of a division.
const OVERHEAD: usize = 40;

/// See the head of this file. `P` is what tells places in a file apart.
#[derive(Debug)]
pub struct Joiner<P> {
    /// The parser that took the last line that any took. Whatever is pending is its.
    last: usize,
    /// In the order in which they began.
    pending: Vec<Pending<P>>,
    ready: VecDeque<Message<P>>,
}

#[derive(Debug)]
struct Pending<P> {
    stream: String,
    /// The rule that its last line matched.
    rule: usize,
    due: Instant,
    /// `None`: what came of it so far has left. Lines that go on with it are a message of their own.
    message: Option<Message<P>>,
}

/// Where a line comes from, and when.
#[derive(Clone, Copy, Debug)]
pub struct Fed<P> {
    /// Where it begins.
    pub place: P,
    /// How many bytes of the file it takes.
    pub bytes: u64,
    /// The time of day at which it was read.
    pub read_at: EventTime,
    /// The same, for time-outs.
    pub now: Instant,
}

/// Joined lines, or a line that belongs to no other.
#[derive(Debug)]
pub struct Message<P> {
    /// Where its first line begins.
    pub place: P,
    /// How many bytes of the file its lines take.
    pub bytes: u64,
    /// The time its first line carries.
    pub time: TimeFound,
    /// When its first line was read.
    pub read_at: EventTime,
    /// It took too much memory, and its next line begins a message of its own.
    pub is_divided: bool,
    /// A line that fits none of the parsers although all of them parse lines.
    pub is_unparsed: bool,
    /// It is a line, which is parsed as any other ([`Message::line`]). Otherwise it is a record
    /// ([`Message::write`]).
    pub is_line: bool,
    key: Arc<str>,
    text: String,
    /// How many pairs its record has, and all but the text: those before it, and those after it.
    /// Of a line: what stands around the text.
    pairs: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl<P> Default for Joiner<P> {
    fn default() -> Self {
        Self { last: 0, pending: Vec::new(), ready: VecDeque::new() }
    }
}

impl<P: Copy> Joiner<P> {
    /// Takes a line. `record` is room for one, lent so that not every file has its own.
    pub fn feed(&mut self, group: &Group, line: &str, fed: Fed<P>, record: &mut Vec<u8>) {
        let last = self.last;
        let others = (0..group.parsers.len()).filter(|&number| number != last);
        let is_taken = std::iter::once(last).chain(others).any(|number| {
            let look = group.parsers[number].look(line, fed.read_at, record);
            look.is_some_and(|look| self.join(group, number, &look, fed))
        });
        if !is_taken {
            self.flush_all(group);
            let makes_records =
                |of: &Compiled| matches!(of.lines, Lines::Parsed(_) | Lines::FirstLines(_));
            let is_unparsed = group.parsers.iter().all(makes_records);
            let message = Message::alone(&group.parsers[self.last], line, fed);
            self.ready.push_back(Message { is_unparsed, ..message });
        }
    }

    /// False: the line is no part of a message of this parser.
    fn join(&mut self, group: &Group, number: usize, look: &Look<'_>, fed: Fed<P>) -> bool {
        let parser = &group.parsers[number];
        let is_of_stream = |pending: &Pending<P>| pending.stream == look.stream;
        let found = self.pending.iter().position(is_of_stream).filter(|_| number == self.last);
        let before = found.map(|at| self.pending[at].rule);
        let Some(step) = parser.rules.step(look, before) else {
            return false;
        };
        if number != self.last {
            self.flush_all(group);
            self.last = number;
        }
        let at = match found {
            Some(at) if !step.begins && self.pending[at].has_room(group.limit, look) => {
                self.pending[at].go_on(parser, step.rule, look, fed);
                at
            }
            found => self.begin(found, parser, step, look, fed),
        };
        if step.ends {
            self.complete(at, parser);
        }
        true
    }

    /// Begins a message. The one of the same stream is complete, or full.
    fn begin(
        &mut self,
        found: Option<usize>,
        parser: &Compiled,
        step: Step,
        look: &Look<'_>,
        fed: Fed<P>,
    ) -> usize {
        if let Some(at) = found {
            if let Some(message) = &mut self.pending[at].message {
                message.is_divided = !step.begins;
            }
            self.complete(at, parser);
        } else if self.pending.len() == MOST_STREAMS {
            self.complete(0, parser);
        }
        let message = Some(Message::beginning(parser, look, fed));
        let due = fed.now + parser.flush_after;
        let stream = look.stream.to_owned();
        self.pending.push(Pending { stream, rule: step.rule, due, message });
        self.pending.len() - 1
    }

    fn complete(&mut self, at: usize, parser: &Compiled) {
        if let Some(mut message) = self.pending.remove(at).message {
            message.end(parser.ends_with_newline);
            self.ready.push_back(message);
        }
    }

    /// Completes the messages whose last line came too long ago.
    pub fn flush_due(&mut self, group: &Group, now: Instant) {
        while let Some(at) = self.pending.iter().position(|pending| pending.due <= now) {
            self.complete(at, &group.parsers[self.last]);
        }
    }

    /// Divides the message that began first: what came of it so far is complete. False: none is
    /// pending.
    pub fn divide_oldest(&mut self, group: &Group) -> bool {
        let oldest = self.pending.iter_mut().find_map(|pending| pending.message.take());
        let Some(mut message) = oldest else {
            return false;
        };
        message.is_divided = true;
        message.end(group.parsers[self.last].ends_with_newline);
        self.ready.push_back(message);
        true
    }
}

impl<P> Joiner<P> {
    /// Completes every message.
    pub fn flush_all(&mut self, group: &Group) {
        let ends_with_newline = group.parsers[self.last].ends_with_newline;
        for mut message in self.pending.drain(..).filter_map(|pending| pending.message) {
            message.end(ends_with_newline);
            self.ready.push_back(message);
        }
    }

    /// When the first message is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.due).min()
    }

    /// When the last line of the message that began first came, or would have: for finding the
    /// oldest of several files.
    pub fn oldest_due(&self) -> Option<Instant> {
        self.pending.iter().find(|pending| pending.message.is_some()).map(|pending| pending.due)
    }

    /// The complete message that is to be taken away next.
    pub fn first_ready(&self) -> Option<&Message<P>> {
        self.ready.front()
    }

    /// Takes it away.
    pub fn take_ready(&mut self) -> Option<Message<P>> {
        self.ready.pop_front()
    }

    /// Every message that is held, pending or complete.
    pub fn held(&self) -> impl Iterator<Item = &Message<P>> {
        self.ready.iter().chain(self.pending.iter().filter_map(|pending| pending.message.as_ref()))
    }
}

impl<P> Pending<P> {
    fn has_room(&self, limit: usize, look: &Look<'_>) -> bool {
        let length = self.message.as_ref().map_or(0, Message::length);
        length == 0 || length + look.content.len() < limit
    }

    fn go_on(&mut self, parser: &Compiled, rule: usize, look: &Look<'_>, fed: Fed<P>) {
        self.rule = rule;
        self.due = fed.now + parser.flush_after;
        match &mut self.message {
            Some(message) => message.go_on(parser, look, fed.bytes),
            None => self.message = Some(Message::beginning(parser, look, fed)),
        }
    }
}

impl<P> Message<P> {
    fn new(text: &str, fed: Fed<P>) -> Self {
        Self {
            place: fed.place,
            bytes: fed.bytes,
            time: TimeFound::None,
            read_at: fed.read_at,
            is_divided: false,
            is_unparsed: false,
            is_line: false,
            key: Arc::from(TEXT_KEY),
            text: text.to_owned(),
            pairs: 1,
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// A line that belongs to no other.
    fn alone(parser: &Compiled, line: &str, fed: Fed<P>) -> Self {
        let mut message = Self::new(line, fed);
        message.is_line = matches!(parser.lines, Lines::Pieces(_));
        if let Lines::FirstLines(_) = parser.lines {
            message.key = Arc::clone(&parser.key);
        }
        message.end(parser.ends_with_newline);
        message
    }

    fn beginning(parser: &Compiled, look: &Look<'_>, fed: Fed<P>) -> Self {
        let mut message = Self::new(look.content, fed);
        message.is_line = matches!(parser.lines, Lines::Pieces(_));
        message.key = Arc::clone(&parser.key);
        message.time = look.time;
        if let Some(around) = &look.around {
            message.key = around.key.map_or(message.key, Arc::from);
            message.pairs = around.pairs;
            message.before = around.before.to_vec();
            message.after = around.after.to_vec();
        }
        message
    }

    fn go_on(&mut self, parser: &Compiled, look: &Look<'_>, bytes: u64) {
        self.bytes += bytes;
        if let (Lines::FirstLines(_), Some(around)) = (&parser.lines, &look.around) {
            return self.add_pairs(look.content, around);
        }
        let is_ended = matches!(parser.lines, Lines::Parsed(_)) && self.text.ends_with('\n');
        self.end(parser.joins_with_newline && !is_ended);
        self.text.push_str(look.content);
    }

    /// Adds the pairs of a later line; its text is the one that goes on now.
    fn add_pairs(&mut self, text: &str, around: &Around<'_>) {
        write_str(&mut self.before, &self.key);
        write_str(&mut self.before, &self.text);
        self.before.append(&mut self.after);
        self.before.extend_from_slice(around.before);
        self.after.extend_from_slice(around.after);
        self.pairs += around.pairs;
        text.clone_into(&mut self.text);
        if let Some(key) = around.key {
            self.key = Arc::from(key);
        }
    }

    fn end(&mut self, with_newline: bool) {
        if with_newline {
            self.text.push('\n');
        }
    }

    /// How many bytes it takes at most as a record.
    pub fn size(&self) -> usize {
        OVERHEAD + self.key.len() + self.length()
    }

    /// How many bytes of memory it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.text.capacity() + self.before.capacity() + self.after.capacity()
    }

    fn length(&self) -> usize {
        self.before.len() + self.text.len() + self.after.len()
    }

    /// The line it is.
    pub fn line(&self) -> Vec<u8> {
        [&self.before, self.text.as_bytes(), &self.after].concat()
    }

    /// Appends its record: that of its first line, with the joined text in it.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_map_header(out, self.pairs + usize::from(self.is_divided));
        out.extend_from_slice(&self.before);
        write_str(out, &self.key);
        write_str(out, &self.text);
        out.extend_from_slice(&self.after);
        if self.is_divided {
            write_str(out, "multiline_truncated");
            write_bool(out, true);
        }
    }
}
