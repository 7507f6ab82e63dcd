//! Batched MuJoCo environments, tasks, scripted experts and a CPU rasteriser.
