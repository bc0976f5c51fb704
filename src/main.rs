//! The `hookbro` program: words in, exit code out. Everything else is in the library.

use clap::Parser as _;
use hookbro::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::execute(Cli::parse())
}
