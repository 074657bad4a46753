//! `[OUTPUT]` sections.
//!
//! In:  a section, and the backoff that `[SERVICE]` sets
//! Out: [`forward::Settings`](crate::forward::Settings)

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::Variables;
use super::error::Report;
use super::filters::{read_match, split_words};
use super::keys::{FORWARD, Group, NETWORK, OUTPUT, TLS};
use super::secure::{read_secret, read_self_hostname, read_shared_key, read_tls};
use super::service::read_preferred;
use super::tree::{Section, Tree};
use super::upstreams;
use super::values::Values;
use crate::forward::settings::{Keepalive, Probes, Security};
use crate::forward::{Backoff, IpVersion, RetryLimit, Settings, TagTemplate};
use crate::model::{Codec, Pattern, units};
use crate::tls;

static GROUPS: &[&Group] = &[&OUTPUT, &NETWORK, &TLS, &FORWARD];

/// What an output is told beside its own section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// It is the only output, and there is one input: it may go without a `Match`.
    pub(super) is_alone: bool,
    /// `scheduler.base` and `scheduler.cap`.
    pub(super) backoff: Backoff,
    /// What the Pod is called.
    pub(super) host_name: &'a str,
    /// `dns.prefer_ipv4` and `dns.prefer_ipv6`.
    pub(super) preferred: Option<IpVersion>,
    /// The main file.
    pub(super) main: &'a Path,
    /// What it says: in YAML it may hold the nodes.
    pub(super) tree: &'a Tree,
}

