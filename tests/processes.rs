//! Processes and mounts of the tests: signals, free ports, and that nothing outlives a test run, however it
//! ends.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// Reads what to clean up, until its input closes, which it does when the test process ends; a process is known by
/// its name too, since numbers come again.
const SCRIPT: &str = r#"
list=
while read -r kind what name; do list="$list $kind:$what:$name"; done
each() {
    for entry in $list; do
        kind=${entry%%:*}; rest=${entry#*:}; what=${rest%:*}; name=${rest##*:}
        if [ "$kind" = "$1" ]; then "$1" "$what" "$name"; fi
    done
}
process() { if [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ]; then kill -9 "$1"; fi; }
mount() { umount -l "$1" 2>/dev/null; }
folder() { rm -rf "$1"; }
each process
sleep 0.2
each mount
each folder
"#;

/// A shell that cleans up after this process. It is in a group of its own, since Ctrl-C ends ours.
struct Reaper {
    input: Mutex<ChildStdin>,
    _shell: Child,
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = shell.process_group(0).spawn().expect("a shell");
        Reaper { input: Mutex::new(shell.stdin.take().expect("a pipe")), _shell: shell }
    })
}

fn remember(line: &str) {
    let mut input = reaper().input.lock().expect("no holder of this lock panics");
    writeln!(input, "{line}").expect("the shell lives");
}

/// Kills a process named `name` when this one ends.
pub fn remember_process(pid: u32, name: &str) {
    remember(&format!("process {pid} {name}"));
}

/// Unmounts what is mounted at `path` when this process ends.
pub fn remember_mount(path: &Path) {
    remember(&format!("mount {} -", path.display()));
}

/// Removes a folder when this process ends.
pub fn remember_folder(path: &Path) {
    remember(&format!("folder {} -", path.display()));
}

/// Sends a signal; whether there was such a process.
pub fn signal(pid: u32, name: &str) -> bool {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null());
    kill.status().expect("kill runs").success()
}

/// Kills a child and waits until it has ended.
pub fn kill(child: &mut Child) {
    child.kill().expect("a child can be killed until it is waited for");
    child.wait().expect("it ends");
}

/// A port that nobody uses now. It is none of those that outgoing connections get, which could take it before a
/// server does.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
