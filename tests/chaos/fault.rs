//! What is done to the pipeline and to MongoDB, drawn from a seed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::cluster::SERVERS;
use super::pipeline::Pipeline;
use super::proxy::Mode;
use super::replica_set::{NODES, ReplicaSet};
use crate::processes::{kill, signal};

/// How long a fault lasts, in milliseconds.
const HOLD_MS: std::ops::Range<u64> = 200..6_000;
/// How long the pipeline lives in a loop of kills, in milliseconds.
const LIVES_MS: std::ops::Range<u64> = 150..1_500;
/// Times after which a loop of kills repeats itself.
const KILLS: usize = 8;
/// Programs that do nothing but take the processors.
const HOGS: usize = 4;
/// How far a clock jumps, in seconds.
const JUMP_S_MAX: i64 = 3 * 24 * 60 * 60;
/// Two faults come together in one blow of so many.
const TOGETHER_ONE_OF: u32 = 3;
/// How long all members of the replica set can be stopped where that takes long.
const LONG_STOP: Duration = Duration::from_secs(60);

/// Which member of the replica set.
#[derive(Clone, Copy, Debug)]
pub enum Member {
    /// The primary of the moment.
    Primary,
    /// This one.
    Number(usize),
}

/// A fault. Processes of the pipeline have numbers, and so have the servers of its cluster.
#[derive(Clone, Debug)]
pub enum Fault {
    /// `kill -9` for a process of the pipeline.
    KillProcess(usize),
    /// `kill -9` again and again, so many milliseconds after each start.
    KillProcessInALoop(usize, Vec<u64>),
    /// SIGSTOP, and SIGCONT after the time.
    StopProcess(usize),
    /// SIGINT.
    InterruptProcess(usize),
    /// Programs that take the processors, and the lowest priority for a process of the pipeline.
    Starve(usize),
    /// Its clock jumps by so many seconds, and back after the time.
    JumpClock(usize, i64),
    /// Its data directory's file system is full.
    FillPipelineDisk,
    /// `kill -9`; started again after the time.
    KillMember(Member),
    /// SIGSTOP, and SIGCONT after the time.
    StopMember(Member),
    /// SIGSTOP for all of them.
    StopAllMembers,
    /// The primary gives up its place.
    Election,
    /// Something between it and everybody else.
    Network(Member, Mode),
    /// Its file system is full.
    FillMemberDisk(Member),
    /// `kill -9` for a server of the Fluvio cluster; started again after the time.
    KillServer(usize),
    /// SIGSTOP, and SIGCONT after the time.
    StopServer(usize),
    /// Something between it and its clients.
    ServerNetwork(usize, Mode),
    /// The file system of the SPUs' logs is full.
    FillServerDisk,
}

/// Faults that come together, when they come after those before have been undone, and how long they last.
#[derive(Clone, Debug)]
pub struct Blow {
    pub faults: Vec<Fault>,
    pub after: Duration,
    pub hold: Duration,
}

impl Fault {
    /// Draws one of those that are possible.
    fn draw(random: &mut ChaCha8Rng, pipeline: &Pipeline, set: &mut ReplicaSet) -> Self {
        let member = if random.random_ratio(1, 2) {
            Member::Primary
        } else {
            Member::Number(random.random_range(0..NODES))
        };
        let slow = Duration::from_millis(random.random_range(5..100));
        let mode = *[Mode::Cut, Mode::Hang, Mode::Slow(slow)].choose(random).expect("three of them");
        let lives_ms = (0..KILLS).map(|_| random.random_range(LIVES_MS)).collect();
        let jump_s = random.random_range(-JUMP_S_MAX..JUMP_S_MAX);
        let (process, server) =
            (random.random_range(0..pipeline.processes()), random.random_range(0..SERVERS));
        let mut faults = vec![
            Self::KillProcess(process),
            Self::KillProcessInALoop(process, lives_ms),
            Self::StopProcess(process),
            Self::InterruptProcess(process),
            Self::Starve(process),
            Self::KillMember(member),
            Self::StopMember(member),
            Self::StopAllMembers,
            Self::Election,
            Self::Network(member, mode),
        ];
        if Pipeline::can_set_clock() {
            faults.push(Self::JumpClock(process, jump_s));
        }
        if pipeline.disk.is_some() {
            faults.push(Self::FillPipelineDisk);
        }
        if set.node(0).disk.is_some() {
            faults.push(Self::FillMemberDisk(member));
        }
        if let Some(cluster) = &pipeline.cluster {
            if cluster.disk.is_some() {
                faults.push(Self::FillServerDisk);
            }
            // As often as all others together.
            for _ in 0..4 {
                faults.extend([
                    Self::KillServer(server),
                    Self::StopServer(server),
                    Self::ServerNetwork(server, mode),
                ]);
            }
        }
        faults.choose(random).expect("there are some").clone()
    }

