//! What the program uses of the machine, where the system tells it (Linux).

use std::time::Duration;

/// Clock ticks a second in what Linux tells programs, on every machine (`USER_HZ`).
const TICKS: u64 = 100;

/// What was used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Since the program started, on the clock of the wall.
    pub(crate) wall: Duration,
    /// Time on all processors.
    pub(crate) cpu: Duration,
    /// Memory that is resident now, in bytes.
    pub(crate) memory: u64,
}

impl Cost {
    /// What was used up to now, `wall` after the start; `None` where the system does not tell.
    pub(crate) fn now(wall: Duration) -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        Some(Self { wall, cpu: cpu(&stat)?, memory: memory(&status)? })
    }

    /// The part of one processor that was used since, 1.0 for a whole one.
    pub(crate) fn load_since(&self, earlier: &Self) -> f64 {
        let cpu = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        let wall = self.wall.saturating_sub(earlier.wall).as_secs_f64();
        if wall > 0.0 { cpu / wall } else { 0.0 }
    }
}

/// Fields 14 and 15: ticks in user and in system mode. The second field may hold spaces.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    let ticks = ticks.next()?? + ticks.next()??;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read_whatever_the_program_is_called() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 99 0 0 0 150 25 0 0 20 0 3 0 88 1 2";
        assert_eq!(cpu(stat), Some(Duration::from_millis(1_750)));
        assert_eq!(cpu("nonsense"), None);
        assert_eq!(memory("VmHWM:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12 * 1024));
    }

    #[test]
    fn a_load_is_time_on_processors_over_time() {
        let at = |wall, cpu| {
            let (wall, cpu) = (Duration::from_secs(wall), Duration::from_secs(cpu));
            Cost { wall, cpu, memory: 0 }
        };
        assert!((at(6, 4).load_since(&at(2, 3)) - 0.25).abs() < 1e-9);
        assert!(at(2, 3).load_since(&at(2, 3)).abs() < 1e-9);
    }
}
