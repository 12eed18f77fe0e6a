//! The three jobs, a step at a time, and the properties that hold at each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::event_id::Source;
use domain::positions::Position;
use domain::wire::{Delta, DeltaFrame, Header};
use domain::{Admission, Positions};
use stateright::{Model, Property};

use super::world::{
    BATCHES, Checkpoint, Commit, Fate, Faults, Frames, Job, LINES_MAX, Mutilation, PROCESSES, Process,
    REJECTS, Step, World, Write,
};

/// The batch after which the detector hands out its state. Alerts change after it too.
const HANDS_OUT_AFTER: u8 = 0;

/// What is explored.
#[derive(Clone, Debug)]
pub struct System {
    pub jobs: Vec<Job>,
    /// How many of [`BATCHES`] there are.
    pub batches: u8,
    /// What `access-rollups` holds from the start; there where job events does not run.
    pub frames: Vec<Vec<u8>>,
    pub faults: Faults,
    pub without: Option<Mutilation>,
    pub seen: Arc<Seen>,
}

/// How often something happened in all that was explored.
#[derive(Debug, Default)]
pub struct Seen {
    pub crashes: AtomicU64,
    pub taken_back: AtomicU64,
    pub late: AtomicU64,
    pub late_refused: AtomicU64,
    pub fenced: AtomicU64,
    pub skipped_lines: AtomicU64,
    pub skipped_frames: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(Job, usize),
    Step(Job, usize, Fate),
    /// Writes what was taken so far.
    Save(Job, usize),
    /// The process of one job dies.
    Crash(Job, usize),
    /// A process dies that has all jobs.
    CrashAll(usize),
    /// Sees that another process has the lease.
    StandBy(Job, usize),
    Replicate,
    Elect,
    /// A write under way comes to its end.
    Arrive,
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.frames.iter().map(|frames| World::new(Frames::of(frames), self.faults)).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for &job in &self.jobs {
            for index in 0..PROCESSES {
                self.actions_of(world, job, index, actions);
            }
        }
        if world.faults.crashes > 0 && self.jobs.len() > 1 {
            actions.extend((0..PROCESSES).filter(|index| world.runs_any(*index)).map(Action::CrashAll));
        }
        if world.majority != world.primary {
            actions.push(Action::Replicate);
            if world.faults.elections > 0 {
                actions.push(Action::Elect);
            }
        }
        if world.late.is_some() {
            actions.push(Action::Arrive);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = *world;
        match action {
            Action::Start(job, index) => {
                if world.processes[job as usize][1 - index].step != Step::Down {
                    world.faults.takeovers -= 1;
                }
                world.holders[job as usize] = index;
                world.processes[job as usize][index].step = Step::Load;
            }
            Action::Step(job, index, fate) => self.step(&mut world, job, index, fate),
            Action::Save(job, index) => {
                let process = &mut world.processes[job as usize][index];
                process.step = Step::Commit;
                if self.without == Some(Mutilation::TrimFirst) && job == Job::Events {
                    world.lines_start = world.lines_start.max(process.next);
                }
            }
            Action::Crash(job, index) => {
                world.faults.crashes -= 1;
                world.processes[job as usize][index] = Process::default();
                count(&self.seen.crashes);
            }
            Action::CrashAll(index) => {
                world.faults.crashes -= 1;
                world.processes.iter_mut().for_each(|processes| processes[index] = Process::default());
                count(&self.seen.crashes);
            }
            Action::StandBy(job, index) => world.processes[job as usize][index] = Process::default(),
            Action::Replicate => world.replicate(),
            Action::Elect => {
                world.elect();
                count(&self.seen.taken_back);
            }
            Action::Arrive => {
                let has_effect = world.arrive(self.without);
                count(if has_effect { &self.seen.late } else { &self.seen.late_refused });
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FORGOTTEN_LINES, |_: &Self, world: &World| {
                let forgotten = lines_before(world.lines_start);
                let kept = |line: u8| world.frames.all().iter().any(|batch| lines(*batch).contains(&line));
                let counted = |line: u8| world.majority.counts[usize::from(line)] > 0;
                world.majority.stored & forgotten == forgotten
                    && (0..world.lines_start).all(|line| counted(line) || kept(line))
            }),
            Property::always(FORGOTTEN_COUNTS, |system: &Self, world: &World| {
                let forgotten = world.frames.all()[..usize::from(world.frames.start)].iter().copied();
                let done = |job, next| !system.jobs.contains(&job) || next >= world.frames.start;
                let [_, rollups, alerts] = world.majority.checkpoints;
                forgotten.flat_map(lines).all(|line| {
                    let counts = world.majority.counts[usize::from(line)];
                    !system.jobs.contains(&Job::Rollups) || counts > 0
                }) && done(Job::Rollups, rollups.next)
                    && done(Job::Alerts, alerts.next)
            }),
            Property::always(COUNTED_ONCE, |_: &Self, world: &World| {
                [&world.primary, &world.majority].into_iter().all(|database| {
                    (0..).zip(database.counts).all(|(line, n)| n == u8::from(line < database.applied))
                })
            }),
            Property::always(ALERTS_NEWER, |_: &Self, world: &World| {
                [&world.primary, &world.majority].into_iter().all(|it| it.alert >= it.detector)
            }),
            Property::always(NOTHING_MISSING, |_: &Self, world: &World| {
                world.processes.as_flattened().iter().all(|process| process.step != Step::Stuck)
            }),
            Property::always(ENDS_COMPLETE, |system: &Self, world: &World| {
                let mut actions = Vec::new();
                system.actions(world, &mut actions);
                !actions.is_empty() || system.is_complete(world)
            }),
            Property::sometimes(COMPLETE, Self::is_complete),
        ]
    }
}