    /// What it is, for sums.
    fn name(&self) -> String {
        let debug = format!("{self:?}");
        debug.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Does it.
    async fn begin(&self, pipeline: &mut Pipeline, set: &mut ReplicaSet) {
        match *self {
            Self::KillProcess(process) => pipeline.kill(process),
            Self::KillProcessInALoop(..) => {}
            Self::StopProcess(process) => {
                signal(pipeline.pid(process), "STOP");
            }
            Self::InterruptProcess(process) => {
                signal(pipeline.pid(process), "INT");
            }
            Self::Starve(process) => renice(pipeline.pid(process)),
            Self::JumpClock(process, ahead_s) => pipeline.set_clock(process, ahead_s),
            Self::FillPipelineDisk => pipeline.disk.iter().for_each(|disk| disk.fill()),
            Self::KillMember(member) => set.node(number(member, set).await).kill(),
            Self::StopMember(member) => {
                signal(set.node(number(member, set).await).pid(), "STOP");
            }
            Self::StopAllMembers => {
                for number in 0..NODES {
                    signal(set.node(number).pid(), "STOP");
                }
            }
            Self::Election => set.step_down().await,
            Self::Network(member, mode) => set.node(number(member, set).await).proxy.set(mode),
            Self::FillMemberDisk(member) => {
                set.node(number(member, set).await).disk.iter().for_each(|disk| disk.fill());
            }
            Self::FillServerDisk => pipeline.cluster().fill(),
            Self::KillServer(server) => pipeline.cluster().kill(server),
            Self::StopServer(server) => pipeline.cluster().stop(server),
            Self::ServerNetwork(server, mode) => pipeline.cluster().disturb(server, mode),
        }
    }

    /// Goes on with it until it is to be undone.
    async fn go_on(&self, until: Instant, pipeline: &mut Pipeline) {
        match self {
            Self::KillProcessInALoop(process, lives_ms) => {
                for lives in lives_ms.iter().cycle() {
                    pipeline.kill(*process);
                    if Instant::now() >= until {
                        break;
                    }
                    pipeline.ensure_running();
                    tokio::time::sleep(Duration::from_millis(*lives)).await;
                }
            }
            Self::Starve(process) => {
                tokio::time::sleep_until(until.into()).await;
                // Only a new process has its old priority again.
                pipeline.kill(*process);
            }
            _ => tokio::time::sleep_until(until.into()).await,
        }
    }
}

impl Blow {
    /// Draws one.
    pub fn draw(random: &mut ChaCha8Rng, pipeline: &Pipeline, set: &mut ReplicaSet) -> Self {
        let count = if random.random_ratio(1, TOGETHER_ONE_OF) { 2 } else { 1 };
        let faults: Vec<_> = (0..count).map(|_| Fault::draw(random, pipeline, set)).collect();
        let mut millis = |range| Duration::from_millis(random.random_range(range));
        let (after, mut hold) = (millis(0..1_500), millis(HOLD_MS));
        if matches!(faults[0], Fault::StopAllMembers) && random.random_ratio(1, 4) {
            hold = LONG_STOP;
        }
        Self { faults, after, hold }
    }

    /// What its faults are, for sums.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.faults.iter().map(Fault::name)
    }

    /// Does it, waits, and undoes it.
    pub async fn strike(&self, pipeline: &mut Pipeline, set: &mut ReplicaSet) {
        for fault in &self.faults {
            fault.begin(pipeline, set).await;
        }
        let starve = self.faults.iter().any(|fault| matches!(fault, Fault::Starve(_)));
        let hogs: Vec<Hog> = (0..if starve { HOGS } else { 0 }).map(|_| Hog::start()).collect();
        let until = Instant::now() + self.hold;
        for fault in &self.faults {
            fault.go_on(until, pipeline).await;
        }
        drop(hogs);
        pipeline.heal();
        set.heal();
        pipeline.ensure_running();
    }
}

async fn number(member: Member, set: &ReplicaSet) -> usize {
    match member {
        Member::Number(number) => number,
        Member::Primary => set.primary().await.unwrap_or(0),
    }
}

/// A program that takes a processor until it is dropped.
struct Hog(Child);

impl Hog {
    fn start() -> Self {
        let mut hog = Command::new("sh");
        // It ends with us too, and holds no pipe that somebody reads to its end.
        hog.args(["-c", "while [ -d /proc/$PPID ]; do :; done"]).stdin(Stdio::null()).stdout(Stdio::null());
        Self(hog.stderr(Stdio::null()).spawn().expect("a shell"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        kill(&mut self.0);
    }
}

fn renice(pid: u32) {
    let mut renice = Command::new("renice");
    renice.args(["-n", "19", "-p", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    renice.status().expect("renice runs");
}
