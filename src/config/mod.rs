//! Reads Fluent Bit's configuration.
//!
//! In:  the main file, and the environment
//! Out: [`Config`], or every problem at once, each as `file:line: key: what is wrong`
//!
//! ```text
//!  classic.rs ─┐                                ┌─ service.rs   [SERVICE]
//!              ├─▶ tree.rs ─▶ values.rs ────────┼─ parsers.rs   [PARSER], and finding the files
//!  yaml.rs ────┘   places     env.rs: ${NAME}   ├─ multiline.rs [MULTILINE_PARSER]
//!                             keys.rs: types    ├─ inputs.rs    [INPUT]; joins.rs: what joins lines
//!                                               ├─ filters.rs   [FILTER]
//!                                               ├─ outputs.rs   [OUTPUT]
//!                                               └─ upstreams.rs [UPSTREAM], [NODE]
//! ```
//!
//! Where Fluent Bit 5.1 starts, we start. What it refuses is a problem, what it ignores or bends is
//! a warning, and what we need not obey is a note.

mod classic;
mod env;
mod error;
mod filters;
mod inputs;
mod joins;
pub mod keys;
mod listeners;
mod multiline;
mod outputs;
mod parsers;
mod secure;
mod service;
mod tree;
mod upstreams;
mod values;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{filter, forward, http, listen, parse, tail};

pub use env::Environment;
pub use error::{Place, Problem, Problems, Stage};

use env::Variables;
use error::{Report, did_you_mean};
use outputs::Surroundings;
use parsers::Parsers;
use service::ServiceSettings;
use tree::{Kind, Section, Tree, is_yaml};

/// Everything the agent can be told: what each stage is set to, in the order the data meets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[SERVICE]`.
    pub service: Service,
    /// Every parser of every `Parsers_File`, by name.
    pub parsers: Vec<parse::Definition>,
    /// Every `[MULTILINE_PARSER]`. Those that are built in are not among them.
    pub multiline_parsers: Vec<parse::multiline::Definition>,
    /// `[INPUT]` sections with `Name tail`, in file order.
    pub inputs: Vec<tail::Settings>,
    /// `[INPUT]` sections with `Name forward`, in file order.
    pub listeners: Vec<listen::Settings>,
    /// `[FILTER]` sections, in file order: the order in which they run.
    pub filters: Vec<filter::Settings>,
    /// `[OUTPUT]` sections, in file order.
    pub outputs: Vec<forward::Settings>,
}

/// `[SERVICE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `Flush`: how old the oldest event of an open chunk may become.
    pub flush: Duration,
    /// `Grace`: how long a stop may take. `None` is `-1`: as long as it needs.
    pub grace: Option<Duration>,
    /// `Drain_Quiet` (ours): how long files must have been quiet before a stop ends the reading.
    pub drain_quiet: Duration,
    /// `Exit_When` (ours): a file whose appearance asks for a stop.
    pub exit_when: Option<PathBuf>,
    /// `multiline_buffer_limit` in bytes: no message of joined lines becomes longer.
    pub multiline_limit: usize,
    /// `Log_Level`.
    pub log_level: LogLevel,
    /// `Log_File`: where our own log goes instead of stderr.
    pub log_file: Option<PathBuf>,
    /// `HTTP_Server` and what belongs to it.
    pub http: http::Settings,
}

/// `Log_Level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// Lines are lost or somebody must act.
    Error,
    /// Something is off and we recover.
    Warn,
    /// What an operator did has worked.
    Info,
    /// For those who look for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            flush: Duration::from_secs(1),
            grace: Some(Duration::from_secs(25)),
            drain_quiet: Duration::from_secs(2),
            exit_when: None,
            multiline_limit: parse::multiline::Definition::DEFAULT_LIMIT,
            log_level: LogLevel::Info,
            log_file: None,
            http: http::Settings::default(),
        }
    }
}

impl Config {
    /// The parser called `name`.
    pub fn parser(&self, name: &str) -> Option<&parse::Definition> {
        self.parsers.iter().find(|definition| definition.name == name)
    }

    /// The multiline parser that `multiline.parser` means by `name`, in any case.
    pub fn multiline_parser(&self, name: &str) -> Option<parse::multiline::Definition> {
        let mut own = self.multiline_parsers.iter();
        let own = own.find(|parser| parser.name.eq_ignore_ascii_case(name));
        own.cloned().or_else(|| parse::multiline::builtin(name))
    }
}

/// A configuration that can be run, and what there is to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What was read.
    pub config: Config,
    /// What Fluent Bit ignores or bends: probably not what was meant. `check` fails on them.
    pub warnings: Vec<Problem>,
    /// What is accepted and need not be obeyed.
    pub notes: Vec<Problem>,
}

