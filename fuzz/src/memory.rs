//! An allocator that ends the program where an input asks for too much: more than 512 MiB at once,
//! or more than 1 GiB held. What the C libraries allocate is left to libFuzzer's limit on the
//! process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const AT_ONCE: usize = 512 << 20;
const HELD: usize = 1 << 30;

thread_local! {
    /// What the last panic said.
    pub static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

static NOW: AtomicUsize = AtomicUsize::new(0);
/// What was held before the input.
static BEFORE: AtomicUsize = AtomicUsize::new(0);

/// Counts from here.
pub fn begin() {
    BEFORE.store(NOW.load(Relaxed), Relaxed);
}

/// The system's allocator within bounds.
pub struct Bounded;

fn account(size: usize) {
    let now = NOW.fetch_add(size, Relaxed) + size;
    let held = now.saturating_sub(BEFORE.load(Relaxed));
    if size > AT_ONCE || held > HELD {
        // Room for the message and the trace.
        NOW.store(0, Relaxed);
        BEFORE.store(0, Relaxed);
        let trace = std::backtrace::Backtrace::force_capture();
        eprintln!("over-allocation: {size} bytes at once, {held} held\n{trace}");
        std::process::abort();
    }
}

// SAFETY: every call goes to the system's allocator unchanged; only numbers are kept beside.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        account(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        account(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        account(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }
}
