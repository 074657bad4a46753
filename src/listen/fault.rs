//! What a receiver can be told to do wrong, for people who test their senders.
//!
//! In:  a name and what belongs to it: `late-ack:5s`
//! Out: a [`Fault`]; which one a server has decides how `connection` acknowledges

use std::str::FromStr;
use std::time::Duration;

use crate::model::units::{parse_integer, parse_time};
use crate::protocol::frame::WireId;

/// One thing that a receiver does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `no-ack`: takes frames and never acknowledges one.
    NoAck,
    /// `late-ack:DURATION`: waits so long before each acknowledgement, and reads nothing meanwhile.
    LateAck(Duration),
    /// `wrong-id`: acknowledges [`Fault::WRONG_ID`] in place of what was sent.
    WrongId,
    /// `split-ack`: writes each acknowledgement in two pieces, [`Fault::SPLIT_PAUSE`] apart.
    SplitAck,
    /// `close-after:N`: serves so many frames of a connection, and closes it when one more has come.
    CloseAfter(u64),
    /// `refuse-handshake`: greets with HELO and refuses whoever answers. It is the key that makes
    /// it: whoever starts the server gives it one that nobody knows.
    RefuseHandshake,
}

impl Fault {
    /// The id that `wrong-id` acknowledges: the str `wrong`.
    pub const WRONG_ID: WireId<'static> = WireId { encoded: b"\xa5wrong", bytes: b"wrong" };
    /// How long after the first piece the second comes, so that nobody reads both at once.
    pub const SPLIT_PAUSE: Duration = Duration::from_millis(100);
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let simple = |fault| match argument {
            None => Ok(fault),
            Some(_) => Err(format!("nothing belongs to it; write {name}")),
        };
        match name {
            "no-ack" => simple(Self::NoAck),
            "wrong-id" => simple(Self::WrongId),
            "split-ack" => simple(Self::SplitAck),
            "refuse-handshake" => simple(Self::RefuseHandshake),
            "late-ack" => argument
                .and_then(parse_time)
                .map(Self::LateAck)
                .ok_or_else(|| "it needs a time; write late-ack:5s or late-ack:200ms".to_owned()),
            "close-after" => argument
                .and_then(parse_integer)
                .and_then(|frames| u64::try_from(frames).ok())
                .map(Self::CloseAfter)
                .ok_or_else(|| "it needs a number of frames; write close-after:3".to_owned()),
            _ => {
                Err("write one of no-ack, late-ack:DURATION, wrong-id, split-ack, close-after:N, \
                      refuse-handshake"
                    .to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_name_and_what_belongs_to_it() {
        for (text, fault) in [
            ("no-ack", Fault::NoAck),
            ("late-ack:200ms", Fault::LateAck(Duration::from_millis(200))),
            ("late-ack:5", Fault::LateAck(Duration::from_secs(5))),
            ("wrong-id", Fault::WrongId),
            ("split-ack", Fault::SplitAck),
            ("close-after:0", Fault::CloseAfter(0)),
            ("refuse-handshake", Fault::RefuseHandshake),
        ] {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_is_told_what_to_write() {
        for (text, part) in [
            ("no-acks", "write one of no-ack, late-ack:DURATION, "),
            ("no-ack:3", "write no-ack"),
            ("late-ack", "write late-ack:5s"),
            ("late-ack:soon", "write late-ack:5s"),
            ("close-after", "write close-after:3"),
            ("close-after:-1", "write close-after:3"),
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
