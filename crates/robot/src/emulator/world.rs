//! The emulated bus without its cable: bytes of the master in, answers of the servos out.
//!
//! Time goes on in fixed steps, so that what happens depends on how far it went and not on how
//! often it was asked. Any bytes may come in; nothing that they say makes it panic.

use std::time::Duration;

use super::faults::Faults;
use super::mechanism::{Drive, Mechanism, Motion};
use super::servo::Servo;
use super::{Clock, EmulatorConfig};
use crate::bus::wire::{BROADCAST, Frame, Inbox, Parsed};
use crate::bus::{Protocol, dynamixel as dxl, feetech};
use crate::error::RobotError;

/// A step of time.
pub(super) const STEP: Duration = Duration::from_millis(1);
/// A Dynamixel's error numbers.
const NO_SUCH_INSTRUCTION: u8 = 2;
const TOO_SHORT: u8 = 5;

/// An answer on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// How long the servo waits before it answers.
    pub delay: Duration,
    pub bytes: Vec<u8>,
}

/// Servos, what turns under them, and what was received.
pub(super) struct World {
    protocol: Protocol,
    pub servos: Vec<Servo>,
    mechanism: Box<dyn Mechanism>,
    drives: Vec<Drive>,
    motions: Vec<Motion>,
    inbox: Inbox,
    pub faults: Faults,
    per_read: Option<Duration>,
    /// How long it has run, and what is left of a step.
    pub time: Duration,
    rest: Duration,
    /// Instructions that came whole.
    pub frames: u64,
    /// Bits per second of the line; `None` where every servo hears everything.
    pub baud: Option<u32>,
}

impl World {
    pub fn new(config: &EmulatorConfig, mechanism: Box<dyn Mechanism>) -> Result<Self, RobotError> {
        let wrong = |why: String| RobotError::Config { place: "emulator".into(), why };
        let servos: Vec<_> = config.servos.iter().map(Servo::new).collect::<Result<_, _>>()?;
        if mechanism.joints() != servos.len() {
            let (joints, n) = (mechanism.joints(), servos.len());
            return Err(wrong(format!("{n} servos on a mechanism of {joints} joints")));
        }
        if let Some(servo) = servos.iter().find(|s| s.model.protocol != config.protocol) {
            return Err(wrong(format!("{} speaks another protocol", servo.model.name)));
        }
        Ok(Self {
            protocol: config.protocol,
            motions: servos.iter().map(|s| s.motion).collect(),
            drives: Vec::with_capacity(servos.len()),
            servos,
            mechanism,
            inbox: Inbox::default(),
            faults: Faults::new(config.seed),
            per_read: match config.clock {
                Clock::PerRead(dt) => Some(dt),
                Clock::Real | Clock::Stepped => None,
            },
            time: Duration::ZERO,
            rest: Duration::ZERO,
            frames: 0,
            baud: None,
        })
    }

    /// Lets time go on by `dt`.
    pub fn advance(&mut self, dt: Duration) {
        self.rest += dt;
        while self.rest >= STEP {
            self.rest -= STEP;
            self.time += STEP;
            let seconds = STEP.as_secs_f64();
            self.drives.clear();
            self.drives.extend(self.servos.iter_mut().map(|s| s.drive(seconds)));
            self.mechanism.step(STEP, &self.drives, &mut self.motions);
            for (servo, motion) in self.servos.iter_mut().zip(&self.motions) {
                servo.moved(*motion, seconds);
            }
        }
    }

    /// Takes what the master sent; answers are added to `replies`.
    pub fn receive(&mut self, mut bytes: &[u8], replies: &mut Vec<Reply>) {
        while !bytes.is_empty() {
            let taken = self.inbox.put(bytes);
            bytes = &bytes[taken..];
            self.parse(replies);
        }
    }

    /// Gives up a frame that began and was not finished: a pause on the line ends it.
    pub fn pause(&mut self, replies: &mut Vec<Reply>) {
        while !self.inbox.is_empty() {
            self.inbox.consume(1);
            self.parse(replies);
        }
    }

    pub fn servo(&mut self, id: u8) -> Option<&mut Servo> {
        self.servos.iter_mut().find(|s| s.id() == id)
    }

    fn parse(&mut self, replies: &mut Vec<Reply>) {
        loop {
            match self.protocol.parse(self.inbox.waiting()) {
                Parsed::Incomplete => return,
                Parsed::Noise { bytes, .. } => self.inbox.consume(bytes),
                Parsed::Frame(frame) => {
                    let params = self.inbox.waiting()[frame.params.clone()].to_vec();
                    self.inbox.consume(frame.used);
                    self.frames += 1;
                    if !self.faults.loses_instruction() {
                        self.execute(&frame, &params, replies);
                    }
                }
            }
        }
    }

