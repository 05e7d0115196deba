//! `rackmark-consumer`: what those do who consume the feed. `rackmark` starts it for its commands.

fn main() -> std::process::ExitCode {
    rackmark::consumer()
}
