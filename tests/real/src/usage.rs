//! What a process costs, from `/proc`.

use std::fs;

use crate::failure::{Context, Failure};

/// The kernel's clock ticks of 10 ms: fixed for all that it tells to programs (`USER_HZ`).
const TICK_MS: u64 = 10;

/// Memory and CPU of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in KiB.
    pub resident_kib: u64,
    /// CPU time since its start, in ms.
    pub cpu_ms: u64,
}

impl Usage {
    pub(crate) fn of(process: u32) -> Result<Self, Failure> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            fs::read_to_string(&path).context(path)
        };
        let usage = Self::read(&read("status")?, &read("stat")?);
        usage.ok_or_else(|| Failure(format!("/proc/{process} is not as it was")))
    }

    fn read(status: &str, stat: &str) -> Option<Self> {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = resident.split_whitespace().next()?.parse().ok()?;
        // The name is in parentheses and may have spaces in it; utime and stime are 14 and 15.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: Vec<u64> =
            fields.split_whitespace().skip(11).take(2).map_while(|f| f.parse().ok()).collect();
        let [user, system] = ticks[..] else { return None };
        Some(Self { resident_kib, cpu_ms: (user + system) * TICK_MS })
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn memory_and_time_are_read_from_proc() {
        let status = "Name:\tcaller\nVmRSS:\t    2048 kB\n";
        let stat = "7 (a b) S 1 7 7 0 -1 4194560 1 2 3 4 50 25 0 0 20 0 1 0 9 9 9";
        let usage = Usage { resident_kib: 2048, cpu_ms: 750 };
        assert_eq!(Usage::read(status, stat), Some(usage));
    }
}
