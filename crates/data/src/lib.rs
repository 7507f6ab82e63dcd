//! Datasets of embodied AI: the LeRobot v3 layout, video, validation, curation, lineage.
