//! `rackmark`: the agent, and what is done at the server.

fn main() -> std::process::ExitCode {
    rackmark::agent()
}
