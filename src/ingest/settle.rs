//! Chunks that come home.
//!
//! In:  chunks, with what became of them
//! Out: their shares settled, every event and byte of them counted

use std::time::Instant;

use tracing::error;

use super::{Ingest, input_number};
use crate::buffer::{Chunk, Fate, Loss, LossReason};

impl Ingest {
    pub(super) fn welcome_home(&mut self) {
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
}
