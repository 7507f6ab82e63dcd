//! Frames against golden ones, framing against noise, the driver against the emulated bus.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::wire::{Inbox, Parsed};
use super::*;
use crate::emulator::{
    Clock, Emulator, EmulatorConfig, Fault, FaultRates, FirstOrder, ServoConfig,
};

fn frame(protocol: Protocol, id: u8, code: u8, params: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    protocol.begin(&mut out, id, code);
    out.extend_from_slice(params);
    assert!(protocol.finish(&mut out));
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(" ")
}

/// From Feetech's manual and LeRobot's tests, and as feetech-servo-sdk 1.0.0 sends them.
#[test]
fn feetech_frames_are_golden() {
    let sts = |id, code, params: &[u8]| hex(&frame(Protocol::Sts, id, code, params));
    assert_eq!(sts(1, feetech::PING, &[]), "FF FF 01 02 01 FB");
    assert_eq!(sts(1, feetech::READ, &[56, 2]), "FF FF 01 04 02 38 02 BE");
    assert_eq!(sts(1, feetech::WRITE, &[42, 0, 8]), "FF FF 01 05 03 2A 00 08 C4");
    assert_eq!(sts(1, feetech::REG_WRITE, &[42, 0, 8]), "FF FF 01 05 04 2A 00 08 C3");
    assert_eq!(sts(BROADCAST, feetech::ACTION, &[]), "FF FF FE 02 05 FA");
    let sync_read = sts(BROADCAST, feetech::SYNC_READ, &[30, 2, 11, 12]);
    assert_eq!(sync_read, "FF FF FE 06 82 1E 02 0B 0C 42");
    let sync_write = sts(BROADCAST, feetech::SYNC_WRITE, &[42, 2, 1, 0, 8, 2, 0xff, 7]);
    assert_eq!(sync_write, "FF FF FE 0A 83 2A 02 01 00 08 02 FF 07 37");
    assert_eq!(sts(1, 0, &[]), "FF FF 01 02 00 FC");
}

/// From ROBOTIS's e-manual, and as dynamixel-sdk 3.8.4 sends them.
#[test]
fn dynamixel_frames_are_golden() {
    let dxl = |id, code, params: &[u8]| hex(&frame(Protocol::Dynamixel, id, code, params));
    assert_eq!(dxl(1, dynamixel::PING, &[]), "FF FF FD 00 01 03 00 01 19 4E");
    let read = dxl(1, dynamixel::READ, &[132, 0, 4, 0]);
    assert_eq!(read, "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15");
    let write = dxl(1, dynamixel::WRITE, &[116, 0, 0, 2, 0, 0]);
    assert_eq!(write, "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89");
    let reg_write = dxl(1, dynamixel::REG_WRITE, &[104, 0, 0xc8, 0, 0, 0]);
    assert_eq!(reg_write, "FF FF FD 00 01 09 00 04 68 00 C8 00 00 00 AE 8E");
    assert_eq!(dxl(1, dynamixel::ACTION, &[]), "FF FF FD 00 01 03 00 05 02 CE");
    assert_eq!(dxl(1, dynamixel::REBOOT, &[]), "FF FF FD 00 01 03 00 08 2F 4E");
    let sync_read = dxl(BROADCAST, dynamixel::SYNC_READ, &[132, 0, 4, 0, 1, 2]);
    assert_eq!(sync_read, "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA");
    let fast = dxl(BROADCAST, dynamixel::FAST_SYNC_READ, &[132, 0, 4, 0, 3, 7, 4]);
    assert_eq!(fast, "FF FF FD 00 FE 0A 00 8A 84 00 04 00 03 07 04 20 F2");
    let bulk_read = [1, 0x90, 0, 2, 0, 2, 0x92, 0, 1, 0];
    let bulk_read = dxl(BROADCAST, dynamixel::BULK_READ, &bulk_read);
    assert_eq!(bulk_read, "FF FF FD 00 FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05");
    let bulk_write = [1, 0x20, 0, 2, 0, 0xa0, 0, 2, 0x1f, 0, 1, 0, 0x50];
    let bulk_write = dxl(BROADCAST, dynamixel::BULK_WRITE, &bulk_write);
    let golden = "FF FF FD 00 FE 10 00 93 01 20 00 02 00 A0 00 02 1F 00 01 00 50 B7 68";
    assert_eq!(bulk_write, golden);
    let status = dxl(1, dynamixel::STATUS, &[0, 0xa6, 0, 0, 0]);
    assert_eq!(status, "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0");
    let ping = dxl(1, dynamixel::STATUS, &[0, 0x06, 0x04, 0x26]);
    assert_eq!(ping, "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D");
}

