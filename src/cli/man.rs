//! `hookbro man`: for packagers; hidden, since `man hookbro` is where people look.

use super::{Cli, exit::Failure, output};
use clap::CommandFactory as _;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Write hookbro.1 and a page for each command into this folder instead of hookbro.1 to standard output.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let command = Cli::command();
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