    fn execute(&mut self, frame: &Frame, params: &[u8], replies: &mut Vec<Reply>) {
        use feetech::{ACTION, PING, READ, REG_WRITE, SYNC_READ, SYNC_WRITE, WRITE};
        let is_dynamixel = self.protocol == Protocol::Dynamixel;
        match frame.code {
            // The numbers of these are the same in both protocols.
            SYNC_READ if self.protocol != Protocol::Scs => self.sync_read(params, replies),
            SYNC_WRITE => self.sync_write(params),
            dxl::FAST_SYNC_READ if is_dynamixel => self.fast_sync_read(params, replies),
            dxl::BULK_READ if is_dynamixel => self.bulk_read(params, replies),
            dxl::BULK_WRITE if is_dynamixel => self.bulk_write(params),
            // An answer of a servo, on a line that echoes.
            dxl::STATUS if is_dynamixel => {}
            PING | READ | WRITE | REG_WRITE | ACTION | dxl::REBOOT => {
                for i in 0..self.servos.len() {
                    let is_meant = frame.id == BROADCAST || frame.id == self.servos[i].id();
                    if is_meant && self.hears(i) {
                        self.single(i, frame, params, replies);
                    }
                }
            }
            _ if is_dynamixel => {
                let known = self.find(frame.id);
                replies.extend(known.map(|i| self.reply(i, NO_SUCH_INSTRUCTION, &[])));
            }
            _ => {}
        }
    }

    /// An instruction to one servo, or to each.
    fn single(&mut self, i: usize, frame: &Frame, params: &[u8], replies: &mut Vec<Reply>) {
        let is_dynamixel = self.protocol == Protocol::Dynamixel;
        let is_broadcast = frame.id == BROADCAST;
        let id = self.servos[i].id();
        let mut error = 0;
        let mut data = Vec::new();
        match frame.code {
            feetech::PING => {
                if is_dynamixel {
                    data.extend(self.servos[i].read(0, 2));
                    data.extend(self.servos[i].read(6, 1));
                }
                replies.push(self.reply_as(i, id, 0, &data));
                return;
            }
            feetech::READ => {
                let Some((address, len)) = self.span(params) else {
                    return self.refuse(i, TOO_SHORT, is_broadcast, replies);
                };
                if is_broadcast {
                    return;
                }
                self.tick();
                self.servos[i].show();
                data.extend(self.servos[i].read(address, len));
                replies.push(self.reply_as(i, id, 0, &data));
                return;
            }
            feetech::WRITE | feetech::REG_WRITE => {
                let Some((address, bytes)) = self.address(params) else {
                    return self.refuse(i, TOO_SHORT, is_broadcast, replies);
                };
                let servo = &mut self.servos[i];
                if frame.code == feetech::REG_WRITE {
                    servo.register(address, bytes);
                } else if let Err(refusal) = servo.write(address, bytes) {
                    error = refusal;
                }
            }
            feetech::ACTION => self.servos[i].action(),
            // A Feetech servo has no such instruction.
            _ if is_dynamixel => self.servos[i].power_cycle(),
            _ => return,
        }
        if !is_broadcast && self.servos[i].acknowledges() {
            // By the id that it was asked by, also where it has just got another.
            replies.push(self.reply_as(i, id, error, &[]));
        }
    }

    fn refuse(&self, i: usize, error: u8, is_broadcast: bool, replies: &mut Vec<Reply>) {
        if !is_broadcast && self.protocol == Protocol::Dynamixel {
            replies.push(self.reply(i, error, &[]));
        }
    }

    fn sync_read(&mut self, params: &[u8], replies: &mut Vec<Reply>) {
        let Some((address, len)) = self.span(params) else { return };
        self.tick();
        for id in &params[self.span_len()..] {
            let Some(i) = self.find(*id) else { continue };
            self.servos[i].show();
            let data: Vec<_> = self.servos[i].read(address, len).collect();
            replies.push(self.reply(i, 0, &data));
        }
    }

    fn sync_write(&mut self, params: &[u8]) {
        let Some((address, len)) = self.span(params) else { return };
        for part in params[self.span_len()..].chunks_exact(usize::from(len) + 1) {
            if let Some(i) = self.find(part[0]) {
                // Nobody answers to it, so a refusal stays unheard.
                let _ = self.servos[i].write(address, &part[1..]);
            }
        }
    }

    /// All answer in one frame; where one is silent, those behind it wait for it in vain.
    fn fast_sync_read(&mut self, params: &[u8], replies: &mut Vec<Reply>) {
        let Some((address, len)) = self.span(params) else { return };
        let ids = &params[self.span_len()..];
        let whole = ids.len() * (usize::from(len) + 4) + 1;
        let Ok(length) = u16::try_from(whole) else { return };
        self.tick();
        let mut bytes = Vec::new();
        dxl::begin(&mut bytes, BROADCAST, dxl::STATUS);
        bytes[5..7].copy_from_slice(&length.to_le_bytes());
        for id in ids {
            let Some(i) = self.find(*id) else { break };
            self.servos[i].show();
            bytes.extend([self.servos[i].alarm_byte(), *id]);
            bytes.extend(self.servos[i].read(address, len));
            let crc = dxl::crc(&bytes);
            bytes.extend(crc.to_le_bytes());
        }
        replies.push(Reply { delay: Duration::ZERO, bytes });
    }

