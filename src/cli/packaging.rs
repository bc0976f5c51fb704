//! `hookbro completions` and `hookbro man`: what a package of hookbro ships beside the binary.

use super::{exit::Failure, output};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write hookbro.1 and a page for each command into this folder instead of hookbro.1 to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Prints a script that completes `command` in a shell.
pub(super) fn completions(args: &CompletionsArgs, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "hookbro", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Writes the manual of `command`.
pub(super) fn man(args: &ManArgs, command: clap::Command) -> Result<(), Failure> {
    match &args.out {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            Ok(clap_mangen::generate_to(command, folder)?)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            output::print(&String::from_utf8_lossy(&page))
        }
    }
}