/// Reads the configuration in `main` and the parser files it names, `extra_parsers` (`-R`) before
/// them.
///
/// # Errors
///
/// Everything that is wrong, not just the first thing: unreadable files, bad syntax, unknown
/// plugins and plugin keys, values that mean nothing, and keys that would change the data and that
/// this version does not obey.
pub fn load(
    main: &Path,
    extra_parsers: &[PathBuf],
    environment: &Environment,
) -> Result<Loaded, Problems> {
    let mut report = Report::default();
    let tree = Tree::read(main, &mut report);
    let variables = Variables::new(environment, &tree.variables, &mut report);
    let mut loader = Loader { main, tree: &tree, variables: &variables, report: &mut report };

    let ServiceSettings { service, backoff, preferred, parser_files } =
        loader.read_service(environment);
    let mut parsers = loader.read_parsers(extra_parsers, &parser_files, environment);
    loader.look_at_other_sections();
    let (inputs, listeners) = loader.read_inputs(&mut parsers, environment);
    let filters = loader.read_filters();
    let outputs = loader.read_outputs(backoff, preferred, environment);
    let (parsers, multiline_parsers) = parsers.finish(&mut report);
    report.sort();

    let Report { problems, warnings, notes } = report;
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config =
        Config { service, parsers, multiline_parsers, inputs, listeners, filters, outputs };
    Ok(Loaded { config, warnings, notes })
}

/// Turns the tree into settings, a kind of section at a time.
struct Loader<'a> {
    main: &'a Path,
    tree: &'a Tree,
    variables: &'a Variables<'a>,
    report: &'a mut Report,
}

impl<'a> Loader<'a> {
    fn read_service(&mut self, environment: &Environment) -> ServiceSettings {
        service::read(&self.tree.sections, environment, self.variables, self.report)
    }

    fn read_parsers(
        &mut self,
        extra: &[PathBuf],
        named: &[(PathBuf, Place)],
        environment: &Environment,
    ) -> Parsers {
        let mut parsers = Parsers::default();
        let extra = extra.iter().map(|path| (path.clone(), Place::of_file(path)));
        for (name, place) in extra.chain(named.iter().cloned()) {
            let folders = environment.parser_folders();
            let found = parsers::find_file(&name, &place, self.main, folders, self.report);
            if let Some(path) = found {
                parsers.read_file(&path, self.variables, self.report);
            }
        }
        for section in &self.tree.sections {
            let name = match section.kind {
                Kind::Parser => "PARSER",
                Kind::MultilineParser => "MULTILINE_PARSER",
                _ => continue,
            };
            if is_yaml(&section.place.file) {
                parsers.add(section, self.variables, self.report);
            } else {
                let message =
                    format!("a [{name}] belongs into a file of its own; name it with Parsers_File");
                self.report.refuse(&section.place, message);
            }
        }
        parsers
    }

    fn look_at_other_sections(&mut self) {
        for section in &self.tree.sections {
            let place = &section.place;
            match section.kind {
                Kind::StreamProcessor => self.report.refuse(
                    place,
                    "stream processing is not supported by this version; compute in Fluentd",
                ),
                Kind::Custom => {
                    self.report.refuse(place, "there are no custom plugins; take it out")
                }
                Kind::Plugins => {
                    self.report.note(place, "accepted, not obeyed: no plugin is loaded from files")
                }
                Kind::UpstreamServers if is_yaml(&place.file) => {}
                Kind::UpstreamServers => self.report.note(
                    place,
                    "accepted, not obeyed: an output reads it from the file that Upstream names",
                ),
                Kind::Node if is_yaml(&place.file) => {}
                Kind::Node => self.report.warn(
                    place,
                    "is ignored here; it belongs into the file that Upstream of an output names",
                ),
                Kind::Service
                | Kind::Parser
                | Kind::MultilineParser
                | Kind::Input
                | Kind::Filter
                | Kind::Output => {}
            }
            self.look_at_groups(section);
        }
    }

    /// Nested blocks: in a plugin they would change the data, elsewhere Fluent Bit ignores them.
    fn look_at_groups(&mut self, section: &Section) {
        for place in &section.groups {
            match section.kind {
                Kind::Input | Kind::Filter | Kind::Output => self.report.refuse_plugin(
                    place,
                    "blocks inside a plugin are not supported by this version; take it out",
                ),
                Kind::Service if place.key.as_deref() == Some("telemetry") => {
                    self.report.note(place, "accepted, not obeyed: all metrics are served");
                }
                _ => self.report.warn(place, "nothing obeys this block; take it out"),
            }
        }
    }

