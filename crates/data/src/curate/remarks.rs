//! What is remarkable about an episode, in words: the reasons beside its score.

use serde::{Deserialize, Serialize};

use super::survey::{DriftOf, EpisodeMeasures, Spike, Survey};
use crate::finding::Finding;

/// One remarkable thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// Stable name, such as `idle`.
    pub code: String,
    /// The sentence, with the number.
    pub text: String,
    /// Where it is, if at one frame.
    pub frame: Option<usize>,
}

/// Everything remarkable about an episode; empty for a clean one.
pub fn remarks(m: &EpisodeMeasures) -> Vec<Remark> {
    let mut out = Vec::new();
    let mut say = |code: &str, frame: Option<usize>, text: String| {
        out.push(Remark { code: code.to_owned(), text, frame });
    };
    if m.success == Some(false) {
        say("failed", None, "the task was not achieved".to_owned());
    }
    if let Some(bad) = &m.non_finite {
        let text = format!("{}, dimension {}, is not finite", bad.feature, bad.dimension);
        say("non-finite", Some(bad.frame), text);
    }
    if m.idle_fraction > 0.3 {
        let text = format!("nothing moves in {} of the steps", percent(m.idle_fraction));
        say("idle", None, text);
    }
    if m.duplicate_fraction > 0.05 {
        let text = format!("{} of the rows repeat the row before", percent(m.duplicate_fraction));
        say("repeated-rows", None, text);
    }
    if let Some((text, frame)) = spikes(&m.velocity_spikes, "position") {
        say("velocity-spike", Some(frame), text);
    }
    if let Some((text, frame)) = spikes(&m.jerk_spikes, "acceleration") {
        say("jerk-spike", Some(frame), text);
    }
    if let Some(lag) = m.lag.as_ref().filter(|l| l.seconds > 0.2) {
        say("lag", None, format!("observations trail actions by {:.2} s", lag.seconds));
    }
    if let Some(lag) = m.lag.as_ref().filter(|l| l.seconds < -0.05) {
        say("lag", None, format!("observations lead actions by {:.2} s", -lag.seconds));
    }
    if let Some(g) = m.gripper.as_ref().filter(|g| g.chatter > 0) {
        let text =
            format!("the gripper chatters: {} changes follow another within 0.3 s", g.chatter);
        say("gripper-chatter", None, text);
    }
    if let Some(g) = m.gripper.as_ref().filter(|g| g.travel < 0.2) {
        let text = format!("the gripper uses {} of its range: it never closes", percent(g.travel));
        say("gripper-still", None, text);
    }
    if let Some(z) = m.length_z.filter(|z| z.abs() > 3.5) {
        let than = if z < 0.0 { "shorter" } else { "longer" };
        let text = format!("{:.1} s, far {than} than the others (z {z:.1})", m.seconds);
        say("length", None, text);
    }
    if let Some(near) = m.nearest.as_ref().filter(|n| n.same) {
        let text = format!(
            "nearly repeats episode {} (motion differs by {:.1} % of the range)",
            near.episode,
            near.distance * 100.0
        );
        say("near-duplicate", None, text);
    }
    for (key, c) in &m.cameras {
        if let Some(why) = &c.broken {
            say("camera-broken", None, format!("{key}: {why}"));
        } else if c.black {
            say("camera-black", None, format!("{key}: every picture looked at is black"));
        } else if c.frozen {
            let text = format!("{key}: the picture never changes while the robot moves");
            say("camera-frozen", None, text);
        } else {
            if c.dark > 0.2 {
                say(
                    "camera-dark",
                    None,
                    format!("{key}: {} of pictures are dark", percent(c.dark)),
                );
            }
            if c.bright > 0.2 {
                let text = format!("{key}: {} of pictures are too bright", percent(c.bright));
                say("camera-bright", None, text);
            }
            if c.clipped > 0.1 {
                let text = format!("{key}: {} of pixels are clipped", percent(c.clipped));
                say("camera-clipped", None, text);
            }
            if c.repeated > 0.1 {
                let text = format!("{key}: {} of pictures repeat in motion", percent(c.repeated));
                say("camera-repeats", None, text);
            }
            if let Some(ratio) = c.relative_sharpness.filter(|r| *r < 0.5) {
                let text =
                    format!("{key}: blurred, {} of this camera's usual sharpness", percent(ratio));
                say("camera-blurred", None, text);
            }
        }
    }
    out
}

/// The remarks of a survey as findings, with the dataset's own first.
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut out = Vec::new();
    for d in &survey.drift {
        let (what, hint) = match d.of {
            DriftOf::Start => (
                "starts ever further off",
                "calibrate again, and check whether the start pose was meant to change",
            ),
            DriftOf::Offset => (
                "is measured ever further from where it is commanded",
                "calibrate again: an encoder, a zero or the load changed while recording",
            ),
        };
        let text = format!(
            "{} {what}: {:+.1} % of its range from the first episode to the last (z {:.1})",
            d.dimension,
            d.shift * 100.0,
            d.z
        );
        out.push(Finding::warning("calibration-drift", text).hint(hint));
    }
    out.extend(survey.notes.iter().map(|note| Finding::note("not-measured", note.clone())));
    for m in &survey.episodes {
        for remark in remarks(m) {
            let mut finding = Finding::warning(&remark.code, remark.text).episode(m.episode);
            finding.frame = remark.frame;
            out.push(finding);
        }
    }
    out
}

fn spikes(spikes: &[Spike], what: &str) -> Option<(String, usize)> {
    let worst = spikes.iter().max_by(|a, b| a.z.total_cmp(&b.z))?;
    let count = match spikes.len() {
        1 => "one jump".to_owned(),
        n => format!("{n} jumps"),
    };
    let text = format!(
        "{count} in {what}, the largest {:.0} times the usual, of {}",
        worst.z, worst.dimension
    );
    Some((text, worst.frame))
}

/// `62 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.0} %", fraction * 100.0)
}