pub const FORGOTTEN_LINES: &str = "lines that the log forgot are stored, and counted or forwarded, for good";
pub const FORGOTTEN_COUNTS: &str = "counts that the log forgot are applied for good";
pub const COUNTED_ONCE: &str = "a line is counted exactly when the position is past it, and once";
pub const ALERTS_NEWER: &str = "no alert is older than the state beside the checkpoint";
pub const NOTHING_MISSING: &str = "no job ends since lines or counts are missing";
pub const ENDS_COMPLETE: &str = "where nothing more happens everything is stored, counted and told once";
pub const COMPLETE: &str = "everything is stored, counted and told once";

/// The lines of a batch.
fn lines(batch: u8) -> std::ops::Range<u8> {
    let (first, after) = BATCHES[usize::from(batch)];
    first..after
}

/// The lines before `line`, a bit each.
fn lines_before(line: u8) -> u8 {
    (1 << line) - 1
}

impl System {
    fn lines_end(&self) -> u8 {
        BATCHES[usize::from(self.batches) - 1].1
    }

    /// Everything that there is has come through, once.
    fn is_complete(&self, world: &World) -> bool {
        let end = self.lines_end();
        let database = &world.majority;
        let counted = (0..).zip(database.counts).all(|(line, n)| n == u8::from(line < end));
        world.primary == world.majority
            && self.jobs.iter().all(|job| match job {
                Job::Events => database.stored == lines_before(end),
                Job::Rollups => counted,
                Job::Alerts => database.alert == end,
            })
    }

    fn actions_of(&self, world: &World, job: Job, index: usize, actions: &mut Vec<Action>) {
        let process = &world.processes[job as usize][index];
        let other = &world.processes[job as usize][1 - index];
        if process.step == Step::Down {
            // Where both are down it is the same which one starts.
            let is_free = other.step == Step::Down && index == 0;
            let is_slow = !matches!(other.step, Step::Down | Step::Stuck) && world.faults.takeovers > 0;
            if is_free || is_slow {
                actions.push(Action::Start(job, index));
            }
            return;
        }
        if world.holders[job as usize] != index {
            actions.push(Action::StandBy(job, index));
        }
        if process.step == Step::Stuck {
            return;
        }
        if world.faults.crashes > 0 {
            actions.push(Action::Crash(job, index));
        }
        let is_there = match (process.step, job) {
            (Step::Take, Job::Events) => process.next < self.lines_end(),
            (Step::Take, _) => process.next < world.frames.end && !process.handed,
            _ => true,
        };
        if is_there {
            actions.push(Action::Step(job, index, Fate::Done));
        }
        // `access-rollups` never ends: sooner or later there is something to commit, if only a closed minute,
        // and who is not the writer any more hears of it. Other commits of nothing are not modelled.
        let is_fenced = world.primary.checkpoints[job as usize].writer != process.writer;
        let has_news = match job {
            Job::Events => process.next > process.saved,
            Job::Rollups => process.next > process.saved || is_fenced,
            Job::Alerts => process.changed || is_fenced,
        };
        match process.step {
            Step::Take if has_news => actions.push(Action::Save(job, index)),
            Step::Load | Step::InsertEvents | Step::InsertRejects | Step::Commit if world.faults.lost > 0 => {
                actions.push(Action::Step(job, index, Fate::Lost));
                if world.late.is_none() {
                    actions.push(Action::Step(job, index, Fate::Late));
                }
            }
            Step::Forward if world.faults.doubled > 0 => actions.push(Action::Step(job, index, Fate::Lost)),
            _ => {}
        }
    }

