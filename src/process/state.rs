//! The folder that a service may keep things in.

use std::path::PathBuf;

/// What systemd calls it (systemd.exec(5)); several are separated by colons.
const STATE: &str = "STATE_DIRECTORY";

/// The service's own folder, or the working one.
pub fn state_folder() -> PathBuf {
    folder(std::env::var(STATE).ok().as_deref())
}

fn folder(state: Option<&str>) -> PathBuf {
    state.and_then(|all| all.split(':').find(|one| !one.is_empty())).unwrap_or(".").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_services_own_folder_or_the_working_one() {
        for (state, expected) in [(Some("/var/lib/hookbro:/other"), "/var/lib/hookbro"), (Some(""), "."), (None, ".")] {
            assert_eq!(folder(state), PathBuf::from(expected));
        }
    }
}