/// Reads a section with `Name forward`. `number` counts the outputs from 0 and makes its name.
pub(super) fn read_forward(
    section: &Section,
    number: usize,
    surroundings: Surroundings<'_>,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Settings {
    let mut values = Values::read(section, "the output 'forward'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let name = values.text("Alias").unwrap_or_else(|| format!("forward.{number}"));
    let host = values.text("Host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let mut settings = Settings::new(&name, &host, read_port(&values, report));
    (settings.pattern, settings.pattern_regex) = read_match(&values);
    if settings.pattern.is_none() && settings.pattern_regex.is_none() {
        settings.pattern = surroundings.is_alone.then(|| Pattern::new("*"));
        warn_of_no_match(&settings, &values, report);
    }
    settings.backoff = surroundings.backoff;
    settings.retry_limit = read_retry_limit(&values, report);
    settings.retry_max_age = values.time("Retry_Max_Age").filter(|age| !age.is_zero());
    settings.workers = read_workers(&values, report);
    settings.preferred = surroundings.preferred;
    read_network(&mut settings, &values, report);
    read_keepalive(&mut settings, &values, report);
    settings.compress = read_compression(&values, report);
    settings.unix_path = read_unix_path(&values, report);
    read_connection(&mut settings, &values, surroundings.host_name, report);
    if let Some(found) = values.find("Upstream") {
        settings.unix_path = None;
        for key in ["Host", "Port", "Unix_Path"] {
            if let Some(unused) = values.find(key) {
                report.note(&unused.place, "not used: the nodes of Upstream are");
            }
        }
        let (main, tree) = (surroundings.main, surroundings.tree);
        let (name, place, host_name) = (&found.value, &found.place, surroundings.host_name);
        let source = upstreams::Source { name, place, main, tree, host_name };
        settings.nodes = upstreams::read(source, &settings, variables, report);
    }
    settings
}

/// What a connection is told; the same keys in a `[NODE]` win over those of the output.
pub(super) fn read_connection(
    settings: &mut Settings,
    values: &Values,
    host_name: &str,
    report: &mut Report,
) {
    settings.require_ack = values.boolean("Require_ack_response").unwrap_or(settings.require_ack);
    settings.tls = read_tls(values, settings.tls.take(), report);
    note_any_name(settings.tls.as_ref(), values, report);
    settings.security = read_security(values, settings.security.take(), host_name, report);
    read_form(settings, values, report);
}

/// As in Fluent Bit, names are not verified unless that is written. With a CA of one's own that is
/// one thing; with those that everybody trusts, everybody who has a certificate is taken.
fn note_any_name(tls: Option<&tls::Settings>, values: &Values, report: &mut Report) {
    let takes_any = |tls: &&tls::Settings| {
        tls.verify && !tls.verify_hostname && tls.ca_file.is_none() && tls.ca_path.is_none()
    };
    if tls.filter(takes_any).is_none() || values.find("tls.verify_hostname").is_some() {
        return;
    }
    if let Some(found) = values.find("tls") {
        let message = "any server is taken whose certificate the system trusts, whatever its name; \
                       write 'tls.verify_hostname on', or the receiver's CA as tls.ca_file";
        report.note(&found.place, message);
    }
}

/// Beyond a few connections, one thread is what bounds the rate.
fn read_workers(values: &Values, report: &mut Report) -> u32 {
    const MOST: u32 = 16;
    let Some(number) = values.integer("Workers") else {
        return 1;
    };
    // 0 has Fluent Bit send without a thread of its own: over one connection, too.
    let workers = u32::try_from(number).unwrap_or(u32::MAX).max(1);
    if number < 0 || workers > MOST {
        let taken = if number < 0 { 1 } else { MOST };
        let message = format!("{number} is not from 0 to {MOST}; {taken} is taken");
        report.warn(&values.place("Workers"), message);
        return taken;
    }
    workers
}

fn warn_of_no_match(settings: &Settings, values: &Values, report: &mut Report) {
    if settings.pattern.is_none() {
        let message = "not written, so this output takes nothing; write for example 'Match *'";
        report.warn(&values.place("Match"), message);
    }
}

pub(super) fn read_port(values: &Values, report: &mut Report) -> u16 {
    const DEFAULT: u16 = 24_224;
    let Some(number) = values.integer("Port") else {
        return DEFAULT;
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => port,
        _ => {
            let message = format!("{number} is no port; write one from 1 to 65535");
            report.refuse_plugin(&values.place("Port"), message);
            DEFAULT
        }
    }
}

/// What cannot be read is taken as no limit, because that loses nothing. Fluent Bit takes it as 1.
fn read_retry_limit(values: &Values, report: &mut Report) -> RetryLimit {
    let Some(text) = values.text("Retry_Limit") else {
        return RetryLimit::NoLimits;
    };
    match text.to_ascii_lowercase().as_str() {
        "no_limits" | "false" | "off" => return RetryLimit::NoLimits,
        "no_retries" => return RetryLimit::Times(0),
        _ => {}
    }
    let times = units::leading_integer(&text).and_then(|times| u32::try_from(times).ok());
    if let Some(times) = times.filter(|times| *times > 0) {
        return RetryLimit::Times(times);
    }
    report.warn(
        &values.place("Retry_Limit"),
        format!(
            "'{text}' is no retry limit and is taken as no_limits (Fluent Bit takes it as 1); \
             write no_limits, no_retries or a count"
        ),
    );
    RetryLimit::NoLimits
}

fn read_network(settings: &mut Settings, values: &Values, report: &mut Report) {
    if let Some(time) = values.time("net.connect_timeout") {
        if time.is_zero() {
            let message = "must be more than 0 seconds; the default, 5s, holds";
            report.warn(&values.place("net.connect_timeout"), message);
        } else {
            settings.connect_timeout = time;
        }
    }
    if let Some(time) = values.time("net.io_timeout").filter(|time| !time.is_zero()) {
        settings.io_timeout = time;
        settings.ack_timeout = time;
    }
    settings.preferred =
        read_preferred(values, "net.dns.prefer_ipv4", "net.dns.prefer_ipv6").or(settings.preferred);
    if let Some(age) = values.time("net.max_connection_age") {
        settings.max_connection_age = Some(age).filter(|age| !age.is_zero());
    }
    if let Some(text) = values.text("net.source_address") {
        settings.source_address = text.parse().ok();
        if settings.source_address.is_none() {
            let message = format!("'{text}' is not an address; write for example '10.0.0.5'");
            report.refuse_plugin(&values.place("net.source_address"), message);
        }
    }
}

/// When connections end, and how the kernel looks after them.
fn read_keepalive(settings: &mut Settings, values: &Values, report: &mut Report) {
    let mut count = |name| {
        let number = values.integer(name)?;
        let positive = u32::try_from(number).ok().filter(|number| *number > 0);
        // -1 and 0 are how Fluent Bit says that nothing is written.
        if positive.is_none() && number < -1 {
            report.warn(&values.place(name), "must be more than 0; it is taken as not written");
        }
        positive
    };
    let frames = count("net.keepalive_max_recycle").map(u64::from);
    let seconds = |count: u32| Duration::from_secs(count.into());
    let usual = Probes::default();
    settings.probes = Probes {
        time: count("net.tcp_keepalive_time").map_or(usual.time, seconds),
        interval: count("net.tcp_keepalive_interval").map_or(usual.interval, seconds),
        count: count("net.tcp_keepalive_probes").unwrap_or(usual.count),
    };
    let is_kept = values.boolean("net.keepalive").unwrap_or(true);
    let idle_timeout = values.time("net.keepalive_idle_timeout").filter(|time| !time.is_zero());
    settings.keepalive = Keepalive { idle_timeout, frames: if is_kept { frames } else { Some(1) } };
}

/// What frames look like.
fn read_form(settings: &mut Settings, values: &Values, report: &mut Report) {
    settings.whole_seconds = values.boolean("Time_as_Integer").unwrap_or(settings.whole_seconds);
    if settings.whole_seconds && settings.compress.is_some() {
        let message = "does not go together with Compress; take one of them out";
        report.refuse_plugin(&values.place("Time_as_Integer"), message);
    }
    if let Some(text) = values.text("Tag") {
        match TagTemplate::parse(&text) {
            Ok(template) if template.asks_for_record() && settings.compress.is_some() => {
                let message = "a tag of each record does not go together with Compress; take one \
                               of them out (without a $key, Tag does)";
                report.refuse_plugin(&values.place("Tag"), message);
            }
            Ok(template) => settings.tag = Some(template),
            Err(error) => report.refuse_plugin(&values.place("Tag"), error.to_string()),
        }
    }
    if values.find("Add_Option").is_some() {
        settings.added_options.clear();
    }
    for found in values.all("Add_Option") {
        match &split_words(&found.value)[..] {
            [key, _] if ["size", "chunk", "compressed"].contains(&key.as_str()) => {
                report.refuse_plugin(&found.place, format!("'{key}' is written by the protocol"));
            }
            [key, value] => settings.added_options.push((key.clone(), value.clone())),
            _ => report.refuse_plugin(&found.place, "write a key and a value"),
        }
    }
}

fn read_compression(values: &Values, report: &mut Report) -> Option<Codec> {
    let text = values.text("Compress")?;
    match text.to_ascii_lowercase().as_str() {
        "text" => None,
        "gzip" => Some(Codec::Gzip),
        "zstd" => Some(Codec::Zstd),
        _ => {
            let message = format!("'{text}' is unknown; write gzip, zstd or text");
            report.refuse_plugin(&values.place("Compress"), message);
            None
        }
    }
}

fn read_unix_path(values: &Values, report: &mut Report) -> Option<PathBuf> {
    let path = values.text("Unix_Path").map(PathBuf::from)?;
    for name in ["Host", "Port"].into_iter().filter(|name| values.find(name).is_some()) {
        report.note(&values.place(name), "accepted, not obeyed: Unix_Path says where to connect");
    }
    Some(path)
}

/// `usual` is what holds where nothing is written.
fn read_security(
    values: &Values,
    usual: Option<Security>,
    host_name: &str,
    report: &mut Report,
) -> Option<Security> {
    let (name, key, user) = match usual {
        Some(Security { self_hostname, shared_key, user }) => {
            (self_hostname, Some(shared_key), user)
        }
        None => (format!("{host_name}.client"), None, None),
    };
    let (usual_user, usual_password) = user.unzip();
    let username = values.text("Username").or(usual_user);
    let password = read_secret("Password", "Password_File", values, report);
    let Some(shared_key) = read_shared_key(values, report).or(key) else {
        refuse_without_key(values, report);
        return None;
    };
    if username.is_none() && password.is_some() {
        let message = "is not sent without a Username; write one, or take it out";
        report.warn(&values.place("Password"), message);
    }
    let password = password.or_else(|| usual_password.flatten());
    let user = username.map(|name| (name, password));
    let self_hostname = read_self_hostname(&name, values, report);
    Some(Security { self_hostname, shared_key, user })
}

fn refuse_without_key(values: &Values, report: &mut Report) {
    for name in ["Username", "Password", "Password_File"] {
        if values.find(name).is_some() {
            let message = "is sent only with a shared key; write Shared_Key, Shared_Key_File or \
                           'Empty_Shared_Key On'";
            report.refuse_plugin(&values.place(name), message);
        }
    }
    if values.find("Self_Hostname").is_some() {
        let message = "accepted, not obeyed: only a shared key would send it";
        report.note(&values.place("Self_Hostname"), message);
    }
}
