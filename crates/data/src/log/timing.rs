//! What a stream's times say: rate, jitter, gaps, lost messages, drift of its clock.

use serde::Serialize;

/// Rate and regularity of a stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Timing {
    /// Number of messages.
    pub messages: usize,
    /// Time of the first, nanoseconds.
    pub first_ns: i64,
    /// Time of the last, nanoseconds.
    pub last_ns: i64,
    /// One over the median interval; 0 for fewer than two messages.
    pub rate_hz: f64,
    /// Standard deviation of the intervals about their mean, gaps left out; milliseconds.
    pub jitter_ms: f64,
    /// Longest interval, seconds.
    pub longest_gap_secs: f64,
    /// Estimate of messages that are missing: what longer intervals would hold at the median one.
    pub missed: usize,
}

/// An interval of more than this times the median is a gap: a message is missing.
const GAP: f64 = 1.8;

/// Times of a stream in each of several logs, ascending in each.
pub(crate) fn timing(logs: &[Vec<i64>]) -> Timing {
    let mut intervals: Vec<i64> =
        logs.iter().flat_map(|times| times.windows(2).map(|w| w[1].saturating_sub(w[0]))).collect();
    let mut out = Timing {
        messages: logs.iter().map(Vec::len).sum(),
        first_ns: logs.iter().filter_map(|t| t.first()).copied().min().unwrap_or(0),
        last_ns: logs.iter().filter_map(|t| t.last()).copied().max().unwrap_or(0),
        ..Timing::default()
    };
    if intervals.is_empty() {
        return out;
    }
    intervals.sort_unstable();
    let median = intervals[intervals.len() / 2];
    out.longest_gap_secs = intervals[intervals.len() - 1] as f64 / 1e9;
    if median <= 0 {
        return out;
    }
    out.rate_hz = 1e9 / median as f64;
    let limit = median as f64 * GAP;
    let regular = intervals.partition_point(|&i| (i as f64) < limit);
    let mean = intervals[..regular].iter().map(|&i| i as f64).sum::<f64>() / regular as f64;
    let square = intervals[..regular].iter().map(|&i| (i as f64 - mean).powi(2)).sum::<f64>();
    out.jitter_ms = (square / regular as f64).sqrt() / 1e6;
    let missing = |&i: &i64| (i as f64 / median as f64).round() as usize - 1;
    out.missed = intervals[regular..].iter().map(missing).fold(0, usize::saturating_add);
    out
}

/// How the clock of the stamps runs against the clock of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClockDrift {
    /// Log time less stamp, mean, milliseconds: delay, or clocks that were never set alike.
    pub offset_ms: f64,
    /// Growth of that difference, parts per million (least squares).
    pub drift_ppm: f64,
    /// Stamps that lie before the one before.
    pub backwards: usize,
}

/// Compares log times with stamps; `None` for fewer than two, or where no stamp is set.
pub(crate) fn clock_drift(times: &[i64], stamps: &[i64]) -> Option<ClockDrift> {
    if times.len() < 2 || stamps.iter().all(|&s| s == 0) {
        return None;
    }
    let base = times[0];
    let n = times.len() as f64;
    let x: Vec<f64> = times.iter().map(|&t| t.saturating_sub(base) as f64).collect();
    let y: Vec<f64> = times.iter().zip(stamps).map(|(&t, &s)| t.saturating_sub(s) as f64).collect();
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let xy: f64 = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum();
    let xx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    Some(ClockDrift {
        offset_ms: my / 1e6,
        drift_ppm: if xx > 0.0 { xy / xx * 1e6 } else { 0.0 },
        backwards: stamps.windows(2).filter(|w| w[1] < w[0]).count(),
    })
}
