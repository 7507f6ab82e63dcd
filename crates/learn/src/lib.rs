//! Networks, imitation learning, trainer, checkpoints and evaluation statistics.
