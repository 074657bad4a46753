//! temp
use clap::Parser;
use log_ambassador::cli::{self, Exit};
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}
#[derive(clap::Subcommand)]
enum Command {
    Receive(cli::Receive),
    Replay(cli::Replay),
    Bench { path: String, port: u16, limit: usize, tag: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::logging::start(log_ambassador::config::LogLevel::Info, None).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match arguments.command {
            Command::Receive(r) => { r.run().await.unwrap(); Exit::Clean }
            Command::Replay(r) => r.run(cli::replay::reference("h", "default"), std::future::pending()).await.unwrap(),
            Command::Bench { path, port, limit, tag } => {
                let mut c = cli::replay::reference("h", "default");
                c.inputs[0].paths = vec![path];
                c.inputs[0].mem_buf_limit = limit;
                c.inputs[0].tag = tag;
                c.outputs[0].host = "127.0.0.1".into();
                c.outputs[0].port = port;
                cli::run::run(c).await.unwrap()
            }
        }
    }).into()
}
