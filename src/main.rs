//! Arguments, logging, configuration, agent, exit status.

use std::io::{self, Write};
use std::panic;
use std::process::{self, ExitCode};

use log_ambassador::agent::AgentError;
use log_ambassador::cli::arguments::{Arguments, Check, Command, Run};
use log_ambassador::cli::receive::ReceiveError;
use log_ambassador::cli::signals::Signals;
use log_ambassador::cli::{self, Exit, Receive, Replay};
use log_ambassador::config::{self, Environment, Loaded, LogLevel, Problems};

fn main() -> ExitCode {
    end_as_a_failure_on_panic();
    let arguments = match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let exit = match arguments.command {
        None => run(&arguments.run),
        Some(Command::Check(check)) => self::check(&check),
        Some(Command::Keys) => print_keys(),
        Some(Command::Receive(receive)) => self::receive(receive),
        Some(Command::Replay(replay)) => self::replay(replay),
    };
    exit.into()
}

fn run(run: &Run) -> Exit {
    let Some(path) = &run.config else {
        return refuse("no configuration; name it with -c FILE, or see --help");
    };
    let loaded = match config::load(path, &run.parsers, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse_all(&problems),
    };
    let Loaded { config, warnings, notes } = loaded;
    if run.dry_run {
        warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        eprintln!("configuration test is successful");
        return Exit::Clean;
    }
    let level = run.log_level().unwrap_or(config.service.log_level);
    if let Err(error) = cli::logging::start(level, config.service.log_file.as_deref()) {
        return refuse(&format!("Log_File: {error}; name a file that can be written"));
    }
    warnings.iter().for_each(|warning| tracing::warn!("[config] {warning}"));
    notes.iter().for_each(|note| tracing::info!("[config] {note}"));
    wait_for(async {
        match cli::run::run(config).await {
            Err(error @ AgentError::Setting { .. }) => Ok(refuse(&error.to_string())),
            ended => ended.map_err(|error| error.to_string()),
        }
    })
}

fn check(check: &Check) -> Exit {
    let loaded = match config::load(&check.config, &check.parsers, &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse_all(&problems),
    };
    let Loaded { config, warnings, notes } = loaded;
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    if let Err(problem) = cli::run::open_files(&config) {
        return refuse(&problem);
    }
    let is_right = warnings.is_empty();
    if is_right {
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        eprintln!("{}: nothing is wrong with it", check.config.display());
    }
    let found = if is_right { Exit::Clean } else { Exit::Refused };
    if !check.connect {
        return found;
    }
    wait_for(async {
        let all_work = cli::check::connect(&config).await;
        Ok(if all_work { found } else { Exit::Refused })
    })
}

fn print_keys() -> Exit {
    // A closed stdout is nobody's loss.
    io::stdout().write_all(cli::keys::markdown().as_bytes()).ok();
    Exit::Clean
}

fn receive(receive: Receive) -> Exit {
    log_to_stderr(if receive.verbose { LogLevel::Debug } else { LogLevel::Info });
    wait_for(async {
        match receive.run().await {
            Ok(()) => Ok(Exit::Clean),
            Err(error @ ReceiveError::Flag(_)) => Ok(refuse(&error.to_string())),
            Err(error) => Err(error.to_string()),
        }
    })
}

fn replay(replay: Replay) -> Exit {
    log_to_stderr(LogLevel::Warn);
    let environment = Environment::of_process().with_namespace("default", "replay");
    for name in ["POD_NAME", "POD_NAMESPACE"] {
        if let Some((value, Some(source))) = environment.known(name) {
            eprintln!("{name} is not set: using '{value}', from {source}");
        }
    }
    let config = match &replay.config {
        None => cli::replay::reference(&environment),
        Some(path) => match config::load(path, &[], &environment) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
                loaded.config
            }
            Err(problems) => return refuse_all(&problems),
        },
    };
    wait_for(async {
        let mut signals = Signals::listen().map_err(|error| error.to_string())?;
        replay.run(config, signals.stop()).await.map_err(|error| error.to_string())
    })
}

fn log_to_stderr(level: LogLevel) {
    cli::logging::start(level, None).expect("only a file can fail to open");
}

/// Runs a future on a runtime of one thread: a sidecar has a tenth of a core.
fn wait_for(work: impl Future<Output = Result<Exit, String>>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let exit = runtime.block_on(work);
    // A name that is being looked up must not hold the process.
    runtime.shutdown_background();
    exit.unwrap_or_else(|error| fail(&error))
}

fn explain(error: &clap::Error) -> ExitCode {
    // Help and version go to stdout, everything else to stderr. A closed one is nobody's loss.
    error.print().ok();
    if error.use_stderr() { Exit::Refused.into() } else { Exit::Clean.into() }
}

fn refuse_all(problems: &Problems) -> Exit {
    eprintln!("{problems}");
    Exit::Refused
}

fn refuse(message: &str) -> Exit {
    eprintln!("{message}");
    Exit::Refused
}

fn fail(message: &str) -> Exit {
    eprintln!("{message}");
    Exit::Fault
}

/// A panic in any thread ends the process as a failure, never as a clean stop.
fn end_as_a_failure_on_panic() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        say(panic);
        io::stderr().flush().ok();
        process::exit(i32::from(Exit::Fault.status()));
    }));
}