#[test]
fn a_header_inside_a_dynamixel_frame_is_stuffed() {
    let params = [0x74, 0, 0xff, 0xff, 0xfd, 0xfd, 0xff, 0xff, 0xfd, 1];
    let mut bytes = frame(Protocol::Dynamixel, 1, dynamixel::WRITE, &params);
    let body = &bytes[8..bytes.len() - 2];
    assert_eq!(hex(body), "74 00 FF FF FD FD FD FF FF FD FD 01");
    assert_eq!(usize::from(bytes[5]), bytes.len() - 7, "the length counts the stuffing");
    let Parsed::Frame(found) = dynamixel::parse(&mut bytes) else { panic!("a whole frame") };
    assert_eq!(&bytes[found.params], params);
}

#[test]
fn signs_are_coded_as_each_register_has_it() {
    assert_eq!(sts::HOMING_OFFSET.encode(-1037).unwrap(), 0x800 | 1037);
    assert_eq!(sts::HOMING_OFFSET.decode(0x800 | 1037), -1037);
    assert!(sts::HOMING_OFFSET.encode(2048).is_err());
    assert_eq!(sts::PRESENT_LOAD.decode(0x400 | 5), -5);
    assert_eq!(sts::PRESENT_POSITION.decode(0x8000 | 12), -12);
    assert_eq!(dxl::HOMING_OFFSET.encode(-1).unwrap(), u32::MAX);
    assert_eq!(dxl::PRESENT_CURRENT.decode(0xfffe), -2);
    assert_eq!(dxl::GOAL_PWM.encode(-885).unwrap(), 0x1_0000 - 885);
    let mut word = [0; 2];
    scs::GOAL_POSITION.put(Protocol::Scs, 0x0123, &mut word);
    assert_eq!(word, [1, 0x23], "SCS servos have the high byte first");
}

