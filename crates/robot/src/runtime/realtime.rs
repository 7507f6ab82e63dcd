//! What the operating system does for a loop that must be on time: sleeping until an instant, a
//! real-time priority, memory that is never swapped.
//!
//! Only Linux has all of it; elsewhere the loop sleeps as well as the standard library can, and
//! [`Realtime::ask`] says what could not be had. Nothing here is needed for a correct loop, only
//! for a punctual one, so what is refused is told and never fails.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What to ask the operating system for, for the thread of the control loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Realtime {
    /// Priority of `SCHED_FIFO`, 1 to 99; ordinary scheduling where `None`.
    pub priority: Option<u8>,
    /// Keep the process's memory from being swapped.
    pub lock_memory: bool,
}

impl Realtime {
    /// Asks for this, for the calling thread; gives a sentence for each thing that was refused.
    pub fn ask(self) -> Vec<String> {
        let mut refused = Vec::new();
        if let Some(priority) = self.priority
            && let Err(why) = system::fifo(priority)
        {
            refused.push(format!(
                "no real-time priority {priority}: {why}; allow it with `ulimit -r {priority}` \
                 (limits.conf: rtprio) or CAP_SYS_NICE"
            ));
        }
        if self.lock_memory
            && let Err(why) = system::lock_memory()
        {
            refused.push(format!(
                "memory is not locked: {why}; allow it with `ulimit -l unlimited` (limits.conf: \
                 memlock) or CAP_IPC_LOCK"
            ));
        }
        refused
    }
}

#[cfg(target_os = "linux")]
pub(super) use system::{monotonic_nanos, sleep_until};

#[cfg(target_os = "linux")]
mod system {
    use std::io::Error;
    use std::mem::MaybeUninit;

    /// The monotonic clock, nanoseconds; the one that [`std::time::Instant`] reads.
    pub fn monotonic_nanos() -> u64 {
        let mut time = MaybeUninit::<libc::timespec>::uninit();
        // SAFETY: the call fills the structure that it is given, and this clock always exists.
        let time = unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
            time.assume_init()
        };
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// Sleeps until the monotonic clock shows `nanos`; returns at once where it is past.
    pub fn sleep_until(nanos: u64) {
        let until = libc::timespec {
            tv_sec: (nanos / 1_000_000_000) as libc::time_t,
            tv_nsec: (nanos % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: `until` lives through the call, and no remaining time is asked for. A signal only
        // ends the sleep early, and the same deadline is slept for again.
        while unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                libc::TIMER_ABSTIME,
                &raw const until,
                std::ptr::null_mut(),
            )
        } == libc::EINTR
        {}
    }

    pub fn fifo(priority: u8) -> Result<(), Error> {
        // SAFETY: all fields of the structure are numbers, for which zero is a value.
        let mut asked: libc::sched_param = unsafe { std::mem::zeroed() };
        asked.sched_priority = i32::from(priority);
        // SAFETY: the structure lives through the call; 0 is the calling thread.
        match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const asked) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }

    pub fn lock_memory() -> Result<(), Error> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the structure lives through the call.
        let known = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } == 0;
        // Where memory to come can't be locked either, asking for it would make allocations fail.
        let future = match known && limit.rlim_cur == libc::RLIM_INFINITY {
            true => libc::MCL_FUTURE,
            false => 0,
        };
        // SAFETY: the call takes flags only.
        match unsafe { libc::mlockall(libc::MCL_CURRENT | future) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub fn fifo(_priority: u8) -> Result<(), &'static str> {
        Err("only Linux has it")
    }

    pub fn lock_memory() -> Result<(), &'static str> {
        Err("only Linux has it")
    }
}