    fn step(&self, world: &mut World, job: Job, index: usize, fate: Fate) {
        let mut process = world.processes[job as usize][index];
        process = match process.step {
            Step::Down | Step::Stuck => process,
            Step::Load => self.load(world, job, process, fate),
            Step::LookUp => {
                let found = world.look_up(self.without);
                let stored = found.stored & !lines_before(process.next);
                Process { stored, position: found.applied, step: Step::Take, ..process }
            }
            Step::Take if job == Job::Events => self.take_lines(world, process),
            Step::Take => self.take_frames(world, job, process),
            Step::InsertEvents => self.insert(world, process, !REJECTS, Step::InsertRejects, fate),
            Step::InsertRejects => self.insert(world, process, REJECTS, Step::Forward, fate),
            Step::Forward => self.forward(world, process, fate),
            Step::Refused => self.read(world, job, process),
            Step::Commit => self.commit(world, job, process, fate),
            Step::Trim => self.trim(world, job, index, process),
        };
        world.processes[job as usize][index] = process;
    }

    fn load(&self, world: &mut World, job: Job, process: Process, fate: Fate) -> Process {
        if world.write(Write::Load(job), fate, self.without).is_none() {
            return process;
        }
        let Checkpoint { next, writer } = world.primary.checkpoints[job as usize];
        let start = if job == Job::Events { world.lines_start } else { world.frames.start };
        // The detector's state comes with the checkpoint, and nothing has to be looked up.
        let (step, position) = match job {
            _ if next < start => (Step::Stuck, 0),
            Job::Events | Job::Rollups => (Step::LookUp, 0),
            Job::Alerts => (Step::Take, world.primary.detector),
        };
        Process { step, writer, saved: next, next, position, ..Process::default() }
    }

    fn take_lines(&self, world: &World, process: Process) -> Process {
        // Another process let the log forget it: the stream breaks, and the job begins anew.
        if process.next < world.lines_start {
            return Process::default();
        }
        if self.without == Some(Mutilation::CheckpointFirst) {
            return Process { next: lines(batch_at(process.next)).end, step: Step::Commit, ..process };
        }
        Process { step: Step::InsertEvents, ..process }
    }

    /// The batch that is worked on.
    fn batch(&self, process: &Process) -> u8 {
        if self.without == Some(Mutilation::CheckpointFirst) {
            batch_at(process.next - 1)
        } else {
            batch_at(process.next)
        }
    }

    fn insert(&self, world: &mut World, process: Process, of: u8, then: Step, fate: Fate) -> Process {
        let lines = lines(self.batch(&process));
        let new = lines_before(lines.end) & !lines_before(lines.start) & of;
        if new & process.stored != 0 {
            count(&self.seen.skipped_lines);
        }
        let is_done = world.write(Write::Insert(new & !process.stored), fate, self.without).is_some();
        if is_done { Process { step: then, ..process } } else { process }
    }

    fn forward(&self, world: &mut World, process: Process, fate: Fate) -> Process {
        let batch = self.batch(&process);
        world.frames.append(batch);
        if fate != Fate::Done {
            world.faults.doubled -= 1;
            return process;
        }
        let next = lines(batch).end;
        Process { step: Step::Take, next, stored: process.stored & !lines_before(next), ..process }
    }

