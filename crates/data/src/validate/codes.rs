//! What each finding means: its consequence, and what to do. The list is the reference of codes.

use crate::finding::Finding;

/// Code, what follows from it and how to mend it.
pub(super) const CODES: &[(&str, &str)] = &[
    ("bad-fps", "frames have no time; correct fps in meta/info.json"),
    (
        "column-missing",
        "LeRobot hands out nothing for it; embody data repair rebuilds indices and \
      takes back the declaration of what is nowhere",
    ),
    (
        "column-shape",
        "the column does not fit its declaration; correct the features in meta/info.json",
    ),
    ("column-type", "the column can't be used as what it is; record or import again"),
    ("column-undeclared", "LeRobot refuses to load the dataset; embody data repair declares it"),
    (
        "constant-dimension",
        "it carries no information, and normalising divides by zero; leave the \
      dimension out, or check the sensor",
    ),
    ("content-changed", "import the folder to give it a version of its own"),
    (
        "data-missing",
        "the copy or download is incomplete; fetch the file again, or go on without its \
      episodes: embody data repair",
    ),
    ("episode-empty", "there is nothing to learn from it; embody data repair leaves it out"),
    ("episode-index", "episodes are mixed up; embody data repair numbers them anew"),
    (
        "episode-index-column",
        "rows are taken for those of another episode; embody data repair \
      rebuilds indices",
    ),
    (
        "episode-order",
        "LeRobot takes rows for other episodes without a word; embody data repair \
      sorts them",
    ),
    (
        "episode-rows",
        "rows are taken for those of another episode; embody data repair rebuilds them",
    ),
    (
        "episode-stats-mismatch",
        "merged statistics will be wrong; embody data repair computes them \
      again",
    ),
    ("episode-stats-missing", "LeRobot can't merge statistics; embody data repair computes them"),
    (
        "episodes-missing",
        "the recording was not finished or the copy is incomplete; embody data \
      recover completes a recording of embody",
    ),
    ("feature-missing", "every LeRobot dataset declares it; embody data repair does"),
    ("feature-name", "LeRobot refuses such a name; rename it in tables and meta/info.json"),
    ("feature-shape", "nothing can be in it; correct meta/info.json"),
    ("file-unreferenced", "it only takes room; remove it"),
    ("frame-index", "frames are out of order; embody data repair rebuilds indices"),
    ("index-not-continuous", "LeRobot finds frames by it; embody data repair rebuilds indices"),
    ("info-unreadable", "nothing can be read without it; restore the file from a copy"),
    (
        "non-finite-value",
        "training on it gives nothing; embody data process leaves such episodes out",
    ),
    ("picture-size", "it can't be used beside the others; correct the shape in meta/info.json"),
    ("picture-unreadable", "the frame has no picture; record, copy or download the file again"),
    (
        "row-count",
        "rows belong to no episode, or are missing; embody data repair keeps what belongs \
      together",
    ),
    (
        "rows-unreadable",
        "the file is damaged; copy or download it again, or go on without its \
      episodes: embody data repair",
    ),
    ("split-range", "the split is empty for training; correct it in meta/info.json"),
    ("stats-mismatch", "normalisation will be wrong; embody data repair computes them again"),
    ("stats-missing", "LeRobot can't normalise; embody data repair computes them"),
    ("table-missing", "the copy or download is incomplete; fetch the file again"),
    (
        "table-no-footer",
        "its writer was killed or the copy is incomplete; copy it again, or save what \
      is whole: embody data repair",
    ),
    (
        "table-unreadable",
        "the file is damaged; copy or download it again, or go on without its \
      episodes: embody data repair",
    ),
    ("task-index", "the frame has no instruction; embody data repair takes the episode's"),
    (
        "timestamp-drift",
        "the clock ran at another rate than fps; resample the recording, or correct \
      fps",
    ),
    ("timestamp-not-monotonic", "rows are out of order; embody data repair sorts them"),
    (
        "timestamp-off-by-one",
        "LeRobot shows the picture of another frame or refuses; embody data \
      repair counts from the first frame",
    ),
    ("timestamp-off-grid", "LeRobot allows 0.1 ms; resample the recording, or correct fps"),
    ("total-episodes", "LeRobot stops at the wrong place; embody data repair counts again"),
    ("total-frames", "LeRobot stops at the wrong place; embody data repair counts again"),
    ("total-tasks", "LeRobot stops at the wrong place; embody data repair counts again"),
    (
        "unknown-version",
        "LeRobot reads it as v3.0 without a word; embody data repair does so where \
      the files are v3.0's, else ask for a newer embody",
    ),
    ("unreadable", "the dataset can't be opened; restore the file from a copy"),
    ("value-out-of-range", "check units and joint limits"),
    ("version-layout", "LeRobot can't open it; embody data repair takes the version of the files"),
    ("video-black", "the camera was covered or gave nothing; leave the episode out"),
    (
        "video-codec-label",
        "what encodes again or picks a decoder by it goes wrong; embody data \
      repair corrects the label",
    ),
    ("video-damaged", "pictures can't be decoded; copy or record the video again"),
    ("video-folder", "no video is found; embody data repair moves them"),
    ("video-frozen", "the camera hung; leave the episode out"),
    ("video-long", "the frames at the end belong to no row; embody data repair leaves them out"),
    (
        "video-missing",
        "the copy or download is incomplete; fetch the file again, or go on without \
      its episodes: embody data repair",
    ),
    ("video-no-key-frame", "it can be read, but not cut out without encoding again"),
    (
        "video-not-decoded",
        "codecs other than AV1 are decoded by ffmpeg: install it, or set EMBODY_FFMPEG",
    ),
    (
        "video-off-by-one",
        "every picture belongs to the row beside it, and LeRobot says nothing; \
      embody data repair counts the frames",
    ),
    ("video-path-missing", "no video is found; add video_path to meta/info.json"),
    ("video-short", "record or copy the video again, or cut the rows off: embody data repair"),
    ("video-size", "pictures have another size than declared; correct meta/info.json"),
    ("video-span", "pictures of other episodes are shown; embody data repair counts the frames"),
    ("video-timestamp", "pictures and rows are out of step; LeRobot refuses such a frame"),
    (
        "video-truncated",
        "the copy is incomplete; copy it again, or cut at the last whole frame: \
      embody data repair",
    ),
    ("video-unreadable", "the file is damaged; copy or download it again"),
    (
        "videos-fewer",
        "episodes have no pictures; fetch the videos again, or go on without these \
      episodes: embody data repair",
    ),
];

/// Gives every finding without a hint the one of its code.
pub(super) fn explain(findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|f| f.hint.is_none()) {
        let known = CODES.binary_search_by(|c| c.0.cmp(&finding.code));
        finding.hint = known.ok().map(|i| CODES[i].1.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_sorted_and_unique() {
        assert!(CODES.windows(2).all(|w| w[0].0 < w[1].0));
    }
}
