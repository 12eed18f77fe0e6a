//! What the modelled jobs run in: MongoDB as a majority and as its primary have it, the two logs, and the
//! faults that are still to come.

use std::cmp::max;

/// Most lines of `access-logs`.
pub const LINES_MAX: usize = 4;
/// Most batches that `access-rollups` takes, forwarded again ones included.
pub const FRAMES_MAX: usize = 16;
/// The stored batches of `access-logs`: first line, and first line after. Of each line the counts are a part.
pub const BATCHES: [(u8, u8); 3] = [(0, 2), (2, 3), (3, 4)];
/// The lines that are no events.
pub const REJECTS: u8 = 0b1010;
/// Processes that want the lease of a job.
pub const PROCESSES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    Events,
    Rollups,
    Alerts,
}

impl Job {
    pub const ALL: [Self; 3] = [Self::Events, Self::Rollups, Self::Alerts];
}

/// Which part of the protocol is left out, to see that the checker misses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutilation {
    /// Positions are read from the primary as it stands.
    LocalPositions,
    /// What is stored is looked up in the primary as it stands.
    LocalLookUps,
    /// The primary alone acknowledges writes.
    WriteConcernOne,
    /// A commit compares the position, and not who has loaded it.
    NoWriter,
    /// Alerts between two checkpoints are written without a look at the checkpoint.
    AlertsOutside,
    /// Each try of a transaction has a session of its own.
    SessionEachTry,
    /// That a position is where it should be proves a write that does not move it.
    PositionIsProof,
    /// Job events writes its checkpoint before it stores and forwards what that covers.
    CheckpointFirst,
    /// Counts and their position are written one after the other.
    TwoTransactions,
    /// The log forgets lines before the checkpoint that covers them is written.
    TrimFirst,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    pub next: u8,
    /// How often it was loaded.
    pub writer: u8,
}

/// What MongoDB holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    pub checkpoints: [Checkpoint; 3],
    /// The lines whose event or reject is there, a bit each: a set, since `_id` is unique.
    pub stored: u8,
    /// How often the counts of each line were added.
    pub counts: [u8; LINES_MAX],
    /// Beside the checkpoint of job rollups: the first line that is not applied.
    pub applied: u8,
    /// Beside the checkpoint of job alerts: the first line that the detector has not seen.
    pub detector: u8,
    /// How many lines the alert tells of; more is newer.
    pub alert: u8,
}

/// One command or transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Takes a checkpoint over, and counts its writer up.
    Load(Job),
    /// Inserts lines; those that are there are success.
    Insert(u8),
    /// Compares a checkpoint, moves it, and writes what belongs to it.
    Commit(Commit),
    /// Only in a mutilated protocol: counts without a checkpoint.
    Counts([u8; LINES_MAX]),
    /// Only in a mutilated protocol: an alert without a checkpoint.
    Alert(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Commit {
    pub job: Job,
    pub writer: u8,
    pub from: u8,
    pub to: u8,
    pub counts: [u8; LINES_MAX],
    pub applied: Option<u8>,
    pub detector: Option<u8>,
    pub alert: Option<u8>,
}

impl Commit {
    /// What moves a checkpoint alone is a plain update, without a session of its own.
    fn is_transaction(&self) -> bool {
        self.counts != [0; LINES_MAX] || self.alert.is_some()
    }
}

impl Database {
    /// Whether a write took effect.
    fn apply(&mut self, write: Write, without: Option<Mutilation>) -> bool {
        match write {
            Write::Load(job) => self.checkpoints[job as usize].writer += 1,
            Write::Insert(lines) => self.stored |= lines,
            Write::Counts(counts) => self.add(counts),
            Write::Alert(alert) => self.alert = alert,
            Write::Commit(commit) => {
                let checkpoint = &mut self.checkpoints[commit.job as usize];
                let is_writer = checkpoint.writer == commit.writer || without == Some(Mutilation::NoWriter);
                if checkpoint.next != commit.from || !is_writer {
                    return false;
                }
                checkpoint.next = commit.to;
                self.add(commit.counts);
                self.applied = commit.applied.unwrap_or(self.applied);
                self.detector = commit.detector.unwrap_or(self.detector);
                self.alert = commit.alert.unwrap_or(self.alert);
            }
        }
        true
    }

    fn add(&mut self, counts: [u8; LINES_MAX]) {
        self.counts.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
}

/// `access-rollups`: which batch of `access-logs` each of its batches has the counts of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frames {
    batches: [u8; FRAMES_MAX],
    pub end: u8,
    /// What is before is forgotten.
    pub start: u8,
}

impl Frames {
    pub fn of(batches: &[u8]) -> Self {
        let mut frames = Self::default();
        batches.iter().for_each(|batch| frames.append(*batch));
        frames
    }

    pub fn append(&mut self, batch: u8) {
        self.batches[usize::from(self.end)] = batch;
        self.end += 1;
    }

    /// The batch at `offset`; none where that is forgotten.
    pub fn get(&self, offset: u8) -> Option<u8> {
        (offset >= self.start).then(|| self.batches[usize::from(offset)])
    }

    pub fn all(&self) -> &[u8] {
        &self.batches[..usize::from(self.end)]
    }

    pub fn trim(&mut self, offset: u8) {
        self.start = max(self.start, offset);
    }
}

/// Where a process is in its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Step {
    /// Not running, or standing by.
    #[default]
    Down,
    Load,
    /// Reads what is stored beyond the checkpoint, or applied.
    LookUp,
    /// Takes what is next, or decides to write.
    Take,
    InsertEvents,
    InsertRejects,
    Forward,
    Commit,
    /// Reads its position after a commit was refused.
    Refused,
    Trim,
    /// Ended for good, since something is missing.
    Stuck,
}