    fn bulk_read(&mut self, params: &[u8], replies: &mut Vec<Reply>) {
        self.tick();
        for part in params.chunks_exact(5) {
            let Some((address, len)) = self.span(&part[1..]) else { continue };
            let Some(i) = self.find(part[0]) else { continue };
            self.servos[i].show();
            let data: Vec<_> = self.servos[i].read(address, len).collect();
            replies.push(self.reply(i, 0, &data));
        }
    }

    fn bulk_write(&mut self, mut params: &[u8]) {
        while let Some((address, len)) = params.get(1..).and_then(|p| self.span(p)) {
            let Some(data) = params.get(5..5 + usize::from(len)) else { return };
            if let Some(i) = self.find(params[0]) {
                let _ = self.servos[i].write(address, data);
            }
            params = &params[5 + usize::from(len)..];
        }
    }

    /// With the clock that goes by reads, a read lets time go on.
    fn tick(&mut self) {
        if let Some(dt) = self.per_read {
            self.advance(dt);
        }
    }

    /// Address and length at the beginning of parameters, no longer than a servo's memory.
    fn span(&self, params: &[u8]) -> Option<(u16, u16)> {
        let (address, len) = match (self.protocol, params) {
            (Protocol::Dynamixel, [a, b, c, d, ..]) => {
                (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))
            }
            (Protocol::Sts | Protocol::Scs, [address, len, ..]) => {
                (u16::from(*address), u16::from(*len))
            }
            _ => return None,
        };
        // What fits no answer is not answered.
        (len <= 240).then_some((address, len))
    }

    fn span_len(&self) -> usize {
        if self.protocol == Protocol::Dynamixel { 4 } else { 2 }
    }

    /// The address at the beginning of parameters, and the bytes for it.
    fn address<'a>(&self, params: &'a [u8]) -> Option<(u16, &'a [u8])> {
        match (self.protocol, params) {
            (Protocol::Dynamixel, [a, b, bytes @ ..]) => {
                Some((u16::from_le_bytes([*a, *b]), bytes))
            }
            (Protocol::Sts | Protocol::Scs, [a, bytes @ ..]) => Some((u16::from(*a), bytes)),
            _ => None,
        }
    }

    /// The servo of that id, if it hears.
    fn find(&self, id: u8) -> Option<usize> {
        let i = self.servos.iter().position(|s| s.id() == id)?;
        self.hears(i).then_some(i)
    }

    fn hears(&self, i: usize) -> bool {
        let servo = &self.servos[i];
        !self.faults.vanished.contains(&servo.id())
            && self.baud.is_none_or(|baud| baud == servo.baud())
    }

    fn reply(&self, i: usize, error: u8, data: &[u8]) -> Reply {
        self.reply_as(i, self.servos[i].id(), error, data)
    }

    fn reply_as(&self, i: usize, id: u8, error: u8, data: &[u8]) -> Reply {
        let servo = &self.servos[i];
        let error = error | servo.alarm_byte();
        let mut bytes = Vec::new();
        match self.protocol {
            Protocol::Sts | Protocol::Scs => self.protocol.begin(&mut bytes, id, error),
            Protocol::Dynamixel => {
                self.protocol.begin(&mut bytes, id, dxl::STATUS);
                bytes.push(error);
            }
        }
        bytes.extend_from_slice(data);
        let fits = self.protocol.finish(&mut bytes);
        assert!(fits, "240 bytes fit a frame of either protocol");
        Reply { delay: Duration::from_micros(servo.return_delay_us()), bytes }
    }
}

/// Feeds buses of every protocol with any bytes; what comes back must be sound frames.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn feed(bytes: &[u8]) {
    use super::{FirstOrder, ServoConfig};
    use Protocol::{Dynamixel, Scs, Sts};
    for (protocol, model) in [(Sts, "sts3215"), (Scs, "scs0009"), (Dynamixel, "xl330-m288")] {
        let servos = vec![ServoConfig::new(1, model), ServoConfig::new(2, model)];
        let mut config = EmulatorConfig::new(protocol, servos);
        config.clock = Clock::PerRead(STEP);
        let joints = FirstOrder::new(vec![(-2.0, 2.0); 2]);
        let world = World::new(&config, Box::new(joints));
        let mut world = world.expect("the settings above fit together");
        let mut replies = Vec::new();
        world.receive(bytes, &mut replies);
        world.pause(&mut replies);
        for reply in &mut replies {
            let noise = matches!(protocol.parse(&mut reply.bytes), Parsed::Noise { .. });
            assert!(!noise, "a servo's answer is a frame");
        }
    }
}
