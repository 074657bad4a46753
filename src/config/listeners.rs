//! `[INPUT]` sections with `Name forward`.
//!
//! In:  a section
//! Out: [`listen::Settings`](crate::listen::Settings)

use std::net::IpAddr;

use ipnet::IpNet;

use super::env::Variables;
use super::error::Report;
use super::filters::split_words;
use super::keys::{Group, INPUT, LISTEN, TLS_LISTEN};
use super::outputs::read_port;
use super::secure::{read_self_hostname, read_shared_key, read_tls};
use super::tree::Section;
use super::values::{Found, Values};
use crate::listen::Settings;
use crate::listen::settings::{Address, Neighbour, Security, TagRule};
use crate::model::{Secret, Tag};
use crate::protocol::OnBadEntry;
use crate::protocol::handshake::User;
use crate::secrets::Source;

static GROUPS: &[&Group] = &[&INPUT, &LISTEN, &TLS_LISTEN];

/// What says from where clients may come.
const NEIGHBOURS: [&str; 3] = ["Security.Allow", "Security.Client", "Security.Client_Key_File"];

/// Reads a section. `number` counts the `forward` inputs from 0 and makes its name; `host_name` is
/// what the Pod is called.
pub(super) fn read_forward(
    section: &Section,
    number: usize,
    host_name: &str,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Settings {
    let mut values = Values::read(section, "the input 'forward'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let name = values.text("Alias").unwrap_or_else(|| format!("forward.{number}"));
    let mut settings = Settings::new(&name, read_address(&values, report));
    settings.tag = read_tag(&values, report);
    read_limits(&mut settings, &values, report);
    if values.find("On_Bad_Entry").is_some_and(|found| found.is_one_of(&["skip"])) {
        settings.on_bad_entry = OnBadEntry::Skip;
    }
    settings.tls = read_tls(&values, None, report);
    if settings.tls.as_ref().is_some_and(|tls| tls.crt_file.is_none()) {
        let message = "a server needs a certificate; write tls.crt_file and tls.key_file";
        report.refuse_plugin(&values.place("tls.crt_file"), message);
    }
    read_security(&mut settings, host_name, &values, report);
    settings
}

/// A key that is written and empty must not open the door.
fn read_security(settings: &mut Settings, host_name: &str, values: &Values, report: &mut Report) {
    for key in ["Shared_Key", "Shared_Key_File"] {
        if let Some((place, because)) = values.emptied(key) {
            report.refuse_plugin(place, format!("the shared key is empty{because}"));
        }
    }
    for key in NEIGHBOURS.into_iter().chain(["Security.Users"]) {
        if let Some((place, because)) = values.emptied(key) {
            report.refuse_plugin(place, format!("is empty, and would let in anybody{because}"));
        }
    }
    let users = values.all("Security.Users").filter_map(|found| read_user(found, report));
    let users: Vec<User> = users.collect();
    let name = read_self_hostname(host_name, values, report);
    let with = |shared_key| Security { name: name.clone(), shared_key, users: users.clone() };
    settings.security = read_shared_key(values, report).map(with);
    let neighbours = read_neighbours(values, report);
    let has_key = settings.security.is_some() || neighbours.iter().any(|(_, key)| key.is_some());
    if let Some(found) = values.find("Security.Users").filter(|_| !has_key) {
        let message = "users are asked for only with a shared key; write Shared_Key too";
        report.refuse_plugin(&found.place, message);
    }
    settings.neighbours = neighbours
        .into_iter()
        .map(|(network, key)| {
            let security = key.map(with).or_else(|| settings.security.clone());
            Neighbour { network, security }
        })
        .collect();
}

/// Networks, and the key that clients from there have of their own.
fn read_neighbours(values: &Values, report: &mut Report) -> Vec<(IpNet, Option<Source>)> {
    let mut neighbours: Vec<(IpNet, _)> = Vec::new();
    for name in NEIGHBOURS {
        for found in values.all(name) {
            let Some((network, key)) = read_neighbour(name, found, report) else {
                continue;
            };
            if values.find("Unix_Path").is_some() {
                report.warn(&found.place, "is not used, because who uses Unix_Path has no address");
            } else if neighbours.iter().any(|(other, _)| *other == network) {
                let message = format!("{network} is written twice; keep one of them");
                report.refuse_plugin(&found.place, message);
            } else {
                neighbours.push((network, key));
            }
        }
    }
    neighbours
}

/// A network, and a key or its file: a variable that is not set leaves the network alone, which must
/// not open the door. Messages show only the first word, for the second is a secret.
fn read_neighbour(
    name: &str,
    found: &Found,
    report: &mut Report,
) -> Option<(IpNet, Option<Source>)> {
    let words = split_words(&found.value);
    let (network, key) = match (name, &words[..]) {
        ("Security.Allow", [network]) => (network, None),
        ("Security.Client", [network, key]) => {
            (network, Some(Source::Written(Secret::new(key.as_str()))))
        }
        ("Security.Client_Key_File", [network, file]) => (network, Some(Source::File(file.into()))),
        _ => {
            let usage = match name {
                "Security.Allow" => "is one network; write 'Security.Allow 10.0.0.0/8'",
                "Security.Client" => "is a network and a key; write 'Security.Client NETWORK KEY'",
                _ => "is a network and a file; write 'Security.Client_Key_File NETWORK FILE'",
            };
            report.refuse_plugin(&found.place, usage);
            return None;
        }
    };
    let read = read_network(network);
    if read.is_none() {
        let message = format!("'{network}' is no address, and no network such as 10.0.0.0/8");
        report.refuse_plugin(&found.place, message);
    }
    Some((read?, key))
}

/// An address is a network of one.
fn read_network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().or_else(address).map(|network| network.trunc())
}

fn read_user(found: &Found, report: &mut Report) -> Option<User> {
    let words = split_words(&found.value);
    let [name, password] = &words[..] else {
        let message = "is a user and a password; write 'Security.Users USER PASSWORD'";
        report.refuse_plugin(&found.place, message);
        return None;
    };
    Some(User { name: name.clone(), password: Secret::new(password.as_str()) })
}

fn read_address(values: &Values, report: &mut Report) -> Address {
    if let Some(path) = values.text("Unix_Path") {
        for key in ["Listen", "Port"] {
            if let Some(found) = values.find(key) {
                report.warn(&found.place, "is not used, because Unix_Path is written");
            }
        }
        return Address::Unix { path: path.into(), mode: read_mode(values, report) };
    }
    if let Some(found) = values.find("Unix_Perm") {
        report.warn(&found.place, "is not used without Unix_Path");
    }
    let host = values.text("Listen").unwrap_or_else(|| "0.0.0.0".to_owned());
    let takes_all = NEIGHBOURS.iter().all(|name| values.find(name).is_none());
    if takes_all && matches!(host.as_str(), "0.0.0.0" | "::") {
        report.note(
            &values.place("Listen"),
            format!(
                "{host} takes connections from everywhere; write 'Listen 127.0.0.1' if only the \
                 applications of this Pod send, or name those who may with Security.Allow"
            ),
        );
    }
    Address::Tcp { host, port: read_port(values, report) }
}

fn read_mode(values: &Values, report: &mut Report) -> Option<u32> {
    let text = values.text("Unix_Perm")?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    if mode.is_none() {
        let message = format!("'{text}' is no mode; write for example '0660'");
        report.refuse_plugin(&values.place("Unix_Perm"), message);
    }
    mode
}

/// With both, `Tag` is not used, as in Fluent Bit.
fn read_tag(values: &Values, report: &mut Report) -> TagRule {
    match (values.text("Tag_Prefix"), values.find("Tag")) {
        (Some(prefix), tag) => {
            if let Some(tag) = tag {
                report.warn(&tag.place, "is not used, because Tag_Prefix is written");
            }
            TagRule::Prefix(prefix)
        }
        (None, Some(tag)) => TagRule::Replace(Tag::new(&tag.value)),
        (None, None) => TagRule::Keep,
    }
}

fn read_limits(settings: &mut Settings, values: &Values, report: &mut Report) {
    match values.size("Mem_Buf_Limit") {
        None | Some(0) => report.note(
            &values.place("Mem_Buf_Limit"),
            "no limit is written; 16MB holds, so that memory cannot run out",
        ),
        Some(bytes) => settings.mem_buf_limit = bytes,
    }
    settings.buffer_max_size = values.size("Buffer_Max_Size").filter(|bytes| *bytes > 0);
    let half = settings.mem_buf_limit / 2;
    if settings.buffer_max_size.is_some_and(|written| written > half) {
        report.warn(
            &values.place("Buffer_Max_Size"),
            format!(
                "a frame may take half of Mem_Buf_Limit, which is {half} bytes; raise Mem_Buf_Limit \
                 to twice this"
            ),
        );
    }
}
