//! The command line: every command is a client of the host's own gRPC services.
//!
//! Data goes to stdout and everything else to stderr; `--output json` makes the data ProtoJSON.
//! What agents wrote reaches a terminal only with its control characters escaped.

mod agents;
mod approvals;
pub(crate) mod args;
pub(crate) mod audit;
mod build;
pub(crate) mod connection;
mod dev;
mod doctor;
mod edit;
mod examples;
pub(crate) mod exit;
pub(crate) mod failure;
mod forge;
mod grants;
mod invocations;
pub(crate) mod invoke;
mod json;
mod lock;
mod memory;
pub(crate) mod output;
mod pack;
mod policy;
pub(crate) mod prompt;
mod seen;
mod suggest;
pub(crate) mod text;
mod tokens;
mod vault;
pub(crate) mod view;
mod words;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use self::{
    args::{Cli, Command, Serve},
    connection::Client,
    exit::Exit,
    output::Output,
};

/// Runs the command that the process was called with and reports how it ended.
///
/// Starts the asynchronous runtime itself, so it has to be called from a plain `main`.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => suggest::exit(error),
    };
    if let Command::Serve(arguments) = cli.command {
        // The host builds a runtime of its own, with threads for its guests.
        return serve(arguments).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error)).into(),
    };
    let exit = match runtime.block_on(Box::pin(run(cli))) {
        Ok(exit) => exit,
        Err(error) => failure::report(&error),
    };
    seen::remember();
    // A blocked read of the terminal must not keep the process.
    runtime.shutdown_background();
    exit.into()
}

fn serve(arguments: Serve) -> Exit {
    let filter = EnvFilter::try_from_env("NEXUS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    match crate::serve::main(&arguments.into()) {
        Ok(()) => Exit::Success,
        Err(error) => failure::report(&error),
    }
}

async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let output = Output::new(cli.global.output);
    let connect = || Client::connect(&cli.global);
    match cli.command {
        // `main` has taken care of it.
        Command::Serve(_) => Ok(Exit::Success),
        Command::Doctor(arguments) => doctor::run(&arguments, &cli.global, &output).await,
        Command::Demo(arguments) => crate::demo::run(&arguments, &output).await,
        Command::Forge(command) => forge::run(command, &connect()?, &output).await,
        Command::Agents(command) => agents::run(command, &connect()?, &output).await,
        Command::Invoke(arguments) => invoke::run(arguments, &connect()?, &output).await,
        Command::Invocations(command) => invocations::run(command, &connect()?, &output).await,
        Command::Approvals(command) => approvals::run(command, &connect()?, &output).await,
        Command::Policy(command) => policy::run(command, &cli.global, &output).await,
        Command::Vault(command) => vault::run(command, &cli.global, &output).await,
        Command::Grants(command) => grants::run(command, &connect()?, &output).await,
        Command::Memory(command) => memory::run(command, &connect()?, &output).await,
        Command::Tokens(command) => tokens::run(command, &connect()?, &output).await,
        Command::Audit(command) => audit::run(command, &cli.global, &output).await,
        Command::Lock(command) => lock::run(command, &cli.global, &output).await,
        Command::Pack(arguments) => pack::run(&arguments, &output),
        Command::Dev(arguments) => dev::run(arguments, &connect()?, &output).await,
    }
}

/// The resource name to filter a list by; empty if nothing is to be filtered.
fn filter(collection: &str, id: &str) -> String {
    if id.is_empty() {
        String::new()
    } else {
        text::name(collection, id)
    }
}

/// How many items to ask for when so many are still wanted. The host caps it further.
fn page_size(wanted: usize) -> i32 {
    i32::try_from(wanted.min(1_000)).unwrap_or(1_000)
}
