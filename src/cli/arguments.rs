//! The command line: the flags of the `fluent-bit` binary that its users have in manifests, and
//! our own subcommands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use super::{Receive, Replay};
use crate::config::LogLevel;

/// Follows log files and hands every line to Fluentd at least once, in bounded memory. Reads
/// Fluent Bit's configuration.
#[derive(Debug, Parser)]
#[command(name = "log-ambassador", version, disable_version_flag = true)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// What to do instead of running the agent
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What to run the agent with
    #[command(flatten)]
    pub run: Run,
    /// Print the version
    #[arg(short = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// The flags of the agent itself.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// The configuration file: classic, or YAML by its extension
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A file of parsers, loaded before those the configuration names; may be repeated
    #[arg(short = 'R', long = "parser", value_name = "FILE")]
    pub parsers: Vec<PathBuf>,
    /// Log more: debug, and trace when repeated
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Log nothing
    #[arg(short, long)]
    pub quiet: bool,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(short = 'D', long)]
    pub dry_run: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive events like a Fluentd and print each as one line of JSON
    Receive(Receive),
    /// Ship log files through the pipeline and show what arrives
    Replay(Replay),
    /// Read a configuration and say everything that is wrong or ignored in it
    Check(Check),
    /// Print every key there is, with its default and how we stand to it, as Markdown
    Keys,
}

/// `check`: what a start accepts with a warning is a failure here.
#[derive(Clone, Debug, clap::Args)]
pub struct Check {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// A file of parsers; may be repeated
    #[arg(short = 'R', long = "parser", value_name = "FILE")]
    pub parsers: Vec<PathBuf>,
    /// Also connect to every node of every output and send it one event, with the tag
    /// log-ambassador.check and the message "log-ambassador check"
    #[arg(long)]
    pub connect: bool,
}

impl Arguments {
    /// Reads the command line. A first argument that is neither a flag nor a subcommand is left
    /// out: container images of Fluent Bit concatenate ENTRYPOINT and CMD, so that the process
    /// gets its own path there.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        if arguments.get(1).is_some_and(is_stray) {
            arguments.remove(1);
        }
        Self::try_parse_from(arguments)
    }
}

fn is_stray(argument: &OsString) -> bool {
    let subcommands = ["receive", "replay", "check", "keys", "help"];
    argument.to_str().is_none_or(|text| !text.starts_with('-') && !subcommands.contains(&text))
}

impl Run {
    /// The level that flags ask for, if they do.
    pub fn log_level(&self) -> Option<LogLevel> {
        match (self.quiet, self.verbose) {
            (true, _) => Some(LogLevel::Off),
            (false, 0) => None,
            (false, 1) => Some(LogLevel::Debug),
            (false, _) => Some(LogLevel::Trace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_of_fluent_bit_are_understood() {
        let arguments = read("x -c /fluent-bit/etc/a.conf -R p.conf -R q.conf -vv").unwrap();
        assert_eq!(arguments.run.config, Some(PathBuf::from("/fluent-bit/etc/a.conf")));
        assert_eq!(arguments.run.parsers.len(), 2);
        assert_eq!(arguments.run.log_level(), Some(LogLevel::Trace));
        assert!(read("x --config=a.conf --dry-run -q").unwrap().run.dry_run);
        assert_eq!(read("x -ca.conf -q").unwrap().run.log_level(), Some(LogLevel::Off));
    }

    #[test]
    fn a_stray_first_argument_is_left_out() {
        let arguments = read("x /fluent-bit/bin/fluent-bit -c a.conf").unwrap();
        assert_eq!(arguments.run.config, Some(PathBuf::from("a.conf")));
        assert!(arguments.command.is_none());
        assert!(matches!(read("x receive").unwrap().command, Some(Command::Receive(_))));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["x --no-such-flag", "x -c", "x replay", "x check"] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
