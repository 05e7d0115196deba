//! `rackmark-sampler`: see the library for what it does.

use std::io::{self, Write};
use std::process::exit;

use rackmark_sampler::{Arguments, EXIT_USAGE, run};

fn main() {
    match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => run(arguments),
        Err(error) => {
            // Where standard error is closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "rackmark-sampler: {error}");
            exit(EXIT_USAGE)
        }
    }
}