    fn read_inputs(
        &mut self,
        parsers: &mut Parsers,
        environment: &Environment,
    ) -> (Vec<tail::Settings>, Vec<listen::Settings>) {
        let sections = self.sections_of(Kind::Input, "input", &["tail", "forward"]);
        if sections.is_empty() {
            self.warn_of_none("there is no [INPUT], so nothing is read");
        }
        let host_name = environment.known("HOSTNAME").map_or("localhost", |(name, _)| name);
        let (mut files, mut listeners) = (Vec::new(), Vec::new());
        for section in sections {
            if self.is_called(section, "forward") {
                let number = listeners.len();
                listeners.push(listeners::read_forward(
                    section,
                    number,
                    host_name,
                    self.variables,
                    self.report,
                ));
            } else {
                let number = files.len();
                files.push(inputs::read_tail(
                    section,
                    number,
                    self.variables,
                    parsers,
                    self.report,
                ));
            }
        }
        (files, listeners)
    }

    fn is_called(&self, section: &Section, name: &str) -> bool {
        self.value_of(section, "name").is_some_and(|value| value.eq_ignore_ascii_case(name))
    }

    fn read_filters(&mut self) -> Vec<filter::Settings> {
        let sections = self.sections_of(Kind::Filter, "filter", &["record_modifier"]);
        let active =
            sections.into_iter().enumerate().filter(|(_, section)| self.is_active(section));
        let active: Vec<_> = active.collect();
        let read = |(number, section)| {
            filters::read_record_modifier(section, number, self.variables, self.report)
        };
        active.into_iter().map(read).collect()
    }

