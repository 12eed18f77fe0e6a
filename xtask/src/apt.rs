//! Installing Debian packages, when this is Debian and we may. When we may not, the error is the exact
//! command for the user, and nothing has been changed.

use std::process::Command;

use crate::Outcome;
use crate::step;

/// Installs the packages, as root or through a `sudo` that asks no password. `why` says in the
/// progress line what they are for.
pub fn install(packages: &[&str], why: &str) -> Outcome<()> {
    let names = packages.join(" ");
    if step::find_on_path("apt-get").is_none() {
        return Err(format!("{why}: install what Debian calls {names}, then run this again"));
    }
    let Some(prefix) = privilege() else {
        return Err(format!(
            "{why}: run `sudo apt-get update` and `sudo apt-get install -y {names}`, then run this again"
        ));
    };
    let what = format!("{why}: installing Debian packages {names} (some minutes at most)");
    step::timed(&what, || {
        // On a fresh machine the lists of packages are empty, or name versions that are too old.
        if let Err(message) = step::run(apt_get(prefix).arg("update")) {
            step::note(&format!("going on with the lists of packages that are there: {message}"));
        }
        step::run(apt_get(prefix).args(install_arguments(packages)))
    })
}

/// The words to put before `apt-get`, or nothing when it may not be run.
fn privilege() -> Option<&'static [&'static str]> {
    let user_id = step::output_of(Command::new("id").arg("-u"))?;
    if user_id.trim() == "0" {
        return Some(&[]);
    }
    step::output_of(Command::new("sudo").args(["-n", "true"])).map(|_| &["sudo", "-n"][..])
}

fn apt_get(prefix: &[&str]) -> Command {
    // `env` carries the variable through sudo, which drops it.
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    [&["install", "-y", "--no-install-recommends"], packages].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_comes_before_env_and_apt_get() {
        let command = apt_get(&["sudo", "-n"]);
        assert_eq!(command.get_program(), "sudo");
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words, ["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        assert_eq!(apt_get(&[]).get_program(), "env");
    }
}
