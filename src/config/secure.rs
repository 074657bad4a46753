//! `tls.*`, shared keys and passwords, of outputs and of inputs alike.
//!
//! In:  the values of a section
//! Out: [`tls::Settings`], and where secrets come from. What a secret is stands in no message.

use std::path::PathBuf;

use super::error::Report;
use super::values::Values;
use crate::model::Secret;
use crate::secrets::Source;
use crate::tls::{self, Cipher, Version};

/// Keys that only `tls on` reads.
const WITH_TLS: [&str; 9] = [
    "tls.vhost",
    "tls.ca_file",
    "tls.ca_path",
    "tls.crt_file",
    "tls.key_file",
    "tls.key_passwd",
    "tls.min_version",
    "tls.max_version",
    "tls.ciphers",
];

/// Reads `tls` and `tls.*`. `None`: TLS is off.
pub(super) fn read_tls(values: &Values, report: &mut Report) -> Option<tls::Settings> {
    if !values.boolean("tls").unwrap_or(false) {
        for name in WITH_TLS.into_iter().filter(|name| values.find(name).is_some()) {
            report.note(&values.place(name), "accepted, not obeyed: only 'tls on' would read it");
        }
        return None;
    }
    let path = |name| values.text(name).map(PathBuf::from);
    let usual = tls::Settings::default();
    let settings = tls::Settings {
        verify: values.boolean("tls.verify").unwrap_or(usual.verify),
        verify_hostname: values.boolean("tls.verify_hostname").unwrap_or(usual.verify_hostname),
        vhost: values.text("tls.vhost"),
        ca_file: path("tls.ca_file"),
        ca_path: path("tls.ca_path"),
        crt_file: path("tls.crt_file"),
        key_file: path("tls.key_file"),
        key_passwd: values.text("tls.key_passwd").map(Secret::new),
        min_version: read_version("tls.min_version", values, report).unwrap_or(usual.min_version),
        max_version: read_version("tls.max_version", values, report).unwrap_or(usual.max_version),
        ciphers: read_ciphers(values, report),
    };
    if settings.min_version > settings.max_version {
        report.refuse_plugin(&values.place("tls.min_version"), "is above tls.max_version");
    }
    for (name, other) in [("tls.crt_file", "tls.key_file"), ("tls.key_file", "tls.crt_file")] {
        if values.find(name).is_some() && values.find(other).is_none() {
            report.refuse_plugin(&values.place(name), format!("needs {other} beside it"));
        }
    }
    Some(settings)
}

fn read_version(name: &str, values: &Values, report: &mut Report) -> Option<Version> {
    let text = values.text(name)?;
    match text.to_ascii_lowercase().as_str() {
        "tlsv1.2" => return Some(Version::Tls12),
        "tlsv1.3" => return Some(Version::Tls13),
        "sslv2" | "sslv3" | "tlsv1" | "tlsv1.0" | "tlsv1.1" if name == "tls.min_version" => {
            report.warn(&values.place(name), "nothing older than TLSv1.2 is spoken, which holds");
        }
        _ => report.refuse_plugin(
            &values.place(name),
            format!("'{text}' is not spoken; write TLSv1.2 or TLSv1.3"),
        ),
    }
    None
}

/// As with OpenSSL, what it does not know is passed over as long as something is left.
fn read_ciphers(values: &Values, report: &mut Report) -> Option<Vec<Cipher>> {
    let text = values.text("tls.ciphers")?;
    let names = text.split([':', ',', ' ']).filter(|name| !name.is_empty());
    let (mut ciphers, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        match Cipher::named(name) {
            Some(cipher) => ciphers.push(cipher),
            None => unknown.push(name),
        }
    }
    let place = values.place("tls.ciphers");
    if ciphers.is_empty() {
        let known = Cipher::NAMES.join(":");
        report.refuse_plugin(&place, format!("none of them is spoken; write some of {known}"));
    } else if !unknown.is_empty() {
        report.warn(&place, format!("{} is not spoken and is left out", unknown.join(", ")));
    }
    Some(ciphers)
}

/// A secret that is written under `name`, or in the file that `file_name` names.
pub(super) fn read_secret(
    name: &str,
    file_name: &str,
    values: &Values,
    report: &mut Report,
) -> Option<Source> {
    let written = values.text(name).map(|text| Source::Written(Secret::new(text)));
    let file = values.text(file_name).map(|path| Source::File(path.into()));
    if written.is_some() && file.is_some() {
        let message = format!("{name} is written too; keep one of them");
        report.refuse_plugin(&values.place(file_name), message);
    }
    written.or(file)
}

/// The shared key, if there is one. `Empty_Shared_Key` wins.
pub(super) fn read_shared_key(values: &Values, report: &mut Report) -> Option<Source> {
    let key = read_secret("Shared_Key", "Shared_Key_File", values, report);
    match values.boolean("Empty_Shared_Key") {
        Some(true) => Some(Source::Written(Secret::new(""))),
        _ => key,
    }
}

/// `Self_Hostname`, or `usual`.
pub(super) fn read_self_hostname(usual: &str, values: &Values, report: &mut Report) -> String {
    const LONGEST: usize = 255;
    let name = values.text("Self_Hostname").unwrap_or_else(|| usual.to_owned());
    if name.len() > LONGEST {
        let message = format!("has more than {LONGEST} bytes, which no peer reads");
        report.refuse_plugin(&values.place("Self_Hostname"), message);
    }
    name
}
