//! Asks a USB serial adapter to hand bytes on at once.
//!
//! FTDI chips keep received bytes up to 16 ms to fill a packet, many times a servo's answer. Their
//! driver lowers that to 1 ms for the port's low-latency flag, which its user may set, or through
//! sysfs, which root may write. Adapters that are plain CDC devices (that of the SO-101) keep
//! nothing. All of it is best effort: a port without the setting works as before.
#![allow(unsafe_code)] // ioctl with a structure of the kernel's

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::ioctl::{Opcode, Setter, Updater, ioctl};

const TIOCGSERIAL: Opcode = 0x541e;
const TIOCSSERIAL: Opcode = 0x541f;
const ASYNC_LOW_LATENCY: i32 = 1 << 13;

/// `struct serial_struct` of linux/serial.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct SerialSettings {
    kind: i32,
    line: i32,
    port: u32,
    irq: i32,
    flags: i32,
    xmit_fifo_size: i32,
    custom_divisor: i32,
    baud_base: i32,
    close_delay: u16,
    io_type: u8,
    reserved: u8,
    hub6: i32,
    closing_wait: u16,
    closing_wait2: u16,
    iomem_base: usize,
    iomem_reg_shift: u16,
    port_high: u32,
    iomap_base: usize,
}

/// Sets it as low as the adapter allows; whether any way worked.
pub fn lower(port: BorrowedFd<'_>, path: &Path) -> bool {
    set_flag(port).is_ok() || set_timer(path)
}

fn set_flag(port: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // Zeros are a valid value of every field.
    let mut settings = SerialSettings {
        kind: 0,
        line: 0,
        port: 0,
        irq: 0,
        flags: 0,
        xmit_fifo_size: 0,
        custom_divisor: 0,
        baud_base: 0,
        close_delay: 0,
        io_type: 0,
        reserved: 0,
        hub6: 0,
        closing_wait: 0,
        closing_wait2: 0,
        iomem_base: 0,
        iomem_reg_shift: 0,
        port_high: 0,
        iomap_base: 0,
    };
    // SAFETY: TIOCGSERIAL fills one `serial_struct`, whose layout `SerialSettings` has.
    unsafe { ioctl(port, Updater::<TIOCGSERIAL, SerialSettings>::new(&mut settings)) }?;
    settings.flags |= ASYNC_LOW_LATENCY;
    // SAFETY: TIOCSSERIAL reads one `serial_struct`, here as the kernel just wrote it.
    unsafe { ioctl(port, Setter::<TIOCSSERIAL, SerialSettings>::new(settings)) }
}

/// Writes 1 ms into the driver's file; whether there is one that may be written.
fn set_timer(path: &Path) -> bool {
    timer_file(path).is_some_and(|file| fs::write(file, "1").is_ok())
}

/// Where the driver of a port such as `/dev/ttyUSB0` keeps its timer.
fn timer_file(path: &Path) -> Option<PathBuf> {
    let device = fs::canonicalize(path).ok()?;
    let name = device.file_name()?.to_str()?;
    let is_usb = name.starts_with("ttyUSB");
    is_usb.then(|| PathBuf::from(format!("/sys/bus/usb-serial/devices/{name}/latency_timer")))
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Places from linux/serial.h on a 64-bit machine, printed by a C program.
    #[test]
    fn the_structure_is_that_of_the_kernels_header() {
        assert_eq!(size_of::<SerialSettings>(), 72);
        assert_eq!(offset_of!(SerialSettings, flags), 16);
        assert_eq!(offset_of!(SerialSettings, iomem_base), 48);
        assert_eq!(offset_of!(SerialSettings, iomap_base), 64);
    }

    #[test]
    fn only_usb_serial_ports_have_a_timer() {
        assert_eq!(timer_file(Path::new("/dev/null")), None);
        assert_eq!(timer_file(Path::new("/dev/no-such-port")), None);
    }
}
