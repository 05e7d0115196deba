//! What a consumer of the feed does, none of which the agent needs: judge evidence, ask nodes, watch. A program of its
//! own, so that a server carries none of it unless somebody wants it there; `rackmark` passes these commands on.

mod completions;
mod conversation;
mod ctl;
mod demo;
mod feed_tail;
mod subscriber;
mod verify;

use clap::{Parser, Subcommand};

use crate::exit::{Code, Failure};

/// Judge nodes of the feed, ask them, watch them.
#[derive(Debug, Parser)]
#[command(name = "rackmark", bin_name = "rackmark", version, after_help = crate::cli::EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent with a broker of its own and show what a consumer sees.
    Demo(demo::Options),
    /// Send a node a signed command over a broker.
    Ctl(ctl::Options),
    /// Judge a bundle of evidence: exit code 0 all is shown, 1 not all is, 2 something speaks against it.
    Verify(verify::Options),
    /// Look at the feed.
    #[command(subcommand)]
    Feed(FeedCommand),
    /// Print completions for a shell.
    Completions(completions::Options),
}

#[derive(Debug, Subcommand)]
enum FeedCommand {
    /// Print messages as they arrive, verified.
    Tail(feed_tail::Options),
    /// Ask a node what it is, and judge the answer; exit codes as of verify.
    Verify(verify::LiveOptions),
    /// Show what a verifier remembers, and forget by a person's decision.
    #[command(subcommand)]
    Memory(verify::MemoryCommand),
}

/// Carries out a command.
///
/// # Errors
/// A [`Failure`] with its exit code.
pub fn run(arguments: Arguments) -> Result<Code, Failure> {
    match arguments.command {
        Command::Demo(options) => demo::run(&options),
        Command::Ctl(options) => ctl::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Feed(FeedCommand::Verify(options)) => verify::run_live(&options),
        Command::Feed(FeedCommand::Memory(command)) => verify::run_memory(command),
        Command::Feed(FeedCommand::Tail(options)) => feed_tail::run(&options),
        Command::Completions(options) => completions::run(&options),
    }
}
