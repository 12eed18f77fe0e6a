//! How much memory of its own the process keeps beside what it uses.

/// Fewest arenas of the allocator.
const ARENAS_MIN: usize = 2;

/// Gives the allocator as many arenas as there are cores; to be called before there are threads. glibc makes
/// up to eight a core, and since batches are made by one thread and let go of by another, each keeps what was
/// needed at one time (docs/DECISIONS.md, 35).
pub fn limit_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let cores = std::thread::available_parallelism().map_or(ARENAS_MIN, usize::from);
        let arenas = libc::c_int::try_from(cores.max(ARENAS_MIN)).unwrap_or(libc::c_int::MAX);
        // SAFETY: `mallopt` takes two numbers and has no precondition; no other thread runs yet. Where it
        // refuses, the number stays what it was.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
}

/// Memory of this process that is not swapped out, in bytes; `None` where the system does not say so.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
