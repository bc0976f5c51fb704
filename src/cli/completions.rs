//! `hookbro completions`.

use super::{Cli, exit::Failure, output};
use clap::CommandFactory as _;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hookbro", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
