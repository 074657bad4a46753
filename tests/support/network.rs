//! A network of a test's own, in which packets can be lost.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tools::{needs_root, output_of};

const INSTALL: &str = "apt-get install --no-install-recommends iproute2 iptables util-linux";

/// A network that has a loopback and nothing else.
pub struct Network(());

impl Network {
    /// Moves the calling thread into a new one; threads and processes that it starts from then on
    /// are in there too. It is gone with the last of them.
    pub fn enter() -> Self {
        needs_root("it loses packets in a network of its own");
        let mut first = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare: {error}; run `{INSTALL}`"));
        let mut said = String::new();
        BufReader::new(first.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "there is no network; run `{INSTALL}`");
        let network = File::open(format!("/proc/{}/ns/net", first.id())).unwrap();
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        // It has nothing more to read, and ends.
        drop(first.stdin.take());
        first.wait().unwrap();
        Self(())
    }

    /// Loses every packet to and from a port, without a word to anybody.
    pub fn loses_everything(&self, port: u16) {
        self.loses("--dport", port);
        self.loses_answers(port);
    }

    /// Loses every packet from a port.
    pub fn loses_answers(&self, port: u16) {
        self.loses("--sport", port);
    }

    fn loses(&self, side: &str, port: u16) {
        let port = port.to_string();
        iptables(&["--append", "INPUT", "--protocol", "tcp", side, &port, "--jump", "DROP"]);
    }

    /// Loses nothing any more.
    pub fn heals(&self) {
        iptables(&["--flush", "INPUT"]);
    }
}

fn iptables(arguments: &[&str]) {
    output_of(Command::new("iptables").arg("--wait").args(arguments), INSTALL);
}