#[test]
fn registers_do_not_overlap_and_hold_their_defaults() {
    for model in MODELS {
        let mut sorted = model.registers.to_vec();
        sorted.sort_by_key(|r| r.address);
        for pair in sorted.windows(2) {
            let end = pair[0].address + u16::from(pair[0].bytes);
            assert!(end <= pair[1].address, "{}: {}", model.name, pair[1].name);
        }
        for register in model.registers {
            register.encode(register.default).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn a_frame_is_found_behind_any_noise(
        noise in prop::collection::vec(any::<u8>(), 0..64),
        id in 0u8..=252,
        code in any::<u8>(),
        params in prop::collection::vec(any::<u8>(), 0..64),
        kind in 0..2usize,
    ) {
        let protocol = [Protocol::Sts, Protocol::Dynamixel][kind];
        let sent = frame(protocol, id, code, &params);
        // Behind the frame lies more noise than any length that the noise before it may feign.
        let mut inbox = Inbox::default();
        inbox.put(&noise);
        inbox.put(&sent);
        inbox.put(&[0; 1100]);
        let mut found = Vec::new();
        while !inbox.is_empty() {
            match protocol.parse(inbox.waiting()) {
                Parsed::Frame(frame) => {
                    found.push((frame.id, frame.code, inbox.waiting()[frame.params].to_vec()));
                    inbox.consume(frame.used);
                }
                Parsed::Noise { bytes, .. } => inbox.consume(bytes),
                Parsed::Incomplete => inbox.consume(1),
            }
        }
        // Noise is a sound frame once in a while, and may then begin before ours.
        prop_assume!(found.first().is_none_or(|f| *f == (id, code, params.clone())));
        prop_assert_eq!(found.first(), Some(&(id, code, params)));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(
        prop_oneof![any::<u8>(), Just(0xff), Just(0xfd), Just(0xfe), 0u8..8, Just(0x83)],
        0..600,
    )) {
        for target in crate::fuzz::TARGETS {
            (target.run)(&bytes, Path::new(""));
        }
    }

    #[test]
    fn whole_inputs_are_survived_cut_and_changed(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        for target in crate::fuzz::TARGETS {
            let mut seeds = crate::fuzz::seeds(target.name);
            prop_assert!(!seeds.is_empty(), "{} has no seed", target.name);
            // All of them one behind the other, as on a line, and each by itself.
            seeds.push(seeds.concat());
            for mut seed in seeds {
                (target.run)(&seed, Path::new(""));
                for (at, byte) in &changes {
                    let n = seed.len();
                    seed[at.index(n)] = *byte;
                }
                (target.run)(&seed, Path::new(""));
                let n = cut.index(seed.len());
                (target.run)(&seed[..n], Path::new(""));
            }
        }
    }

    #[test]
    fn a_damaged_frame_is_never_taken_for_a_sound_one(
        params in prop::collection::vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
        kind in 0..2usize,
    ) {
        let protocol = [Protocol::Sts, Protocol::Dynamixel][kind];
        let sent = frame(protocol, 7, 3, &params);
        let mut bytes = sent.clone();
        bytes[at.index(sent.len())] ^= 1u8 << bit;
        if let Parsed::Frame(found) = protocol.parse(&mut bytes) {
            // A shorter length may, once in 256, find a byte that fits its sum.
            prop_assert!(kind == 0 && found.used != sent.len(), "{found:?}");
        }
    }

    #[test]
    fn every_value_of_a_register_comes_back(
        value in any::<i32>(),
        pick in any::<prop::sample::Index>(),
    ) {
        let all: Vec<_> = MODELS.iter().flat_map(|m| m.registers.iter().map(|r| (m.protocol, *r)))
            .collect();
        let (protocol, register) = all[pick.index(all.len())];
        let (low, high) = register.range();
        let value = i64::from(value).rem_euclid(high - low + 1) + low;
        let Ok(value) = i32::try_from(value) else { return Ok(()) };
        let mut bytes = [0; 4];
        register.put(protocol, register.encode(value).unwrap(), &mut bytes);
        prop_assert_eq!(register.decode(register.get(protocol, &bytes)), value);
    }
}

/// A stepped bus with three servos, and the driver on it.
fn start(protocol: Protocol) -> (Emulator, Bus) {
    let model = match protocol {
        Protocol::Sts => "sts3215",
        Protocol::Scs => "scs0009",
        Protocol::Dynamixel => "xl330-m288",
    };
    let servos = (1..=3).map(|id| ServoConfig::new(id, model)).collect();
    let mut config = EmulatorConfig::new(protocol, servos);
    config.clock = Clock::Stepped;
    let joints = FirstOrder::new(vec![(-3.0, 3.0); 3]);
    let emulator = Emulator::start(config, Box::new(joints)).unwrap();
    let settings = BusConfig { timeout_ms: 500, ..BusConfig::default() };
    let bus = Bus::open(emulator.path(), protocol, settings).unwrap();
    (emulator, bus)
}

const ALL: [Protocol; 3] = [Protocol::Sts, Protocol::Scs, Protocol::Dynamixel];

fn named(protocol: Protocol, name: &str) -> &'static Register {
    let model = MODELS.iter().find(|m| m.protocol == protocol).unwrap();
    model.register(name).unwrap()
}

#[test]
fn servos_are_asked_and_told_in_every_protocol() {
    for protocol in ALL {
        let (emulator, mut bus) = start(protocol);
        let numbers = MODELS.iter().filter(|m| m.protocol == protocol);
        let number = bus.ping(2).unwrap();
        assert!(numbers.map(|m| m.number).any(|n| n == number), "{protocol:?}: {number}");
        let delay = named(protocol, "Return_Delay_Time");
        assert_eq!(bus.read(1, delay).unwrap(), 250);
        bus.write_checked(1, delay, 0).unwrap();
        assert_eq!(emulator.register(1, "Return_Delay_Time").unwrap(), 0);

        let position = named(protocol, "Present_Position");
        let mut group = Group::sync(protocol, &[3, 1, 2], position, position).unwrap();
        emulator.hand(1, Some(1.0));
        emulator.hand(3, Some(-1.0));
        emulator.advance(Duration::from_millis(5));
        bus.sync_read(&mut group).unwrap();
        for (i, id) in [3, 1, 2].into_iter().enumerate() {
            let held = emulator.register(id, "Present_Position").unwrap();
            assert_eq!(group.get(i, position), held, "{protocol:?} servo {id}");
        }
        assert!(group.get(0, position) < group.get(2, position));

        let goal = named(protocol, "Goal_Position");
        let mut goals = Group::sync(protocol, &[1, 2], goal, goal).unwrap();
        goals.set(0, goal, 700).unwrap();
        goals.set(1, goal, 900).unwrap();
        bus.sync_write(&goals).unwrap();
        // An answer that comes afterwards says that the frame before it was heard.
        bus.ping(1).unwrap();
        assert_eq!(emulator.register(1, "Goal_Position").unwrap(), 700);
        assert_eq!(emulator.register(2, "Goal_Position").unwrap(), 900);

        bus.reg_write(3, goal, 512).unwrap();
        assert_ne!(emulator.register(3, "Goal_Position").unwrap(), 512);
        bus.action().unwrap();
        bus.ping(1).unwrap();
        assert_eq!(emulator.register(3, "Goal_Position").unwrap(), 512);
        assert_eq!(bus.errors(), BusErrors::default(), "{protocol:?}");
    }
}

#[test]
fn dynamixel_servos_answer_fast_and_in_bulk() {
    let (emulator, mut bus) = start(Protocol::Dynamixel);
    emulator.hand(2, Some(0.5));
    emulator.advance(Duration::from_millis(2));
    let (first, last) = (&dxl::PRESENT_CURRENT, &dxl::PRESENT_POSITION);
    let mut slow = Group::sync(Protocol::Dynamixel, &[1, 2, 3], first, last).unwrap();
    let mut fast = slow.clone();
    bus.sync_read(&mut slow).unwrap();
    bus.fast_sync_read(&mut fast).unwrap();
    assert_eq!(slow.data, fast.data);
    assert_eq!(fast.get(1, last), 2048 + 326);

    let items = [
        (1, &dxl::PRESENT_TEMPERATURE, &dxl::PRESENT_TEMPERATURE),
        (2, &dxl::PRESENT_POSITION, &dxl::PRESENT_POSITION),
    ];
    let mut bulk = Group::bulk(Protocol::Dynamixel, &items).unwrap();
    bus.bulk_read(&mut bulk).unwrap();
    assert_eq!(bulk.get(0, &dxl::PRESENT_TEMPERATURE), 30);
    assert_eq!(bulk.get(1, last), 2048 + 326);
    let items = [(1, &dxl::LED, &dxl::LED), (3, &dxl::POSITION_P_GAIN, &dxl::POSITION_P_GAIN)];
    let mut bulk = Group::bulk(Protocol::Dynamixel, &items).unwrap();
    bulk.set(0, &dxl::LED, 1).unwrap();
    bulk.set(1, &dxl::POSITION_P_GAIN, 640).unwrap();
    bus.bulk_write(&bulk).unwrap();
    bus.ping(1).unwrap();
    assert_eq!(emulator.register(1, "LED").unwrap(), 1);
    assert_eq!(emulator.register(3, "Position_P_Gain").unwrap(), 640);
    assert_eq!(bus.errors(), BusErrors::default());

    bus.write(1, &dxl::TORQUE_ENABLE, 1).unwrap();
    let refused = bus.write(1, &dxl::HOMING_OFFSET, 5).unwrap_err();
    assert!(matches!(refused, RobotError::Refused { id: 1, .. }), "{refused}");
}

#[test]
fn a_scan_finds_ids_and_baud_rates_and_both_can_be_changed() {
    for protocol in [Protocol::Sts, Protocol::Dynamixel] {
        let (_emulator, mut bus) = start(protocol);
        let ids = |bus: &mut Bus| bus.scan().unwrap().iter().map(|f| f.id).collect::<Vec<_>>();
        assert_eq!(ids(&mut bus), [1, 2, 3]);
        let model = MODELS.iter().find(|m| m.protocol == protocol).unwrap();
        let model = bus.scan().unwrap()[0].model.unwrap_or(model);
        bus.change_id(model, 2, 9).unwrap();
        assert_eq!(ids(&mut bus), [1, 3, 9]);
        let taken = bus.change_id(model, 9, 3).unwrap_err();
        assert!(matches!(taken, RobotError::IdTaken { id: 3 }), "{taken}");
        bus.change_baud(model, 9, 115_200).unwrap();
        assert_eq!(ids(&mut bus), [9], "only that one listens at the new rate");
        let all = bus.scan_bauds(model).unwrap();
        let mut found: Vec<_> =
            all.iter().map(|(baud, f)| (*baud, f.iter().map(|f| f.id).collect())).collect();
        found.sort();
        let wanted: [(u32, Vec<u8>); 2] = [(115_200, vec![9]), (1_000_000, vec![1, 3])];
        assert_eq!(found, wanted);
    }
}

#[test]
fn what_goes_wrong_is_asked_again_and_counted() {
    for protocol in [Protocol::Sts, Protocol::Dynamixel] {
        let (emulator, mut bus) = start(protocol);
        let position = named(protocol, "Present_Position");
        let mut group = Group::sync(protocol, &[1, 2, 3], position, position).unwrap();
        bus.sync_read(&mut group).unwrap();
        let before = emulator.frames();
        for fault in [
            Fault::DropAnswer,
            Fault::CorruptAnswer,
            Fault::LoseInstruction,
            Fault::DelayAnswer(Duration::from_millis(5)),
        ] {
            emulator.order(fault);
            bus.sync_read(&mut group).unwrap();
        }
        assert_eq!(emulator.faults_done(), 4);
        assert_eq!(emulator.frames() - before, 7, "three of them were asked again");
        let errors = bus.errors();
        assert_eq!(errors.retries, 3, "{errors:?}");
        assert!(errors.missing >= 4 && errors.damaged >= 1, "{errors:?}");

        emulator.vanish(2, true);
        let silent = bus.sync_read(&mut group).unwrap_err();
        assert!(
            matches!(&silent, RobotError::NoAnswer { ids, tries: 3, .. } if *ids == [2]),
            "{silent}"
        );
        emulator.vanish(2, false);
        bus.sync_read(&mut group).unwrap();
    }
}

#[test]
fn reads_are_right_however_often_the_line_fails() {
    let (emulator, mut bus) = start(Protocol::Sts);
    bus.config = BusConfig { retries: 20, timeout_ms: 40, ..bus.config };
    emulator.hand(2, Some(0.3));
    emulator.advance(Duration::from_millis(1));
    emulator.set_faults(FaultRates {
        lose_instruction: 0.05,
        drop_answer: 0.1,
        corrupt_answer: 0.1,
        delay_answer: 0.02,
        delay: Duration::from_millis(60),
    });
    let position = &sts::PRESENT_POSITION;
    let mut group = Group::sync(Protocol::Sts, &[1, 2, 3], position, position).unwrap();
    for _ in 0..60 {
        bus.sync_read(&mut group).unwrap();
        let all: Vec<_> = (0..3).map(|i| group.get(i, position)).collect();
        assert_eq!(all, [2048, 2048 + 196, 2048]);
    }
    assert!(bus.errors().total() > 8, "{:?}", bus.errors());
}

#[test]
fn a_pulled_cable_is_an_error_and_can_be_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = EmulatorConfig::so101();
    config.clock = Clock::Stepped;
    config.link = Some(folder.path().join("arm"));
    let mut emulator = Emulator::start(config, Box::new(FirstOrder::so101())).unwrap();
    let settings = BusConfig { timeout_ms: 500, ..BusConfig::default() };
    let mut bus = Bus::open(emulator.path(), Protocol::Sts, settings).unwrap();
    assert_eq!(bus.ping(1).unwrap(), 777);
    emulator.order(Fault::CutCable);
    let gone = bus.ping(1).unwrap_err();
    let again = bus.ping(1).unwrap_err();
    assert!(matches!(again, RobotError::Device { .. }), "{gone}; {again}");
    let begun = Instant::now();
    while emulator.is_plugged() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the cable is still in");
        std::thread::yield_now();
    }
    emulator.plug_in().unwrap();
    bus.reopen().unwrap();
    assert_eq!(bus.ping(1).unwrap(), 777);
}

#[test]
fn a_port_is_for_one_program() {
    let (emulator, bus) = start(Protocol::Sts);
    let second = Bus::open(emulator.path(), Protocol::Sts, BusConfig::default());
    // Only root may open it all the same.
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    assert!(second.is_err() || is_root);
    drop((bus, second));
    Bus::open(emulator.path(), Protocol::Sts, BusConfig::default()).unwrap();
}
