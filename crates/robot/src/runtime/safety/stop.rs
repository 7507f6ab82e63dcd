//! Stopping: the emergency stop, and how a machine is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

/// The emergency stop: anyone may press it, from any thread or signal handler. It latches: the
/// machine is let go, and stays so until it is released and switched on again.
#[derive(Debug, Clone, Default)]
pub struct EmergencyStop(Arc<AtomicBool>);

impl EmergencyStop {
    /// Lets the machine go within one turn of the loop.
    pub fn press(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Allows the machine to be switched on again; by itself moves nothing.
    pub fn release(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it is pressed.
    pub fn is_pressed(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Why a machine holds or is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopCause {
    /// It was asked for: the end of the work, or Ctrl-C.
    Asked,
    /// No fresh goals came.
    Stale,
    /// The bus failed too often in a row.
    Bus,
    /// The emergency stop was pressed.
    Emergency,
}

/// What the safety layer does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Motors are off.
    Off,
    /// Goals are followed, within the limits.
    Active,
    /// The machine holds where it is, until `until`.
    Holding {
        /// Why.
        cause: StopCause,
        /// When it is let go, by the loop's clock.
        until: Duration,
    },
    /// It holds while its torque shrinks to nothing.
    LettingGo {
        /// Why.
        cause: StopCause,
        /// When that began.
        since: Duration,
    },
}

impl Phase {
    /// As logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Active => "active",
            Self::Holding { .. } => "holding",
            Self::LettingGo { .. } => "letting-go",
        }
    }
}
