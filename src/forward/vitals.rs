//! Tells a network that is gone from a receiver that takes its time.
//!
//! In:  a connection
//! Out: the same, with limits that the kernel holds: what no longer answers is closed, what answers
//!      and reads nothing is waited for, as long as `net.io_timeout` says
//!
//! Linux counts the time in which a receiver has no room as time without an answer, although its
//! kernel answers every probe. So the limit is lifted while it does.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::settings::Probes;

/// How long bytes may stay unconfirmed by the peer's kernel before the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(8);
/// How long nothing may come back before [`review`] looks why: well before the kernel gives up.
pub(super) const REVIEW_AFTER: Duration = Duration::from_secs(4);

/// Has the kernel close the connection when the other side no longer answers.
pub(super) fn notice_death(stream: &TcpStream, probes: Probes) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(probes.time)
        .with_interval(probes.interval)
        .with_retries(probes.count);
    socket.set_tcp_keepalive(&keepalive)?;
    limit(stream, Some(DEAD_AFTER))
}

/// Nothing has come back for [`REVIEW_AFTER`]: lifts the limit if the other side's kernel answers
/// and only has no room, and sets it if not.
pub(super) fn review(stream: &TcpStream) {
    let answers = kernel_says(stream).is_some_and(|line| answers_without_room(&line));
    if let Err(error) = limit(stream, (!answers).then_some(DEAD_AFTER)) {
        tracing::debug!(%error, "cannot set how long a connection may be without an answer");
    }
}

#[cfg(target_os = "linux")]
fn limit(stream: &TcpStream, limit: Option<Duration>) -> io::Result<()> {
    SockRef::from(stream).set_tcp_user_timeout(limit)
}

/// Only Linux can be told.
#[cfg(not(target_os = "linux"))]
fn limit(_: &TcpStream, _: Option<Duration>) -> io::Result<()> {
    Ok(())
}

/// What the kernel says of a connection, if it does: its line in `/proc/net/tcp`, found by its
/// inode, which stands tenth.
fn kernel_says(stream: &TcpStream) -> Option<String> {
    let inode = rustix::fs::fstat(stream.as_fd()).ok()?.st_ino.to_string();
    ["/proc/self/net/tcp", "/proc/self/net/tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        let mut lines = table.lines();
        lines.find(|line| line.split_ascii_whitespace().nth(9) == Some(&inode)).map(str::to_owned)
    })
}

/// Whether a line of that table says that the other side has no room, and that it has answered the
/// last probe, or the one before if that one is on its way. The sixth word begins with the timer
/// that runs (4: a probe is due); the eighth word counts probes that nobody has answered.
fn answers_without_room(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace().skip(5);
    let (Some(timer), Some(unanswered)) = (words.next(), words.nth(2)) else {
        return false;
    };
    timer.starts_with("04:") && unanswered.parse().is_ok_and(|count: u32| count < 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_without_room_that_answers_is_told_from_one_that_is_gone() {
        let line = |timer: &str, unanswered: &str| {
            format!(
                "   7: 0100007F:9C40 0100007F:8707 01 00280A01:00000000 {timer}:00000B29 00000000 \
                 \u{20}   0 {unanswered} 481516 2 0000000000000000 20 4 30 10 -1"
            )
        };
        assert!(answers_without_room(&line("04", "0")));
        assert!(answers_without_room(&line("04", "1")), "that one is on its way");
        assert!(!answers_without_room(&line("04", "2")));
        assert!(!answers_without_room(&line("01", "0")), "data is sent again and again");
        assert!(!answers_without_room(&line("02", "0")));
        assert!(!answers_without_room(""));
    }
}
