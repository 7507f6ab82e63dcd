//! Which messages make which frame: a pure function of times.
//!
//! Separate from reading on purpose. A first pass over a log gives times only; this decides; a
//! second pass gathers just the messages that were chosen. So memory never holds a whole stream.

use crate::mapping::Method;

/// What a stream gives to a frame. `a` and `b` count the stream's messages in the order of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pick {
    /// The message used, or the one before the frame.
    pub a: usize,
    /// The message after the frame, where between two; else `a`.
    pub b: usize,
    /// Where between them, 0 to 1.
    pub t: f64,
    /// Time from the farther message used to the frame, nanoseconds.
    pub age: i64,
    /// Whether that is more than allowed, or there is no message on the side that is needed.
    pub stale: bool,
}

/// Chooses for every tick. `times` and `ticks` ascend, `times` is not empty.
pub(crate) fn align(
    times: &[i64],
    ticks: impl Iterator<Item = i64>,
    method: Method,
    max_age: Option<i64>,
) -> Vec<Pick> {
    let limit = max_age.unwrap_or(i64::MAX);
    let mut next = 0;
    ticks
        .map(|tick| {
            // `next`: the first message after the tick.
            while next < times.len() && times[next] <= tick {
                next += 1;
            }
            let before = next.checked_sub(1);
            let after = (next < times.len()).then_some(next);
            choose(times, tick, method, limit, before, after)
        })
        .collect()
}

fn choose(
    times: &[i64],
    tick: i64,
    method: Method,
    limit: i64,
    before: Option<usize>,
    after: Option<usize>,
) -> Pick {
    let age = |i: usize| times[i].abs_diff(tick).min(i64::MAX as u64) as i64;
    let one = |i: usize, missing: bool| {
        let age = age(i);
        Pick { a: i, b: i, t: 0.0, age, stale: missing || age > limit }
    };
    match (before, after, method) {
        (Some(a), _, _) if times[a] == tick => one(a, false),
        (Some(a), None, Method::Latest | Method::Nearest) => one(a, false),
        (Some(a), Some(_), Method::Latest) => one(a, false),
        (Some(a), Some(b), Method::Nearest) => one(if age(b) < age(a) { b } else { a }, false),
        (Some(a), Some(b), Method::Linear | Method::Slerp) => {
            let farther = age(a).max(age(b));
            if farther > limit {
                // Nothing is invented across a gap: the nearer message holds.
                return one(if age(b) < age(a) { b } else { a }, false);
            }
            let t = age(a) as f64 / (age(a) as f64 + age(b) as f64);
            Pick { a, b, t, age: farther, stale: false }
        }
        (Some(a), None, Method::Linear | Method::Slerp) => one(a, true),
        (None, Some(b), Method::Nearest) => one(b, false),
        (None, Some(b), _) => one(b, true),
        // `times` is not empty, so there is a message on one side.
        (None, None, _) => Pick { a: 0, b: 0, t: 0.0, age: i64::MAX, stale: true },
    }
}

/// Times of frames: `start`, then every 1/fps, up to `end`. Computed from the frame's number, so
/// nothing drifts.
pub(crate) fn tick(start: i64, fps: f64, frame: usize) -> i64 {
    start.saturating_add((frame as f64 * 1e9 / fps).round() as i64)
}

/// Number of frames from `start` to `end`, both inclusive.
pub(crate) fn frames_between(start: i64, end: i64, fps: f64) -> usize {
    if end < start {
        return 0;
    }
    let mut count = (end.saturating_sub(start) as f64 * fps / 1e9).floor() as usize;
    if count > 1 << 40 {
        // Far beyond any episode; the caller refuses it.
        return count;
    }
    // Rounding may put the last one just outside, or one more just inside.
    while count > 0 && tick(start, fps, count) > end {
        count -= 1;
    }
    while tick(start, fps, count + 1) <= end {
        count += 1;
    }
    count + 1
}

/// Mixes two quaternions `[x, y, z, w]` along the shorter great circle.
pub(crate) fn slerp(a: [f64; 4], b: [f64; 4], t: f64) -> [f64; 4] {
    let dot: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    // q and -q are the same rotation.
    let (dot, sign) = if dot < 0.0 { (-dot, -1.0) } else { (dot, 1.0) };
    let (wa, wb) = if dot > 1.0 - 1e-9 {
        (1.0 - t, t)
    } else {
        let angle = dot.clamp(-1.0, 1.0).acos();
        (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    };
    let mut out = [0.0; 4];
    for i in 0..4 {
        out[i] = wa * a[i] + wb * sign * b[i];
    }
    let norm = out.iter().map(|v| v * v).sum::<f64>().sqrt();
    if norm > 0.0 {
        out.iter_mut().for_each(|v| *v /= norm);
    }
    out
}
