//! A file of lines, and `streampulse up` on it, watched from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mongodb::Database;
use mongodb::bson::{Document, doc};
use sink::schema::EVENTS;

use crate::server::{Server, cpu_us, times_us};

/// A Monday.
const START: &str = "2026-03-02T00:00:00Z";
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Name of the database.
pub const DATABASE: &str = "pipeline";

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub wall_s: f64,
    /// CPU of the server, and of the process that writes.
    pub server_s: f64,
    pub process_s: f64,
    /// The part of the pipeline's CPU that goes to reading topics and running SmartModules, once compiled.
    pub modules_s: f64,
    /// Most memory of the pipeline.
    pub peak_mib: f64,
    /// How many events are stored.
    pub stored: u64,
}

/// Writes the lines.
pub fn produce(file: &Path, events: u64, rate: f64) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.args(["produce", "--print", "--start", START]);
    command.args(["--events", &events.to_string(), "--rate", &rate.to_string(), "--seed", "7"]);
    let status = command.stdout(std::fs::File::create(file)?).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "streampulse produce ended with {status}");
    Ok(())
}

/// The pipeline on the file, with more flags, from its start to its end, into an empty database.
pub async fn up(
    database: &Database,
    server: &Server,
    uri: &str,
    (dir, file): (&Path, &Path),
    flags: &[&str],
) -> Result<Run> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.args([
        "up",
        "--until-drained",
        "--summary",
        "json",
        "--mongodb-uri",
        uri,
        "--database",
        DATABASE,
    ]);
    command.arg("--file").arg(file).arg("--data-dir").arg(dir);
    command.args(flags);
    timed(database, server, command.stderr(Stdio::null())).await
}

/// A program that fills the database, from its start to its end; the database is emptied before.
pub async fn timed(database: &Database, server: &Server, command: &mut Command) -> Result<Run> {
    database.drop().await?;
    server.checkpoint().await?;
    let (server_s, began, children_s) = (server.cpu_us()?, Instant::now(), cpu_us_of_children()?);
    let (modules_s, peak_mib) = watch(command.stdout(Stdio::null()).spawn()?)?;
    let wall_s = began.elapsed().as_secs_f64();
    server.checkpoint().await?;
    let stored = database.collection::<Document>(EVENTS).count_documents(doc! {}).await?;
    Ok(Run {
        wall_s,
        server_s: (server.cpu_us()? - server_s) / 1e6,
        process_s: (cpu_us_of_children()? - children_s) / 1e6,
        modules_s,
        peak_mib,
        stored,
    })
}

/// CPU that the children of this process have used that have ended, in microseconds.
pub fn cpu_us_of_children() -> Result<f64> {
    times_us(Path::new("/proc/self/stat"), 16)
}

/// CPU seconds of the threads that run SmartModules, and the peak memory in MiB of a process that ends well.
fn watch(mut child: Child) -> Result<(f64, f64)> {
    let (mut threads, mut peak_kib) = (BTreeMap::new(), 0.0);
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "the program ended with {status}");
            return Ok((threads.values().sum::<f64>() / 1e6, peak_kib / 1_024.0));
        }
        peak_kib = peak_kib_of(child.id()).unwrap_or(peak_kib);
        // A thread can end while it is looked at.
        if let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", child.id())) {
            for task in tasks.flatten().map(|task| task.path()) {
                let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
                if name.starts_with("stream-")
                    && let Ok(us) = cpu_us(&task.join("stat"))
                {
                    threads.insert(task, us);
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn peak_kib_of(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