    /// `Active` leaves a filter out, whatever else it says: Fluent Bit never starts it.
    fn is_active(&self, section: &Section) -> bool {
        let value = self.value_of(section, "active").unwrap_or_default();
        section.kind != Kind::Filter || (value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// The value of a key that decides how the others are read. Expanded for good, and complained
    /// about, together with them.
    fn value_of(&self, section: &Section, key: &str) -> Option<String> {
        let entry = section.entries.iter().rfind(|entry| entry.key == key)?;
        Some(self.variables.expand(&entry.value).text)
    }

    fn read_outputs(
        &mut self,
        backoff: forward::Backoff,
        preferred: Option<forward::IpVersion>,
        environment: &Environment,
    ) -> Vec<forward::Settings> {
        let sections = self.sections_of(Kind::Output, "output", &["forward"]);
        if sections.is_empty() {
            self.warn_of_none("there is no [OUTPUT], so nothing is sent");
        }
        let count = |kind| self.tree.sections.iter().filter(|section| section.kind == kind).count();
        let is_alone = count(Kind::Input) == 1 && count(Kind::Output) == 1;
        let host_name = environment.known("HOSTNAME").map_or("localhost", |(name, _)| name);
        let (main, tree) = (self.main, self.tree);
        let surroundings = Surroundings { is_alone, backoff, preferred, host_name, main, tree };
        let read = |(number, section)| {
            outputs::read_forward(section, number, surroundings, self.variables, self.report)
        };
        sections.into_iter().enumerate().map(read).collect()
    }

    /// The sections of `kind` whose plugin we have. Any other is reported.
    fn sections_of(
        &mut self,
        kind: Kind,
        noun: &str,
        plugins: &[&'static str],
    ) -> Vec<&'a Section> {
        let sections = self.tree.sections.iter().filter(|section| section.kind == kind);
        let mut ours = Vec::new();
        for section in sections {
            let Some(name) = self.value_of(section, "name").filter(|name| !name.is_empty()) else {
                let message = format!("this {noun} has no Name; write 'Name {}'", plugins[0]);
                self.report.refuse(&section.place, message);
                continue;
            };
            if plugins.iter().any(|plugin| name.eq_ignore_ascii_case(plugin)) {
                ours.push(section);
            } else if self.is_active(section) {
                let hint = did_you_mean(&name, plugins.iter().copied());
                let known = plugins.join("' and '");
                let message = format!("this version has no {noun} '{name}', only '{known}'{hint}");
                let entry = section.entries.iter().rev().find(|entry| entry.key == "name");
                self.report.refuse(entry.map_or(&section.place, |entry| &entry.place), message);
            }
        }
        ours
    }

    fn warn_of_none(&mut self, message: &str) {
        // One that could not be read was reported already.
        if self.report.problems.is_empty() {
            self.report.warn(&Place::of_file(self.main), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::filter::record_modifier;
    use crate::forward::settings::{IpVersion, Keepalive, Probes, Security};
    use crate::forward::{Backoff, RetryLimit};
    use crate::model::{Codec, Pattern, Secret, Tag};
    use crate::parse::{Definition, Format, Type};
    use crate::protocol::handshake::User;
    use crate::secrets::Source;
    use crate::tail::{Encoding, LongLines, MaxHeld, Symlinks};
    use crate::tls;

    /// A Pod called `h1` whose image has our own parsers.
    fn environment() -> Environment {
        Environment::of([]).with_host_name("h1").with_parser_folder("parsers")
    }

    fn loaded(path: &str) -> Loaded {
        load(path.as_ref(), &[], &environment()).unwrap()
    }

    /// Every configuration in a folder, with the messages that belong to it. `.txt` files hold them.
    fn each_in(folder: &str) -> Vec<(PathBuf, String)> {
        let listed = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_main = |path: &PathBuf| path.is_file() && path.extension().unwrap() != "txt";
        let read = |path: PathBuf| {
            let messages = fs::read_to_string(path.with_extension("txt")).unwrap();
            (path, messages)
        };
        let found: Vec<_> = listed.filter(is_main).map(read).collect();
        assert!(found.len() > 3, "{folder} holds the cases");
        found
    }

    /// As in the `.txt` files: a line each, without the folder.
    fn shown(problems: &[Problem], before: &str, folder: &str) -> String {
        let shown = problems.iter().map(|problem| format!("{before}{problem}\n"));
        shown.collect::<String>().replace(&format!("{folder}/"), "")
    }

    #[test]
    fn what_fluent_bit_refuses_stops_the_start_with_all_problems_at_once() {
        let folder = "fixtures/config/wrong";
        for (path, messages) in each_in(folder) {
            let problems = load(&path, &[], &environment()).unwrap_err();
            assert_eq!(shown(&problems.0, "", folder), messages, "{}", path.display());
        }
    }

    #[test]
    fn what_fluent_bit_ignores_or_bends_is_a_warning() {
        let folder = "fixtures/config/warned";
        for (path, messages) in each_in(folder) {
            let Loaded { warnings, notes, .. } = load(&path, &[], &environment()).unwrap();
            assert_ne!(warnings, [], "{}", path.display());
            let found = shown(&warnings, "", folder) + &shown(&notes, "note: ", folder);
            assert_eq!(found, messages, "{}", path.display());
        }
    }

    #[test]
    fn what_need_not_be_obeyed_is_a_note_and_nothing_else() {
        let folder = "fixtures/config/right";
        for (path, messages) in each_in(folder) {
            let Loaded { warnings, notes, .. } = load(&path, &[], &environment()).unwrap();
            assert_eq!(warnings, [], "{}", path.display());
            assert_eq!(shown(&notes, "note: ", folder), messages, "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem_of_reading() {
        let problems = load("no/such.conf".as_ref(), &[], &environment()).unwrap_err();
        assert!(problems.to_string().starts_with("no/such.conf: 'no/such.conf' cannot be read: "));
        assert_eq!(problems.exit_status(), 1);
    }

    #[test]
    fn the_exit_status_is_that_of_fluent_bit() {
        for (name, expected) in [
            ("service", 1),
            ("syntax", 1),
            ("unknown-plugins", 1),
            ("sizes", 1),
            ("booleans", 255),
            ("unknown-keys", 255),
        ] {
            let path = format!("fixtures/config/wrong/{name}.conf");
            let problems = load(path.as_ref(), &[], &environment()).unwrap_err();
            assert_eq!(problems.exit_status(), expected, "{name}");
        }
    }

    #[test]
    fn the_reference_configuration_says_what_it_always_said_in_both_formats() {
        let environment = environment().with_namespace("shop", "a file");
        let load = |path: &str| load(path.as_ref(), &[], &environment).unwrap();
        let classic = load("config/fluent-bit.conf");
        assert_eq!(classic.warnings, []);
        assert_eq!(
            shown(&classic.notes, "", "config"),
            "fluent-bit.conf:20: Record: POD_NAMESPACE is not set; 'shop' is taken from a file\n"
        );
        let seconds = Duration::from_secs;
        let records = [("hostname", "h1"), ("namespace", "shop")];
        let records = records.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let record_modifier = record_modifier::Settings { records, ..Default::default() };
        let config = Config {
            service: Service { flush: seconds(5), ..Service::default() },
            multiline_parsers: Vec::new(),
            parsers: vec![Definition {
                time_key: Some("timestamp".to_owned()),
                time_format: Some("%Y-%m-%dT%H:%M:%S.%L".to_owned()),
                ..Definition::new("json", Format::Json)
            }],
            inputs: vec![tail::Settings {
                tag: "app.logs".to_owned(),
                parser: Some("json".to_owned()),
                refresh_interval: seconds(5),
                mem_buf_limit: 5_000_000,
                long_lines: LongLines::Skip,
                ..tail::Settings::new("tail.0", vec!["/var/log/app/*.log".to_owned()])
            }],
            listeners: Vec::new(),
            filters: vec![filter::Settings {
                name: "record_modifier.0".to_owned(),
                pattern: Some(Pattern::new("*")),
                pattern_regex: None,
                kind: filter::Kind::RecordModifier(record_modifier),
            }],
            outputs: vec![forward::Settings::new(
                "forward.0",
                "fluentd-aggregator.logging.svc.cluster.local",
                24_224,
            )],
        };
        assert_eq!(classic.config, config);
        assert_eq!(load("config/fluent-bit.yaml").config, config);
    }

    #[test]
    fn every_key_arrives_where_it_belongs() {
        let Config { service, parsers, inputs, listeners, filters, outputs, .. } =
            loaded("fixtures/config/right/everything.conf").config;
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(
            service,
            Service {
                flush: millis(250),
                grace: None,
                drain_quiet: millis(200),
                exit_when: Some(PathBuf::from("/var/log/app/done")),
                multiline_limit: 3 << 20,
                log_level: LogLevel::Warn,
                log_file: Some(PathBuf::from("/tmp/log")),
                http: http::Settings {
                    is_on: true,
                    listen: "127.0.0.1".to_owned(),
                    port: 2021,
                    health_check: true,
                    errors_limit: 1,
                    retry_failures_limit: 0,
                    period: seconds(30),
                },
            }
        );
        let regex = Format::Regex {
            pattern: "/^(?<a>\\d+) (?<b>.*)$/".to_owned(),
            skip_empty_values: false,
        };
        assert_eq!(
            parsers[..3],
            [
                Definition {
                    time_key: own("t"),
                    time_format: own("%Y"),
                    time_keep: Some(true),
                    time_offset: Some(-12_600),
                    time_strict: false,
                    types: vec![("a".to_owned(), Type::Integer), ("b".to_owned(), Type::Bool)],
                    ..Definition::new("all", regex)
                },
                Definition::new("pairs", Format::Logfmt { no_bare_keys: true }),
                Definition::new("tabs", Format::Ltsv),
            ]
        );
        let paths = ["/var/log/a/*.log", "/var/log/b/*.log"].map(str::to_owned).to_vec();
        assert_eq!(
            inputs[0],
            tail::Settings {
                name: "app".to_owned(),
                paths,
                exclude_paths: vec!["*.gz".to_owned()],
                tag: "app.*".to_owned(),
                tag_regex: own("(?<name>[a-z]+)"),
                parser: own("all"),
                joins: tail::Joins::Nothing,
                key: "message".to_owned(),
                path_key: own("file"),
                offset_key: own("offset"),
                read_from_head: false,
                read_new_from_head: false,
                symlinks: Symlinks::Inside,
                refresh_interval: millis(500),
                progress_check_interval: millis(1_500),
                rotate_wait: seconds(60),
                ignore_older: Some(seconds(86_400)),
                inotify_watcher: false,
                mem_buf_limit: 1_500_000,
                encoding: Encoding::named("utf-16le").unwrap(),
                line_limit: 63_998,
                long_lines: LongLines::Skip,
                skip_empty_lines: true,
                exit_on_eof: true,
                max_held_bytes: MaxHeld::Bytes(64_000_000),
                db: Some(PathBuf::from("/db")),
            }
        );
        assert_eq!(inputs[1].tag, "tail.1", "the tag of an input without one");
        assert_eq!(inputs[1].long_lines, LongLines::Cut, "cutting wins over skipping");
        assert_eq!(Some(inputs[1].encoding), Encoding::named("ShiftJIS"));
        check_filters(&filters);
        check_outputs(&outputs);
        check_listeners(&listeners);
    }

    #[test]
    fn multiline_parsers_are_the_same_in_both_formats() {
        use crate::parse::multiline;
        let rules = vec![
            multiline::Rule::new("start_state", "/^\\d+ \"(.*)\"/", Some("more")),
            multiline::Rule::new("more, last", "/^ /", Some("more")),
            multiline::Rule::new("more", "/^end$/", None),
        ];
        let wanted = multiline::Match { text: "P".to_owned(), negate: true };
        let own = |text: &str| Some(text.to_owned());
        let expected = [
            multiline::Definition {
                flush_after: Duration::from_millis(1500),
                ..multiline::Definition::new("entries", multiline::Kind::States(rules))
            },
            multiline::Definition {
                key_content: own("message"),
                key_pattern: own("tag"),
                key_group: own("stream"),
                parser: Some(Definition::new("pairs", Format::Logfmt { no_bare_keys: false })),
                ..multiline::Definition::new("parts", multiline::Kind::Equal(wanted))
            },
        ];
        for path in ["multiline.conf", "multiline.yaml"] {
            let config = loaded(&format!("fixtures/config/right/{path}")).config;
            assert_eq!(config.multiline_parsers, expected, "{path}");
            let names = ["java", "Entries", "parts"].map(str::to_owned).to_vec();
            assert_eq!(config.inputs[0].joins, tail::Joins::Parsers(names), "{path}");
            assert_eq!(config.multiline_parser("ENTRIES"), Some(expected[0].clone()));
            assert_eq!(config.multiline_parser("Java"), multiline::builtin("java"));
        }
    }

    #[test]
    fn the_older_ways_to_join_lines_arrive_too() {
        let inputs = loaded("fixtures/config/right/joins.conf").config.inputs;
        let pairs = || Some("pairs".to_owned());
        let docker_mode =
            tail::Joins::DockerMode { first: pairs(), flush_after: Duration::from_secs(2) };
        assert_eq!((&inputs[0].joins, &inputs[0].parser), (&docker_mode, &pairs()));
        let first_lines = tail::Joins::FirstLines {
            first: "pairs".to_owned(),
            others: vec!["pairs".to_owned()],
            flush_after: Duration::from_secs(7),
        };
        assert_eq!((&inputs[1].joins, &inputs[1].parser), (&first_lines, &None));
    }

    fn check_filters(filters: &[filter::Settings]) {
        let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filter::Kind::RecordModifier(removing) = &filters[0].kind;
        let filter::Kind::RecordModifier(keeping) = &filters[1].kind;
        assert_eq!(filters[0].pattern, Some(Pattern::new("app.*")));
        assert_eq!(filters[0].pattern_regex.as_deref(), Some("^x"));
        assert_eq!(removing.remove_keys, strings(&["a", "b*"]));
        assert_eq!(removing.uuid_key.as_deref(), Some("id"));
        assert_eq!(filters[1].name, "record_modifier.1");
        assert_eq!(keeping.allowlist_keys, strings(&["c", "d"]));
        let records = [("msg", "a b"), ("my key", "")];
        assert_eq!(keeping.records, records.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    fn check_outputs(outputs: &[forward::Settings]) {
        let seconds = Duration::from_secs;
        let backoff = Backoff { first: seconds(2), longest: seconds(60) };
        assert_eq!(
            outputs[0],
            forward::Settings {
                pattern: Some(Pattern::new("app.*")),
                require_ack: false,
                retry_limit: RetryLimit::Times(7),
                backoff,
                connect_timeout: seconds(3),
                io_timeout: seconds(20),
                ack_timeout: seconds(20),
                source_address: Some([127, 0, 0, 1].into()),
                workers: 3,
                retry_max_age: Some(seconds(3_600)),
                preferred: Some(forward::IpVersion::V6),
                max_connection_age: None,
                ..forward::Settings::new("forward.0", "fluentd", 24_225)
            }
        );
        assert_eq!(
            outputs[1],
            forward::Settings {
                pattern: None,
                pattern_regex: Some("tail".to_owned()),
                retry_limit: RetryLimit::Times(0),
                backoff,
                preferred: Some(forward::IpVersion::V4),
                ..forward::Settings::new("second", "127.0.0.1", 24_224)
            }
        );
        check_secure_outputs(&outputs[2], &outputs[3]);
    }

    fn check_listeners(listeners: &[listen::Settings]) {
        use crate::listen::settings::{Address, Neighbour, Security, TagRule};
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: Secret::new(password),
        };
        let general = || Security {
            name: "me".to_owned(),
            shared_key: Source::Written(Secret::new("s3cr3t-key")),
            users: vec![user("alice", "s3cr3t-pw"), user("bob", "s3cr3t pw")],
        };
        let of_neighbours =
            || Security { shared_key: Source::File("/etc/keys/neighbours".into()), ..general() };
        let tcp = Address::Tcp { host: "127.0.0.1".to_owned(), port: 24_225 };
        let unix =
            Address::Unix { path: "/run/log-ambassador/forward.sock".into(), mode: Some(0o660) };
        let expected = [
            listen::Settings {
                tag: TagRule::Prefix("pod.".to_owned()),
                mem_buf_limit: 5_000_000,
                buffer_max_size: Some(2_000_000),
                on_bad_entry: crate::protocol::OnBadEntry::Skip,
                security: Some(general()),
                neighbours: ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]
                    .into_iter()
                    .zip([general(), general(), of_neighbours()])
                    .map(|(network, security)| Neighbour {
                        network: network.parse().unwrap(),
                        security: Some(security),
                    })
                    .collect(),
                tls: Some(tls::Settings {
                    verify: false,
                    ca_file: Some("ca.crt".into()),
                    crt_file: Some("tls.crt".into()),
                    key_file: Some("tls.key".into()),
                    min_version: tls::Version::Tls13,
                    ..tls::Settings::default()
                }),
                ..listen::Settings::new("apps", tcp)
            },
            listen::Settings {
                tag: TagRule::Replace(Tag::new("app")),
                mem_buf_limit: 5_000_000,
                security: Some(Security {
                    name: "h1".to_owned(),
                    shared_key: Source::File("/etc/keys/clients".into()),
                    users: Vec::new(),
                }),
                ..listen::Settings::new("forward.1", unix)
            },
        ];
        assert_eq!(listeners, expected);
        let shown = format!("{listeners:?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[test]
    fn the_examples_of_clients_are_the_same_in_both_forms_and_nothing_is_wrong_with_them() {
        let variables = [("POD_NAMESPACE", "shop")];
        let environment = Environment::of(variables).with_host_name("h1");
        let load = |path: &str| load(path.as_ref(), &[], &environment).unwrap();
        let classic = load("config/listen.conf");
        assert_eq!((&classic.warnings[..], &classic.notes[..]), (&[][..], &[][..]));
        assert_eq!(load("config/listen.yaml").config, classic.config);
        assert_eq!(classic.config.listeners.len(), 2);
    }

    fn check_secure_outputs(first: &forward::Settings, second: &forward::Settings) {
        let seconds = Duration::from_secs;
        let secret = |text: &str| Source::Written(Secret::new(text));
        let text = |text: &str| text.to_owned();
        let Some(tls) = &first.tls else { panic!("tls is on") };
        assert_eq!(
            *tls,
            tls::Settings {
                verify: false,
                verify_hostname: true,
                vhost: Some(text("fluentd.example")),
                ca_file: Some("ca.crt".into()),
                ca_path: Some("/etc/ca".into()),
                crt_file: Some("tls.crt".into()),
                key_file: Some("tls.key".into()),
                key_passwd: Some(Secret::new("s3cr3t-pw")),
                min_version: tls::Version::Tls13,
                max_version: tls::Version::Tls13,
                ciphers: Some(
                    ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]
                        .map(|name| tls::Cipher::named(name).unwrap())
                        .to_vec()
                ),
            }
        );
        let expected = forward::Settings {
            backoff: first.backoff,
            unix_path: Some("/run/fluentd.sock".into()),
            tls: first.tls.clone(),
            security: Some(Security {
                self_hostname: text("me"),
                shared_key: secret(""),
                user: Some((text("alice"), Some(secret("s3cr3t-pw")))),
            }),
            tag: Some(forward::TagTemplate::parse("x.$TAG[1]").unwrap()),
            compress: Some(Codec::Zstd),
            added_options: vec![(text("a"), text("b")), (text("c"), text("d e"))],
            preferred: Some(IpVersion::V6),
            keepalive: Keepalive { idle_timeout: Some(seconds(7)), frames: Some(100) },
            probes: Probes { time: seconds(9), interval: seconds(2), count: 5 },
            ..forward::Settings::new("forward.2", "127.0.0.1", 24_224)
        };
        assert_eq!(*first, expected);
        let file = |path: &str| Source::File(path.into());
        let expected = forward::Settings {
            backoff: first.backoff,
            security: Some(Security {
                self_hostname: text("h1.client"),
                shared_key: file("/etc/keys/fluentd"),
                user: Some((text("bob"), Some(file("/etc/keys/bob")))),
            }),
            whole_seconds: true,
            preferred: Some(IpVersion::V4),
            keepalive: Keepalive { idle_timeout: None, frames: Some(1) },
            ..forward::Settings::new("forward.3", "127.0.0.1", 24_224)
        };
        assert_eq!(*second, expected);
        let shown = format!("{first:?} {second:#?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }

    #[test]
    fn a_warned_value_is_what_the_warning_says() {
        let Config { service, inputs, filters, outputs, .. } =
            loaded("fixtures/config/warned/literals.conf").config;
        assert_eq!(service.grace, Some(Duration::from_secs(25)));
        assert_eq!(inputs[0].refresh_interval, Duration::from_millis(500));
        assert_eq!(inputs[0].rotate_wait, Duration::from_secs(90));
        assert_eq!(inputs[0].line_limit, 1_048_574);
        assert_eq!(inputs[1].line_limit, tail::Settings::DEFAULT_LINE_LIMIT);
        assert_eq!(filters, []);
        assert_eq!(outputs[0].port, 24_224);
        assert_eq!(outputs[0].retry_limit, RetryLimit::NoLimits);
        assert_eq!(outputs[0].backoff.longest, Duration::from_secs(30));
        assert_eq!(outputs[1].pattern, None);

        let Config { inputs, filters, .. } = loaded("fixtures/config/warned/ignored.conf").config;
        assert_eq!((inputs[0].parser.as_deref(), inputs[0].tag.as_str()), (None, "b"));
        let filter::Kind::RecordModifier(settings) = &filters[0].kind;
        assert_eq!(settings.records, [("kept".to_owned(), "yes".to_owned())]);

        let Config { inputs, outputs, .. } = loaded("fixtures/config/warned/unset.conf").config;
        assert_eq!((inputs[0].tag.as_str(), inputs[0].key.as_str()), ("a..b", "log"));
        assert_eq!(outputs[0].host, "127.0.0.1");
    }

    #[test]
    fn abbreviations_includes_and_variables_come_to_the_same() {
        let Config { inputs, filters, outputs, .. } =
            loaded("fixtures/config/right/lenient.conf").config;
        assert_eq!(inputs[0].paths, ["/var/log/shop/*.log"]);
        assert_eq!(inputs[0].tag, "shop.24224");
        assert_eq!(inputs[0].mem_buf_limit, tail::Settings::DEFAULT_MEM_BUF_LIMIT);
        assert_eq!(filters.len(), 1, "the other one is not active");
        assert_eq!(outputs[0].pattern, Some(Pattern::new("*")), "one input, one output, no Match");
        assert_eq!(outputs[0].port, 24_225);

        let Config { service, parsers, inputs, .. } =
            loaded("fixtures/config/right/included.yaml").config;
        assert_eq!(service.log_level, LogLevel::Debug);
        assert_eq!(parsers[0].time_key.as_deref(), Some("at"));
        assert_eq!(inputs[0].paths, ["/var/log/shop/*.log"]);
        assert_eq!(inputs[0].parser.as_deref(), Some("own"));
    }

    #[test]
    fn the_nodes_of_an_upstream_are_what_the_output_is_but_for_what_they_say_themselves() {
        let output = |path| loaded(path).config.outputs.remove(0);
        let outputs =
            ["fixtures/config/right/upstream.conf", "fixtures/config/right/upstream-in-yaml.yaml"]
                .map(output);
        for output in outputs {
            let [a, b] = &output.nodes[..] else { panic!("{:?}", output.nodes) };
            assert_eq!((a.name.as_str(), a.weight, a.standby), ("a", 20, false));
            assert_eq!((b.name.as_str(), b.weight, b.standby), ("b", 60, true));
            assert_eq!((a.settings.host.as_str(), a.settings.port), ("10.0.0.1", 24_225));
            assert_eq!((b.settings.host.as_str(), b.settings.port), ("b.example", 24_224));
            assert_eq!((a.settings.require_ack, b.settings.require_ack), (true, false));
            assert_eq!(b.settings.io_timeout, Duration::from_secs(7));
        }
    }

    /// What a panic or a trace could show.
    #[test]
    fn no_debug_form_of_the_configuration_shows_a_secret() {
        let path = "fixtures/config/right/everything.conf";
        let secrets = std::fs::read_to_string(path).unwrap().matches("s3cr3t").count();
        let config = loaded(path).config;
        for shown in [format!("{config:?}"), format!("{config:#?}")] {
            assert!(secrets > 4 && shown.contains("alice") && !shown.contains("s3cr3t"), "{shown}");
        }
    }

    #[test]
    fn the_log_level_of_the_environment_wins() {
        for (text, expected, warnings) in
            [("debug", LogLevel::Debug, 0), ("", LogLevel::Warn, 0), ("loud", LogLevel::Warn, 1)]
        {
            let environment = Environment::of([("FLB_LOG_LEVEL", text)]);
            let path = "fixtures/config/right/everything.conf";
            let loaded = load(path.as_ref(), &[], &environment).unwrap();
            assert_eq!(loaded.config.service.log_level, expected, "{text}");
            assert_eq!(loaded.warnings.len(), warnings, "{text}");
        }
    }

    #[test]
    fn extra_parser_files_come_first() {
        let extra = [PathBuf::from("config/parsers.conf")];
        let path = "fixtures/config/right/everything.conf";
        let config = load(path.as_ref(), &extra, &environment()).unwrap().config;
        assert_eq!(config.parsers[0].time_key.as_deref(), Some("timestamp"));
        assert_eq!(config.parsers[1].name, "all");
    }
}