/// What a process knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Process {
    pub step: Step,
    /// What it counted `writer` up to.
    pub writer: u8,
    /// First offset that is not covered by the checkpoint.
    pub saved: u8,
    /// First offset that is not worked off.
    pub next: u8,
    /// Job events: the lines that an earlier run has stored.
    pub stored: u8,
    /// Job rollups and the detector: the first line that is not taken in.
    pub position: u8,
    /// Job rollups: counts that are not written yet.
    pub gathered: [u8; LINES_MAX],
    /// Job alerts: the alert is not written as it is now.
    pub changed: bool,
    /// Job alerts: the detector has handed out its state.
    pub handed: bool,
}

/// How many of each fault are still to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    /// A process dies.
    pub crashes: u8,
    /// The primary loses its place, and with it what no majority has.
    pub elections: u8,
    /// The answer to a write is lost.
    pub lost: u8,
    /// An append is done twice.
    pub doubled: u8,
    /// A second process takes the lease of one that is only slow.
    pub takeovers: u8,
}

/// What became of a write, as far as its process can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A majority has it, and the answer has come.
    Done,
    /// The primary has it; no answer.
    Lost,
    /// It is still under way; no answer.
    Late,
}

/// A state of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub majority: Database,
    /// What the majority has, and what is not replicated yet.
    pub primary: Database,
    /// A write that comes to its end after its process has given it up.
    pub late: Option<Write>,
    /// The first line that `access-logs` has not forgotten.
    pub lines_start: u8,
    pub frames: Frames,
    /// By job.
    pub processes: [[Process; PROCESSES]; 3],
    /// Which process has the lease, by job.
    pub holders: [usize; 3],
    pub faults: Faults,
}

impl World {
    pub fn new(frames: Frames, faults: Faults) -> Self {
        Self {
            majority: Database::default(),
            primary: Database::default(),
            late: None,
            lines_start: 0,
            frames,
            processes: Default::default(),
            holders: [0; 3],
            faults,
        }
    }

    /// Whether a process has a job to do.
    pub fn runs_any(&self, index: usize) -> bool {
        self.processes.iter().any(|processes| processes[index].step != Step::Down)
    }

    /// Lets the majority have all that the primary has.
    pub fn replicate(&mut self) {
        self.majority = self.primary;
    }

    /// Another primary, which has what the majority has.
    pub fn elect(&mut self) {
        self.primary = self.majority;
        self.faults.elections -= 1;
    }

    /// Whether `write` took effect; none without an answer.
    pub fn write(&mut self, write: Write, fate: Fate, without: Option<Mutilation>) -> Option<bool> {
        if without != Some(Mutilation::SessionEachTry) && self.ends_late(write) {
            self.late = None;
        }
        match fate {
            Fate::Done => {
                let has_effect = self.primary.apply(write, without);
                // A transaction that is refused is ended, and that waits for no majority.
                if has_effect && without != Some(Mutilation::WriteConcernOne) {
                    self.replicate();
                }
                Some(has_effect)
            }
            Fate::Lost => {
                self.faults.lost -= 1;
                self.primary.apply(write, without);
                None
            }
            Fate::Late => {
                self.faults.lost -= 1;
                self.late = Some(write);
                None
            }
        }
    }

    /// Whether `write` begins a transaction in the session of the one that is under way, which ends that.
    fn ends_late(&self, write: Write) -> bool {
        let session = |write| match write {
            Write::Commit(commit) if commit.is_transaction() => Some((commit.job, commit.writer)),
            _ => None,
        };
        self.late.is_some_and(|late| session(late).is_some() && session(late) == session(write))
    }

    /// Lets the write that is under way come to its end; whether it took effect.
    pub fn arrive(&mut self, without: Option<Mutilation>) -> bool {
        self.late.take().is_some_and(|late| self.primary.apply(late, without))
    }

    /// A checkpoint as a job reads it. A linearizable read waits until a majority has what it gives.
    pub fn read(&mut self, job: Job, without: Option<Mutilation>) -> Checkpoint {
        if without != Some(Mutilation::LocalPositions) {
            self.replicate();
        }
        self.primary.checkpoints[job as usize]
    }

    /// What a look-up over a range of documents goes through.
    pub fn look_up(&self, without: Option<Mutilation>) -> &Database {
        if without == Some(Mutilation::LocalLookUps) { &self.primary } else { &self.majority }
    }
}
