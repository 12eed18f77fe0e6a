//! The Fluvio cluster of a round: an SC and two SPUs, each behind a proxy that clients go through.

use std::path::Path;

use super::disk::Disk;
use super::proxy::{Mode, Proxy};
use crate::fluvio::{Fluvio, Options};
use crate::processes::signal;

/// SPUs.
const SPUS: usize = 2;
/// Servers: the SC, and after it the SPUs.
pub const SERVERS: usize = 1 + SPUS;

/// Size of the file system of the SPUs' logs, in MiB.
const DISK_MIB: u64 = 256;

pub struct Cluster {
    pub fluvio: Fluvio,
    proxies: Vec<Proxy>,
    /// Where the SPUs' logs lie, where they have a file system of their own.
    pub disk: Option<Disk>,
    was_full: bool,
}

impl Cluster {
    /// A cluster without topics and SmartModules, with its logs in a folder; `None` where Fluvio is not installed.
    pub fn start(data: &Path) -> Option<Self> {
        let disk = Disk::mount(data, DISK_MIB);
        let mut proxies = Vec::new();
        let mut seen = |port| {
            proxies.push(Proxy::before(port));
            proxies[proxies.len() - 1].port
        };
        let options = Options { seen: Some(&mut seen), data: Some(data.to_owned()), tls: None };
        Some(Self { fluvio: Fluvio::start_with(SPUS, options)?, proxies, disk, was_full: false })
    }

    /// Fills the file system of the SPUs' logs.
    pub fn fill(&mut self) {
        self.disk.iter().for_each(Disk::fill);
        self.was_full = true;
    }

    /// `kill -9`.
    pub fn kill(&mut self, server: usize) {
        // One that is stopped could stand in the middle of a file.
        self.signal(server, "CONT");
        match server.checked_sub(1) {
            None => self.fluvio.kill_sc(),
            Some(spu) => self.fluvio.kill_spu(spu),
        }
    }

    /// SIGSTOP.
    pub fn stop(&self, server: usize) {
        self.signal(server, "STOP");
    }

    fn signal(&self, server: usize, name: &str) {
        if let Some(pid) = self.fluvio.pids()[server] {
            signal(pid, name);
        }
    }

    /// Puts something between a server and its clients.
    pub fn disturb(&self, server: usize, mode: Mode) {
        self.proxies[server].set(mode);
    }

    /// Undoes whatever was done to the servers, and starts again those that were killed.
    pub fn heal(&mut self) {
        self.proxies.iter().for_each(|proxy| proxy.set(Mode::Through));
        if std::mem::take(&mut self.was_full) {
            self.disk.iter().for_each(Disk::empty);
            // A partition takes nothing more after an append that failed, until its SPU starts again.
            (1..SERVERS).for_each(|spu| self.kill(spu));
        }
        for (server, pid) in self.fluvio.pids().into_iter().enumerate() {
            match (pid, server.checked_sub(1)) {
                (Some(_), _) => self.signal(server, "CONT"),
                (None, None) => self.fluvio.start_sc(),
                (None, Some(spu)) => self.fluvio.start_spu(spu),
            }
        }
    }
}
