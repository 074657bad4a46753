//! Parsers: finds their files and reads their sections.
//!
//! In:  names of parser files, and sections
//! Out: a [`Definition`] each, multiline ones too, and what we cannot do of it

use std::path::{Path, PathBuf};

use super::env::Variables;
use super::error::{Place, Problem, Report, did_you_mean};
use super::keys::{Group, PARSER};
use super::multiline::Defined as JoiningDefined;
use super::tree::{Kind, Section, Tree, folder_of};
use super::values::Values;
use crate::parse::{Definition, Format, Parser, Type, multiline};

static GROUPS: &[&Group] = &[&PARSER];

/// Every parser there is.
#[derive(Debug, Default)]
pub(super) struct Parsers {
    defined: Vec<Defined>,
    joining: Vec<JoiningDefined>,
}

/// A parser and what stands against using it.
#[derive(Debug)]
struct Defined {
    definition: Definition,
    /// Keys of it that we do not obey and that would change the data.
    unsupported: Vec<Problem>,
    regex: Place,
    time_format: Place,
    used: bool,
}

impl Parsers {
    /// Reads one parser file and everything it includes.
    pub(super) fn read_file(
        &mut self,
        path: &Path,
        variables: &Variables<'_>,
        report: &mut Report,
    ) {
        let tree = Tree::read(path, report);
        for variable in &tree.variables {
            report.warn(&variable.place, "is ignored in a parser file; set it in the main file");
        }
        for section in &tree.sections {
            match section.kind {
                Kind::Parser | Kind::MultilineParser => self.add(section, variables, report),
                _ => report.warn(&section.place, "this section is ignored in a parser file"),
            }
        }
    }

    /// Adds what `section` defines. Two parsers of one name are refused, as in Fluent Bit.
    pub(super) fn add(
        &mut self,
        section: &Section,
        variables: &Variables<'_>,
        report: &mut Report,
    ) {
        if section.kind == Kind::MultilineParser {
            return self.add_multiline(section, variables, report);
        }
        let Some(defined) = read(section, variables, report) else {
            return;
        };
        let name = &defined.definition.name;
        if self.defined.iter().any(|other| other.definition.name == *name) {
            let message = format!("there is a parser '{name}' already; give this one another name");
            return report.refuse(&section.place, message);
        }
        self.defined.push(defined);
    }

    fn add_multiline(&mut self, section: &Section, variables: &Variables<'_>, report: &mut Report) {
        let Some(defined) = super::multiline::read(section, variables, report) else {
            return;
        };
        let name = &defined.definition.name;
        if multiline::builtin(name).is_some() {
            let message = format!("takes the place of the built-in multiline parser '{name}'");
            report.warn(&section.place, message);
        }
        let is_same = |other: &JoiningDefined| other.definition.name.eq_ignore_ascii_case(name);
        if self.joining.iter().any(is_same) {
            let message =
                format!("there is a multiline parser '{name}' already; give this one another name");
            return report.refuse(&section.place, message);
        }
        self.joining.push(defined);
    }

    /// Whether there is a multiline parser `name`, in any case. If not, the report says so.
    pub(super) fn can_join(&self, name: &str, place: &Place, report: &mut Report) -> bool {
        let own = self.joining.iter().map(|defined| defined.definition.name.as_str());
        let names: Vec<&str> = own.chain(multiline::BUILT_IN).collect();
        let is_there = names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if !is_there {
            let hint = did_you_mean(name, names.iter().copied());
            let message = format!(
                "there is no multiline parser '{name}'; there are {}{hint}",
                names.join(", ")
            );
            report.refuse_plugin(place, message);
        }
        is_there
    }

    /// Whether there is a parser `name`. If not, lines go unparsed, as in Fluent Bit, and the
    /// report says so.
    pub(super) fn is_there(&mut self, name: &str, place: &Place, report: &mut Report) -> bool {
        let is_there = self.take(name).is_some();
        if !is_there {
            let hint = self.nearest(name);
            report.warn(place, format!("there is no parser '{name}'; lines go out as text{hint}"));
        }
        is_there
    }