    /// What job rollups and the detector do with one batch of `access-rollups`: the real admission decides.
    fn take_frames(&self, world: &World, job: Job, mut process: Process) -> Process {
        let Some(batch) = world.frames.get(process.next) else { return Process::default() };
        let (source, lines) = (Source::default(), lines(batch));
        let mut positions = Positions::default();
        if process.position > 0 {
            let next_offset = u64::from(process.position);
            positions.0.insert(source, Position { next_offset, next_part: 0 });
        }
        let (base_offset, last_offset) = (u64::from(lines.start), u64::from(lines.end) - 1);
        let header = Header { source, base_offset, last_offset, ..Header::default() };
        let parts = u32::try_from(lines.len()).expect("few");
        let mut is_new = false;
        for (part, line) in (0..parts).zip(lines) {
            let frame = DeltaFrame { header, part, parts, delta: Delta::default() };
            match positions.admit(&frame) {
                Admission::Apply => positions.advance(&frame),
                Admission::Seen => {
                    count(&self.seen.skipped_frames);
                    continue;
                }
                Admission::Gap(_) => return Process { step: Step::Stuck, ..process },
            }
            is_new = true;
            if job == Job::Rollups {
                process.gathered[usize::from(line)] += 1;
            }
        }
        let position = positions.0.get(&source).map_or(0, |position| position.next_offset);
        process.position = u8::try_from(position).expect("few lines");
        process.next += 1;
        if job == Job::Alerts && is_new {
            process.changed = true;
            process.handed = batch == HANDS_OUT_AFTER;
        }
        process
    }

    /// From where to where a commit moves the checkpoint.
    fn span(job: Job, process: &Process) -> (u8, u8) {
        let moves = job != Job::Alerts || process.handed;
        (process.saved, if moves { process.next } else { process.saved })
    }

    /// Reads the position after a commit was refused: an earlier try may have taken effect.
    fn read(&self, world: &mut World, job: Job, process: Process) -> Process {
        let (from, to) = Self::span(job, &process);
        let now = world.read(job, self.without);
        let is_writer = now.writer == process.writer || self.without == Some(Mutilation::NoWriter);
        // A commit that moves nothing leaves no trace in the position.
        let is_proof = from != to || self.without == Some(Mutilation::PositionIsProof);
        if is_writer && is_proof && now.next == to {
            self.committed(job, process)
        } else if is_writer && now.next == from {
            Process { step: Step::Commit, ..process }
        } else {
            count(&self.seen.fenced);
            Process::default()
        }
    }

    fn commit(&self, world: &mut World, job: Job, mut process: Process, fate: Fate) -> Process {
        let (from, to) = Self::span(job, &process);
        let is_between = job == Job::Alerts && !process.handed;
        let write = match self.without {
            Some(Mutilation::AlertsOutside) if is_between => Write::Alert(process.position),
            Some(Mutilation::TwoTransactions) if process.gathered != [0; LINES_MAX] => {
                Write::Counts(process.gathered)
            }
            _ => Write::Commit(Commit {
                job,
                writer: process.writer,
                from,
                to,
                counts: process.gathered,
                applied: (job == Job::Rollups).then_some(process.position),
                detector: process.handed.then_some(process.position),
                alert: process.changed.then_some(process.position),
            }),
        };
        match (world.write(write, fate, self.without), write) {
            (None, _) => process,
            (Some(_), Write::Counts(_)) => {
                process.gathered = [0; LINES_MAX];
                process
            }
            (Some(true), _) => self.committed(job, process),
            (Some(false), _) => Process { step: Step::Refused, ..process },
        }
    }

    fn committed(&self, job: Job, process: Process) -> Process {
        let (from, to) = Self::span(job, &process);
        let step = match self.without {
            Some(Mutilation::CheckpointFirst) if job == Job::Events => Step::InsertEvents,
            _ if from == to => Step::Take,
            _ => Step::Trim,
        };
        Process { step, saved: to, gathered: [0; LINES_MAX], changed: false, handed: false, ..process }
    }

    /// Lets a log forget what is covered by the checkpoints of all its readers, as far as this process knows.
    fn trim(&self, world: &mut World, job: Job, index: usize, process: Process) -> Process {
        if job == Job::Events {
            world.lines_start = world.lines_start.max(process.saved);
        } else {
            let readers = self.jobs.iter().filter(|job| **job != Job::Events);
            let covered = readers.map(|reader| world.processes[*reader as usize][index].saved).min();
            world.frames.trim(covered.unwrap_or(0));
        }
        Process { step: Step::Take, ..process }
    }
}

/// The batch that begins at or holds `line`.
fn batch_at(line: u8) -> u8 {
    (0..).find(|batch| lines(*batch).contains(&line)).expect("a batch has every line")
}
