//! Where networks are computed: the portable back end, or one that this build has beside it.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use embody_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::workers::Workers;

/// Where networks are computed. What a build has beside the portable one, its features say; recipes,
/// policies and datasets are the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Backend {
    /// Pure Rust on the CPU. Results are equal to the bit on any number of threads.
    #[default]
    Cpu,
    /// PyTorch's library on the CPU.
    #[cfg(feature = "libtorch")]
    LibtorchCpu,
    /// PyTorch's library on an NVIDIA GPU, by number.
    #[cfg(feature = "libtorch")]
    LibtorchCuda(usize),
    /// burn's own kernels on an NVIDIA GPU, by number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl Backend {
    /// The names that this build understands; `:N` tells GPUs apart.
    pub const NAMES: &[&str] = &[
        "cpu",
        #[cfg(feature = "libtorch")]
        "libtorch-cpu",
        #[cfg(feature = "libtorch")]
        "libtorch-cuda:N",
        #[cfg(feature = "cuda")]
        "cuda:N",
    ];

    /// Whether threads work on parts of a batch side by side; elsewhere the library spreads its work.
    pub(crate) fn takes_parts(self) -> bool {
        self == Self::Cpu
    }

    /// Workers for networks that run side by side.
    pub(crate) fn workers(self, threads: usize) -> Result<Workers, crate::error::Error> {
        Workers::new(if self.takes_parts() { threads } else { 1 })
    }

    /// burn's name for it; `threads` are for a library that starts its own, 0 for one per core.
    #[allow(deprecated, reason = "burn will drop libtorch for kernels of its own")]
    #[cfg_attr(not(feature = "libtorch"), expect(unused_variables))]
    pub(crate) fn device(self, threads: usize) -> Device {
        match self {
            Self::Cpu => Device::flex(),
            #[cfg(feature = "libtorch")]
            Self::LibtorchCpu => {
                let threads = crate::workers::or_cores(threads);
                tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
                Device::libtorch()
            }
            #[cfg(feature = "libtorch")]
            Self::LibtorchCuda(index) => Device::libtorch_cuda(index),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => Device::cuda(index),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            #[cfg(feature = "libtorch")]
            Self::LibtorchCpu => write!(f, "libtorch-cpu"),
            #[cfg(feature = "libtorch")]
            Self::LibtorchCuda(index) => write!(f, "libtorch-cuda:{index}"),
            #[cfg(feature = "cuda")]
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        let number: Option<usize> = number.parse().ok();
        match (kind, number) {
            ("cpu", _) if kind == name => Ok(Self::Cpu),
            #[cfg(feature = "libtorch")]
            ("libtorch-cpu", _) if kind == name => Ok(Self::LibtorchCpu),
            #[cfg(feature = "libtorch")]
            ("libtorch-cuda", Some(index)) => Ok(Self::LibtorchCuda(index)),
            #[cfg(feature = "cuda")]
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(Error::new(format!("`{name}` is no back end of this embody")).with_hint(
                format!(
                    "it has {}; `cargo xtask build --features libtorch` or `cuda` builds one with more",
                    Self::NAMES.join(", ")
                ),
            )),
        }
    }
}

impl TryFrom<String> for Backend {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Backend> for String {
    fn from(backend: Backend) -> Self {
        backend.to_string()
    }
}

/// The back end that tests look at: the portable one, or that of `EMBODY_BACKEND`.
#[cfg(test)]
pub(crate) fn tested() -> Backend {
    let name = std::env::var("EMBODY_BACKEND").unwrap_or_else(|_| "cpu".into());
    name.parse().expect("a back end of this build")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        for name in Backend::NAMES {
            let name = name.replace('N', "1");
            assert_eq!(name.parse::<Backend>().unwrap().to_string(), name);
        }
        for name in ["", "gpu", "cpu:1", "cuda:x", "libtorch-cuda:-1"] {
            let error = name.parse::<Backend>().unwrap_err();
            assert!(error.to_string().contains("no back end"), "{error}");
        }
    }
}