    /// The parser `name`, which is used from now on.
    pub(super) fn take(&mut self, name: &str) -> Option<Definition> {
        let found = self.defined.iter_mut().find(|parser| parser.definition.name == name)?;
        found.used = true;
        Some(found.definition.clone())
    }

    /// `; did you mean 'X'?`, or nothing.
    pub(super) fn nearest(&self, name: &str) -> String {
        did_you_mean(name, self.defined.iter().map(|parser| parser.definition.name.as_str()))
    }

    /// The definitions. What cannot be done of a parser stops the start only if an input uses it:
    /// parser files are handed around as wholes.
    pub(super) fn finish(
        mut self,
        report: &mut Report,
    ) -> (Vec<Definition>, Vec<multiline::Definition>) {
        let joining = std::mem::take(&mut self.joining);
        let joining: Vec<_> =
            joining.into_iter().map(|defined| self.finish_multiline(defined, report)).collect();
        let finish = |mut defined: Defined| {
            let problems = if defined.used { &mut report.problems } else { &mut report.notes };
            problems.append(&mut defined.unsupported);
            if defined.used {
                defined.compile(report);
            }
            defined.definition
        };
        (self.defined.into_iter().map(finish).collect(), joining)
    }

    /// Gives a multiline parser the parser of its lines, and finds out what compiling it says.
    fn finish_multiline(
        &mut self,
        defined: JoiningDefined,
        report: &mut Report,
    ) -> multiline::Definition {
        let JoiningDefined { mut definition, parser, rules, place } = defined;
        // What is wrong with the parser of its lines is said where that one is.
        if let Err(error) = multiline::Group::compile(&[definition.clone()], usize::MAX) {
            let place = match &error {
                multiline::MultilineError::Rule { number, .. } => &rules[*number],
                _ => &place.with_key("Rule"),
            };
            report.refuse(place, error.to_string());
        }
        if let Some((name, place)) = parser {
            match self.take(&name) {
                Some(found) => definition.parser = Some(found),
                None => {
                    let hint = self.nearest(&name);
                    let message =
                        format!("there is no parser '{name}'; define it in a Parsers_File{hint}");
                    report.refuse(&place, message);
                }
            }
        }
        definition
    }
}

impl Defined {
    /// Finds out now, while the places are known, what compiling it would find out later.
    fn compile(&self, report: &mut Report) {
        match Parser::compile(&self.definition) {
            Err(error) => report.refuse(&self.regex, error.to_string()),
            Ok(parser) => {
                if let Some(problem) = parser.time_problem() {
                    report.warn(&self.time_format, problem.to_string());
                }
            }
        }
    }
}

/// The file that `Parsers_File name` means: as given, beside the main file, or in one of
/// `folders`, which Fluent Bit does not look in. `None`: there is none, and the report says so.
pub(super) fn find_file(
    name: &Path,
    place: &Place,
    main: &Path,
    folders: &[PathBuf],
    report: &mut Report,
) -> Option<PathBuf> {
    let in_fluent_bit = [name.to_owned(), folder_of(main).join(name)];
    if let Some(path) = in_fluent_bit.into_iter().find(|path| path.is_file()) {
        return Some(path);
    }
    // Joining an absolute name gives that name again, which was not there.
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    match &found {
        Some(path) => report.note(place, format!("'{}' is taken", path.display())),
        None => report.refuse(
            place,
            format!("there is no file '{}', neither here nor beside the main file", name.display()),
        ),
    }
    found
}

