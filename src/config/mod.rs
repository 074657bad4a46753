//! Reads Fluent Bit's configuration.
//!
//! In:  the main file, and the environment
//! Out: [`Config`], or every problem at once, each as `file:line: key: what is wrong`
//!
//! ```text
//!  classic.rs ─┐                                ┌─ service.rs   [SERVICE]
//!              ├─▶ tree.rs ─▶ values.rs ────────┼─ parsers.rs   [PARSER], and finding the files
//!  yaml.rs ────┘   places     env.rs: ${NAME}   ├─ inputs.rs    [INPUT]
//!                             keys.rs: types    ├─ filters.rs   [FILTER]
//!                                               └─ outputs.rs   [OUTPUT]
//! ```
//!
//! Where Fluent Bit 5.1 starts, we start. What it refuses is a problem, what it ignores or bends is
//! a warning, and what we need not obey is a note.

mod classic;
mod env;
mod error;
mod filters;
mod inputs;
pub mod keys;
mod outputs;
mod parsers;
mod service;
mod tree;
mod values;
mod yaml;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{filter, forward, parse, tail};

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
    /// `[INPUT]` sections with `Name tail`, in file order.
    pub inputs: Vec<tail::Settings>,
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
    /// `Log_Level`.
    pub log_level: LogLevel,
    /// `Log_File`: where our own log goes instead of stderr.
    pub log_file: Option<PathBuf>,
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
            log_level: LogLevel::Info,
            log_file: None,
        }
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

    let ServiceSettings { service, backoff, parser_files } = loader.read_service(environment);
    let mut parsers = loader.read_parsers(extra_parsers, &parser_files, environment);
    loader.look_at_other_sections();
    let inputs = loader.read_inputs(&mut parsers);
    let filters = loader.read_filters();
    let outputs = loader.read_outputs(backoff);
    let parsers = parsers.finish(&mut report);

    let Report { problems, warnings, notes } = report;
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config = Config { service, parsers, inputs, filters, outputs };
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
        for section in self.tree.sections.iter().filter(|section| section.kind == Kind::Parser) {
            if is_yaml(&section.place.file) {
                parsers.add(section, self.variables, self.report);
            } else {
                let message =
                    "a [PARSER] belongs into a file of its own; name it with Parsers_File";
                self.report.refuse(&section.place, message);
            }
        }
        parsers
    }

    fn look_at_other_sections(&mut self) {
        for section in &self.tree.sections {
            let place = &section.place;
            match section.kind {
                Kind::MultilineParser if is_yaml(&place.file) => {
                    parsers::note_multiline_parser(place, self.report);
                }
                Kind::MultilineParser => {
                    let message = "a [MULTILINE_PARSER] belongs into a file of its own";
                    self.report.refuse(place, message);
                }
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
                Kind::UpstreamServers => self.report.note(
                    place,
                    "accepted, not obeyed: only an output with Upstream would read it",
                ),
                Kind::Service | Kind::Parser | Kind::Input | Kind::Filter | Kind::Output => {}
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
                _ => self.report.warn(place, "nothing obeys this block; take it out"),
            }
        }
    }

    fn read_inputs(&mut self, parsers: &mut Parsers) -> Vec<tail::Settings> {
        let sections = self.sections_of(Kind::Input, "input", "tail");
        if sections.is_empty() {
            self.warn_of_none("there is no [INPUT], so nothing is read");
        }
        let read = |(number, section)| {
            inputs::read_tail(section, number, self.variables, parsers, self.report)
        };
        sections.into_iter().enumerate().map(read).collect()
    }

    fn read_filters(&mut self) -> Vec<filter::Settings> {
        let sections = self.sections_of(Kind::Filter, "filter", "record_modifier");
        let read = |(number, section)| {
            filters::read_record_modifier(section, number, self.variables, self.report)
        };
        sections.into_iter().enumerate().filter_map(read).collect()
    }

    fn read_outputs(&mut self, backoff: forward::Backoff) -> Vec<forward::Settings> {
        let sections = self.sections_of(Kind::Output, "output", "forward");
        if sections.is_empty() {
            self.warn_of_none("there is no [OUTPUT], so nothing is sent");
        }
        let count = |kind| self.tree.sections.iter().filter(|section| section.kind == kind).count();
        let is_alone = count(Kind::Input) == 1 && count(Kind::Output) == 1;
        let surroundings = Surroundings { is_alone, backoff };
        let read = |(number, section)| {
            outputs::read_forward(section, number, surroundings, self.variables, self.report)
        };
        sections.into_iter().enumerate().map(read).collect()
    }

    /// The sections of `kind` whose plugin is the only one there is. Any other is reported.
    fn sections_of(&mut self, kind: Kind, noun: &str, only: &str) -> Vec<&'a Section> {
        let sections = self.tree.sections.iter().filter(|section| section.kind == kind);
        let mut ours = Vec::new();
        for section in sections {
            // Expanded for good, and complained about, with the other keys.
            let mut names = section.entries.iter().filter(|entry| entry.key == "name");
            let Some(entry) = names.next_back() else {
                let message = format!("this {noun} has no Name; write 'Name {only}'");
                self.report.refuse(&section.place, message);
                continue;
            };
            let name = self.variables.expand(&entry.value).text;
            if name.eq_ignore_ascii_case(only) {
                ours.push(section);
                continue;
            }
            let hint = did_you_mean(&name, std::iter::once(only));
            let message = format!("this version has no {noun} '{name}', only '{only}'{hint}");
            self.report.refuse(&entry.place, message);
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
