//! What is done to the pipeline and to MongoDB, drawn from a seed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::pipeline::Pipeline;
use super::proxy::Mode;
use super::replica_set::{NODES, ReplicaSet};
use crate::processes::signal;

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

/// A fault.
#[derive(Clone, Debug)]
pub enum Fault {
    /// `kill -9`.
    KillPipeline,
    /// `kill -9` again and again, so many milliseconds after each start.
    KillPipelineInALoop(Vec<u64>),
    /// SIGSTOP, and SIGCONT after the time.
    StopPipeline,
    /// SIGINT.
    InterruptPipeline,
    /// Programs that take the processors, and the lowest priority for the pipeline.
    Starve,
    /// Its clock jumps by so many seconds, and back after the time.
    JumpClock(i64),
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
}

/// A fault, when it comes after the one before has been undone, and how long it lasts.
#[derive(Clone, Debug)]
pub struct Blow {
    pub fault: Fault,
    pub after: Duration,
    pub hold: Duration,
}

impl Blow {
    /// Draws one.
    pub fn draw(random: &mut ChaCha8Rng) -> Self {
        let member = if random.random_ratio(1, 2) {
            Member::Primary
        } else {
            Member::Number(random.random_range(0..NODES))
        };
        let slow = Duration::from_millis(random.random_range(5..100));
        let mode = *[Mode::Cut, Mode::Hang, Mode::Slow(slow)].choose(random).expect("three of them");
        let lives_ms = (0..KILLS).map(|_| random.random_range(LIVES_MS)).collect();
        let jump_s = random.random_range(-JUMP_S_MAX..JUMP_S_MAX);
        let faults = [
            Fault::KillPipeline,
            Fault::KillPipelineInALoop(lives_ms),
            Fault::StopPipeline,
            Fault::InterruptPipeline,
            Fault::Starve,
            Fault::JumpClock(jump_s),
            Fault::FillPipelineDisk,
            Fault::KillMember(member),
            Fault::StopMember(member),
            Fault::StopAllMembers,
            Fault::Election,
            Fault::Network(member, mode),
            Fault::FillMemberDisk(member),
        ];
        let fault = faults.choose(random).expect("there are some").clone();
        let mut millis = |range| Duration::from_millis(random.random_range(range));
        let (after, mut hold) = (millis(0..1_500), millis(HOLD_MS));
        if matches!(fault, Fault::StopAllMembers) && random.random_ratio(1, 4) {
            hold = LONG_STOP;
        }
        Self { fault, after, hold }
    }

    /// What it is, for sums.
    pub fn name(&self) -> String {
        let debug = format!("{:?}", self.fault);
        debug.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    /// Whether this machine lets us do it.
    pub fn is_possible(&self, pipeline: &Pipeline, set: &mut ReplicaSet) -> bool {
        match self.fault {
            Fault::JumpClock(_) => Pipeline::can_set_clock(),
            Fault::FillPipelineDisk => pipeline.disk.is_some(),
            Fault::FillMemberDisk(_) => set.node(0).disk.is_some(),
            _ => true,
        }
    }

    /// Does it, waits, and undoes it.
    pub async fn strike(&self, pipeline: &mut Pipeline, set: &mut ReplicaSet) {
        match &self.fault {
            Fault::KillPipeline => {
                pipeline.kill();
                self.hold().await;
            }
            Fault::KillPipelineInALoop(lives_ms) => {
                let until = Instant::now() + self.hold;
                for lives in lives_ms.iter().cycle() {
                    pipeline.kill();
                    if Instant::now() >= until {
                        break;
                    }
                    pipeline.ensure_running();
                    tokio::time::sleep(Duration::from_millis(*lives)).await;
                }
            }
            Fault::StopPipeline => {
                signal(pipeline.pid(), "STOP");
                self.hold().await;
            }
            Fault::InterruptPipeline => {
                signal(pipeline.pid(), "INT");
                self.hold().await;
            }
            Fault::Starve => {
                let _hogs: Vec<Hog> = (0..HOGS).map(|_| Hog::start()).collect();
                renice(pipeline.pid());
                self.hold().await;
                // Only a new process has its old priority again.
                pipeline.kill();
            }
            Fault::JumpClock(ahead_s) => {
                pipeline.set_clock(*ahead_s);
                self.hold().await;
            }
            Fault::FillPipelineDisk => {
                pipeline.disk.iter().for_each(|disk| disk.fill());
                self.hold().await;
            }
            Fault::KillMember(member) => {
                let number = number(*member, set).await;
                set.node(number).kill();
                self.hold().await;
            }
            Fault::StopMember(member) => {
                let number = number(*member, set).await;
                signal(set.node(number).pid(), "STOP");
                self.hold().await;
            }
            Fault::StopAllMembers => {
                for number in 0..NODES {
                    signal(set.node(number).pid(), "STOP");
                }
                self.hold().await;
            }
            Fault::Election => set.step_down().await,
            Fault::Network(member, mode) => {
                let number = number(*member, set).await;
                set.node(number).proxy.set(*mode);
                self.hold().await;
            }
            Fault::FillMemberDisk(member) => {
                let number = number(*member, set).await;
                set.node(number).disk.iter().for_each(|disk| disk.fill());
                self.hold().await;
            }
        }
        pipeline.heal();
        set.heal();
        pipeline.ensure_running();
    }

    async fn hold(&self) {
        tokio::time::sleep(self.hold).await;
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
        let mut hog = Command::new("timeout");
        hog.args(["60", "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        Self(hog.spawn().expect("a shell"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // What `timeout` gets it passes on.
        signal(self.0.id(), "TERM");
        self.0.wait().expect("it ends");
    }
}

fn renice(pid: u32) {
    let mut renice = Command::new("renice");
    renice.args(["-n", "19", "-p", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    renice.status().expect("renice runs");
}