/// `None`: the report says why.
fn read(section: &Section, variables: &Variables<'_>, report: &mut Report) -> Option<Defined> {
    let mut values = Values::read(section, "[PARSER]", GROUPS, variables, report);
    let Some(name) = values.text("Name") else {
        report.refuse(&section.place, "a parser needs a Name");
        return None;
    };
    let format = read_format(&values, report)?;
    let mut definition = Definition::new(&name, format);
    definition.time_key = values.text("Time_Key");
    definition.time_format = values.text("Time_Format");
    definition.time_keep = values.boolean("Time_Keep");
    definition.time_strict = values.boolean("Time_Strict").unwrap_or(true);
    definition.types = read_types(&values, report);
    if let Some(found) = values.find("Time_Offset") {
        definition.time_offset = read_offset(&found.value);
        if definition.time_offset.is_none() {
            let message = format!("'{}' is no offset; write for example '+0200'", found.value);
            report.refuse(&found.place, message);
        }
    }
    Some(Defined {
        definition,
        regex: values.place("Regex"),
        time_format: values.place("Time_Format"),
        unsupported: std::mem::take(&mut values.unsupported),
        used: false,
    })
}

fn read_format(values: &Values, report: &mut Report) -> Option<Format> {
    const FORMATS: &str = "json, regex, logfmt and ltsv";
    let Some(written) = values.text("Format") else {
        report.refuse(
            &values.place("Format"),
            format!("a parser needs a Format; there are {FORMATS}"),
        );
        return None;
    };
    match written.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "ltsv" => Some(Format::Ltsv),
        "logfmt" => Some(Format::Logfmt {
            no_bare_keys: values.boolean("Logfmt_No_Bare_Keys").unwrap_or(false),
        }),
        "regex" => match values.text("Regex") {
            Some(pattern) => {
                let skip_empty_values = values.boolean("Skip_Empty_Values").unwrap_or(true);
                Some(Format::Regex { pattern, skip_empty_values })
            }
            None => {
                report.refuse(&values.place("Regex"), "a parser of format regex needs a Regex");
                None
            }
        },
        _ => {
            let message = format!("there is no format '{written}'; there are {FORMATS}");
            report.refuse(&values.place("Format"), message);
            None
        }
    }
}

/// `key:type` pairs. A type that is unknown is a string, as in Fluent Bit.
fn read_types(values: &Values, report: &mut Report) -> Vec<(String, Type)> {
    let Some(found) = values.find("Types") else {
        return Vec::new();
    };
    let mut types = Vec::new();
    for pair in found.value.split_whitespace() {
        let Some((key, name)) = pair.rsplit_once(':') else {
            report.warn(&found.place, format!("'{pair}' is ignored; write 'key:type'"));
            continue;
        };
        let known = match name.to_ascii_lowercase().as_str() {
            "integer" => Type::Integer,
            "hex" => Type::Hex,
            "float" => Type::Float,
            "bool" => Type::Bool,
            "string" => Type::String,
            _ => {
                report.warn(
                    &found.place,
                    format!("there is no type '{name}', '{key}' stays a string; there are integer, hex, float, bool and string"),
                );
                Type::String
            }
        };
        types.push((key.to_owned(), known));
    }
    types
}

