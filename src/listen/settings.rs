//! What a `forward` input is set to.

use std::fmt;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::Tag;
use crate::protocol::OnBadEntry;
use crate::protocol::handshake::User;
use crate::{secrets, tls};

/// One `[INPUT]` with `Name forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Alias`, or `forward.<n>`: what logs and metrics call this input.
    pub name: String,
    /// Where clients connect to.
    pub address: Address,
    /// `Tag` and `Tag_Prefix`.
    pub tag: TagRule,
    /// `Mem_Buf_Limit`, in bytes: what all its connections, frames and chunks may take.
    pub mem_buf_limit: usize,
    /// What clients must know. `None`: nothing.
    pub security: Option<Security>,
    /// `Security.Allow`, `Security.Client` and `Security.Client_Key_File`: from where clients may
    /// come. None: from everywhere.
    pub neighbours: Vec<Neighbour>,
    /// `tls.*`. `None`: TLS is off.
    pub tls: Option<tls::Settings>,
    /// `Buffer_Max_Size`, in bytes. `None`: half of `Mem_Buf_Limit` is the only limit.
    pub buffer_max_size: Option<usize>,
    /// `On_Bad_Entry`.
    pub on_bad_entry: OnBadEntry,
}

/// What clients must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// `Self_Hostname`: what we call ourselves.
    pub name: String,
    /// `Shared_Key`, `Shared_Key_File` or `Empty_Shared_Key`.
    pub shared_key: secrets::Source,
    /// `Security.Users`. None: no user is asked for.
    pub users: Vec<User>,
}

/// Whom to let in from some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The addresses. Where several networks have a client's, the smallest of them holds.
    pub network: IpNet,
    /// What clients from there must know. `None`: nothing.
    pub security: Option<Security>,
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `Listen` and `Port`.
    Tcp {
        /// An address, or a name that has one.
        host: String,
        /// The port; 0 lets the system choose one.
        port: u16,
    },
    /// `Unix_Path` and `Unix_Perm`.
    Unix {
        /// The socket file.
        path: PathBuf,
        /// Its mode. `None`: what the umask leaves.
        mode: Option<u32>,
    },
}

/// What becomes of the tag that a client writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TagRule {
    /// It stays.
    #[default]
    Keep,
    /// `Tag`: this one is used instead.
    Replace(Tag),
    /// `Tag_Prefix`: this stands before it.
    Prefix(String),
}

impl Settings {
    /// How much of `Mem_Buf_Limit` is used unless it is written, in bytes.
    pub const MEM_BUF_LIMIT: usize = 16_000_000;

    /// All defaults.
    pub fn new(name: &str, address: Address) -> Self {
        Self {
            name: name.to_owned(),
            address,
            tag: TagRule::Keep,
            mem_buf_limit: Self::MEM_BUF_LIMIT,
            security: None,
            neighbours: Vec::new(),
            tls: None,
            buffer_max_size: None,
            on_bad_entry: OnBadEntry::Reject,
        }
    }

    /// The most bytes a frame may have, as it comes and once inflated.
    pub fn largest_frame(&self) -> usize {
        let half = self.mem_buf_limit / 2;
        self.buffer_max_size.map_or(half, |written| written.min(half))
    }

    /// The key that sets it.
    pub fn largest_frame_key(&self) -> &'static str {
        match self.buffer_max_size {
            Some(written) if written < self.mem_buf_limit / 2 => "Buffer_Max_Size",
            _ => "Mem_Buf_Limit (a frame may take half of it)",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

impl TagRule {
    /// The tag that events of a frame with the tag `written` get.
    pub fn apply(&self, written: &str) -> Tag {
        match self {
            Self::Keep => Tag::new(written),
            Self::Replace(tag) => tag.clone(),
            Self::Prefix(prefix) => Tag::new(&format!("{prefix}{written}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_the_two_limits_holds_and_is_named() {
        let address = Address::Unix { path: "s".into(), mode: None };
        let mut settings = Settings::new("forward.0", address);
        settings.mem_buf_limit = 1000;
        for (written, largest, key) in [
            (None, 500, "Mem_Buf_Limit"),
            (Some(400), 400, "Buffer_Max_Size"),
            (Some(600), 500, "Mem_Buf_Limit"),
        ] {
            settings.buffer_max_size = written;
            assert_eq!(settings.largest_frame(), largest);
            assert!(settings.largest_frame_key().starts_with(key), "{written:?}");
        }
    }

    #[test]
    fn a_tag_stays_is_replaced_or_gets_a_prefix() {
        for (rule, tag) in [
            (TagRule::Keep, "app"),
            (TagRule::Replace(Tag::new("all")), "all"),
            (TagRule::Prefix("pod.".to_owned()), "pod.app"),
        ] {
            assert_eq!(rule.apply("app").as_str(), tag);
        }
    }
}
