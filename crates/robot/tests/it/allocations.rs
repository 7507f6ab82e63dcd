//! A turn of the loop allocates nothing: counted by the allocator of this test program.
#![allow(unsafe_code)] // a global allocator is unsafe by its trait

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use embody_robot::Reading;
use embody_robot::bus::{Bus, BusConfig, Group, Protocol, dxl, sts};
use embody_robot::emulator::{Clock, Emulator, EmulatorConfig, FirstOrder, ServoConfig};
use embody_robot::machines::{RobotConfig, SoArm, SoPair};

/// The system's allocator, which counts per thread: the emulator's thread may allocate.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate after its counter is gone.
    let _ = COUNT.try_with(|c| c.set(c.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps what `GlobalAlloc` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1, 2, 3]))), 1);
}

/// Waits for answers as long as a busy machine needs.
const PATIENT: BusConfig = BusConfig { baud: 1_000_000, retries: 2, timeout_ms: 500 };

fn arm_at(port: &Path) -> SoArm {
    SoArm { bus: PATIENT, ..SoArm::at(port) }
}

fn so101() -> Emulator {
    let mut config = EmulatorConfig::so101();
    config.clock = Clock::PerRead(Duration::from_millis(5));
    Emulator::start(config, Box::new(FirstOrder::so101())).unwrap()
}

#[test]
fn reading_and_commanding_an_arm_allocates_nothing() {
    let (a, b) = (so101(), so101());
    let mut arm = RobotConfig::So101Follower(arm_at(a.path())).open().unwrap();
    let mut reading = Reading::new(6);
    arm.torque(true).unwrap();
    let n = allocations(|| {
        for i in 0..100_u8 {
            arm.read(&mut reading).unwrap();
            arm.command(&[f32::from(i) * 0.1; 6]).unwrap();
            arm.limit_torque(1.0 - f32::from(i) * 0.01).unwrap();
        }
    });
    assert_eq!(n, 0);
    drop(arm);

    let pair = SoPair { left: arm_at(a.path()), right: arm_at(b.path()) };
    let mut pair = RobotConfig::BiSoFollower(pair).open().unwrap();
    let mut reading = Reading::new(12);
    let n = allocations(|| {
        for _ in 0..20 {
            pair.read(&mut reading).unwrap();
            pair.command(&[1.0; 12]).unwrap();
        }
    });
    assert_eq!(n, 0);
}

#[test]
fn retries_allocate_nothing_either() {
    use embody_robot::emulator::Fault;
    for (protocol, model, position) in [
        (Protocol::Sts, "sts3215", &sts::PRESENT_POSITION),
        (Protocol::Dynamixel, "xl330-m288", &dxl::PRESENT_POSITION),
    ] {
        let servos = (1..=6).map(|id| ServoConfig::new(id, model)).collect();
        let mut config = EmulatorConfig::new(protocol, servos);
        config.clock = Clock::Stepped;
        let joints = FirstOrder::new(vec![(-2.0, 2.0); 6]);
        let emulator = Emulator::start(config, Box::new(joints)).unwrap();
        let mut bus = Bus::open(emulator.path(), protocol, PATIENT).unwrap();
        let mut group = Group::sync(protocol, &[1, 2, 3, 4, 5, 6], position, position).unwrap();
        bus.sync_read(&mut group).unwrap();
        emulator.order(Fault::DropAnswer);
        emulator.order(Fault::CorruptAnswer);
        let n = allocations(|| bus.sync_read(&mut group).unwrap());
        assert_eq!(n, 0, "{protocol:?}");
        assert!(bus.errors().retries > 0);
    }
}