/// `+HHMM`, `-HHMM`, `+HH:MM` or `Z`, as seconds east of UTC.
fn read_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let digits = text.strip_prefix(['+', '-'])?.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_hours_and_minutes_east_of_utc() {
        for (text, expected) in [
            ("+0200", Some(7_200)),
            ("-0330", Some(-12_600)),
            ("+05:45", Some(20_700)),
            ("Z", Some(0)),
            ("0200", None),
            ("+2", None),
            ("+2460", None),
            ("+9900", None),
            ("+02é", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(read_offset(text), expected, "{text}");
        }
    }

    fn stock() -> Vec<Definition> {
        let mut report = Report::default();
        let environment = super::super::Environment::of([]);
        let variables = Variables::new(&environment, &[], &mut report);
        let mut parsers = Parsers::default();
        parsers.read_file("parsers/parsers.conf".as_ref(), &variables, &mut report);
        let (definitions, _) = parsers.finish(&mut report);
        assert_eq!((report.problems, report.warnings, report.notes), (vec![], vec![], vec![]));
        definitions
    }

    #[test]
    fn every_stock_name_is_there() {
        let names: Vec<_> = stock().into_iter().map(|definition| definition.name).collect();
        let expected = [
            "apache",
            "apache2",
            "apache_error",
            "nginx",
            "k8s-nginx-ingress",
            "json",
            "logfmt",
            "docker",
            "docker-daemon",
            "syslog-rfc5424",
            "syslog-rfc3164-local",
            "syslog-rfc3164",
            "mongodb",
            "envoy",
            "istio-envoy-proxy",
            "cri",
            "kube-custom",
            "kmsg-netfilter-log",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_stock_patterns_take_what_they_are_named_after() {
        for (name, line, expected) in [
            (
                "apache",
                r#"1.2.3.4 - bob [10/Oct/2024:13:55:36 -0700] "GET /a?b=c HTTP/1.1" 200 2326 "http://x/" "Mozilla 5""#,
                vec![
                    ("host", "1.2.3.4"),
                    ("user", "bob"),
                    ("time", "10/Oct/2024:13:55:36 -0700"),
                    ("method", "GET"),
                    ("path", "/a?b=c"),
                    ("code", "200"),
                    ("size", "2326"),
                    ("agent", "Mozilla 5"),
                ],
            ),
            ("apache", r#"::1 - - [x] "GET / HTTP/1.0" 304 -"#, vec![("path", "/"), ("size", "-")]),
            (
                "apache2",
                r#"1.2.3.4 - - [x] "GET /a HTTP/1.1" 200 5 "-" "a "quoted" agent""#,
                vec![("path", "/a"), ("referer", "-"), ("agent", "a \"quoted\" agent")],
            ),
            (
                "apache_error",
                "[Wed Oct 11 14:32:52.123 2024] [core:error] [pid 42:tid 7] [client 1.2.3.4:99] AH1: no",
                vec![
                    ("time", "Oct 11 14:32:52.123 2024"),
                    ("level", "core:error"),
                    ("pid", "42:tid 7"),
                    ("client", "1.2.3.4:99"),
                    ("message", "AH1: no"),
                ],
            ),
            (
                "nginx",
                r#"1.2.3.4 - - [x] "POST /a HTTP/2.0" 499 0 "-" "curl/8""#,
                vec![
                    ("remote", "1.2.3.4"),
                    ("method", "POST"),
                    ("path", "/a"),
                    ("code", "499"),
                    ("agent", "curl/8"),
                ],
            ),
            (
                "k8s-nginx-ingress",
                r#"1.2.3.4 - - [x] "GET /a HTTP/1.1" 200 5 "-" "curl" 77 0.003 [ns-svc-80] [] 10.0.0.1:80 5 0.002 200 abc123"#,
                vec![
                    ("request_length", "77"),
                    ("proxy_upstream_name", "ns-svc-80"),
                    ("upstream_addr", "10.0.0.1:80"),
                    ("upstream_status", "200"),
                    ("reg_id", "abc123"),
                ],
            ),
            (
                "docker-daemon",
                r#"time="2024-01-02T03:04:05.678Z" level=info msg="say \"hi\"""#,
                vec![
                    ("time", "2024-01-02T03:04:05.678Z"),
                    ("level", "info"),
                    ("msg", r#"say \"hi\""#),
                ],
            ),
            (
                "syslog-rfc5424",
                r#"<34>1 2024-10-11T22:14:15.003Z host su - ID47 [a b="c \] d"][e f="g"] it failed"#,
                vec![
                    ("pri", "34"),
                    ("host", "host"),
                    ("ident", "su"),
                    ("msgid", "ID47"),
                    ("extradata", r#"[a b="c \] d"][e f="g"]"#),
                    ("message", "it failed"),
                ],
            ),
            ("syslog-rfc5424", "<34>1 t h i p m -", vec![("extradata", "-")]),
            (
                "syslog-rfc3164-local",
                "<13>Feb  5 17:32:18 sshd[99]: hello",
                vec![
                    ("time", "Feb  5 17:32:18"),
                    ("ident", "sshd"),
                    ("pid", "99"),
                    ("message", "hello"),
                ],
            ),
            (
                "syslog-rfc3164",
                "<13>Feb  5 17:32:18 web-1 cron: hello there",
                vec![("host", "web-1"), ("ident", "cron"), ("message", "hello there")],
            ),
            (
                "mongodb",
                "2024-01-02T03:04:05.678+0000 I  COMMAND  [conn7] command x.y took 5 12ms",
                vec![
                    ("severity", "I"),
                    ("component", "COMMAND"),
                    ("context", "conn7"),
                    ("message", "command x.y took 5"),
                    ("ms", "12"),
                ],
            ),
            (
                "envoy",
                r#"[2024-01-02T03:04:05.678Z] "GET /a HTTP/1.1" 200 - 0 5 3 2 "-" "curl" "id-1" "shop" "10.0.0.1:80""#,
                vec![
                    ("start_time", "2024-01-02T03:04:05.678Z"),
                    ("path", "/a"),
                    ("protocol", "HTTP/1.1"),
                    ("duration", "3"),
                    ("authority", "shop"),
                    ("upstream_host", "10.0.0.1:80"),
                ],
            ),
            (
                "istio-envoy-proxy",
                r#"[2024-01-02T03:04:05.678Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 5 3 2 "-" "curl" "id-1" "shop" "10.0.0.1:80" inbound|80|| 127.0.0.6:1 10.0.0.1:80 10.0.0.2:9 - default"#,
                vec![
                    ("response_code_details", "via_upstream"),
                    ("bytes_sent", "5"),
                    ("upstream_cluster", "inbound|80||"),
                    ("route_name", "default"),
                ],
            ),
            (
                "cri",
                "2024-01-02T03:04:05.678901234+01:00 stdout F {\"a\": 1}",
                vec![
                    ("time", "2024-01-02T03:04:05.678901234+01:00"),
                    ("stream", "stdout"),
                    ("logtag", "F"),
                    ("message", "{\"a\": 1}"),
                ],
            ),
            (
                "kube-custom",
                "kube.my-pod-7d9f_shop_main-container-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.log",
                vec![
                    ("tag", "kube"),
                    ("pod_name", "my-pod-7d9f"),
                    ("namespace_name", "shop"),
                    ("container_name", "main-container"),
                ],
            ),
            (
                "kmsg-netfilter-log",
                "<4>Feb  5 17:32:18 fw kernel: [123.4] DROP: IN=eth0 OUT= MAC=aa:bb SRC=1.2.3.4 DST=5.6.7.8 LEN=40 TTL=64 PROTO=TCP SPT=99 DPT=22 WINDOW=1024 SYN",
                vec![
                    ("log_prefix", "DROP:"),
                    ("in", "eth0"),
                    ("out", ""),
                    ("mac", "aa:bb"),
                    ("saddr", "1.2.3.4"),
                    ("daddr", "5.6.7.8"),
                    ("proto", "TCP"),
                    ("sport", "99"),
                    ("dport", "22"),
                    ("flags", "WINDOW=1024 SYN"),
                ],
            ),
        ] {
            let definitions = stock();
            let definition = definitions.iter().find(|definition| definition.name == name).unwrap();
            let Format::Regex { pattern, .. } = &definition.format else {
                panic!("{name} has no pattern");
            };
            let captures = fancy_regex::Regex::new(pattern).unwrap().captures(line).unwrap();
            let captures = captures.unwrap_or_else(|| panic!("{name} does not take {line}"));
            for (key, value) in expected {
                assert_eq!(
                    captures.name(key).map(|found| found.as_str()),
                    Some(value),
                    "{name}: {key}"
                );
            }
        }
    }
}
