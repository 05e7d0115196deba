//! What the driver of a network interface says of its card: the one thing about network cards that no file of sysfs says.
//!
//! The only unsafe code outside the processes that call NVIDIA's libraries: the kernel takes this question by `ioctl`
//! alone. Netlink's ethtool family leaves it out, and devlink answers it for some drivers only.
#![allow(unsafe_code, reason = "SIOCETHTOOL has no safe wrapper")]

use std::ffi::c_void;
use std::io;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::net::{AddressFamily, SocketType, socket};

/// `SIOCETHTOOL` of `linux/sockios.h`.
const SIOCETHTOOL: Opcode = 0x8946;

/// `ETHTOOL_GDRVINFO` of `linux/ethtool.h`. No privilege is asked for.
const GET_DRIVER_INFO: u32 = 3;

/// `IFNAMSIZ`: longest name of an interface with its zero.
const NAME_BYTES: usize = 16;

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    expansion_rom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

/// `struct ifreq`, of which this request uses the name and a pointer; the union behind the name has 24 bytes.
#[repr(C)]
struct InterfaceRequest<'a> {
    name: [u8; NAME_BYTES],
    data: &'a mut DriverInfo,
    rest: [u64; 2],
}

// SAFETY: the operand is a `struct ifreq` of the size that `linux/if.h` gives it (asserted below), its pointer leads to a
// `struct ethtool_drvinfo` (size asserted below) that is borrowed for the call, and the kernel writes nothing but these
// two. Every bit pattern is valid for their fields but the pointer, which the kernel leaves as it is.
unsafe impl Ioctl for InterfaceRequest<'_> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SIOCETHTOOL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut *self).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

const _: () = assert!(size_of::<DriverInfo>() == 196);
const _: () = assert!(size_of::<InterfaceRequest<'_>>() == 40);

/// What a driver says of its card.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardDriver {
    /// Name of the driver.
    pub name: String,
    /// Firmware of the card, as the driver writes it; absent where the driver knows none.
    pub firmware_version: Option<String>,
}

/// Asks the driver of an interface.
///
/// # Errors
/// No interface of that name, one that is asleep (`ENODEV`), one whose driver takes no questions (`EOPNOTSUPP`).
pub fn card_driver(interface: &str) -> io::Result<CardDriver> {
    let mut name = [0; NAME_BYTES];
    // The last byte stays zero.
    let room = name[..NAME_BYTES - 1].get_mut(..interface.len());
    room.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(interface.as_bytes());
    let mut answer = DriverInfo {
        command: GET_DRIVER_INFO,
        driver: [0; 32],
        version: [0; 32],
        firmware_version: [0; 32],
        bus_info: [0; 32],
        expansion_rom_version: [0; 32],
        reserved: [0; 12],
        counts: [0; 5],
    };
    let any = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
    let request = InterfaceRequest { name, data: &mut answer, rest: [0; 2] };
    // SAFETY: SIOCETHTOOL takes a `struct ifreq`, which the request is.
    unsafe { ioctl(&any, request)? };
    Ok(CardDriver {
        name: text(&answer.driver),
        firmware_version: Some(text(&answer.firmware_version))
            .filter(|text| !text.is_empty() && text != "N/A"),
    })
}

/// Up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_driver_is_the_one_that_sysfs_names() {
        let mut asked = 0;
        for entry in fs::read_dir("/sys/class/net").expect("interfaces").flatten() {
            let Ok(link) = fs::read_link(entry.path().join("device/driver")) else { continue };
            let name = entry.file_name().into_string().expect("name");
            match card_driver(&name) {
                Ok(said) => {
                    assert_eq!(Some(said.name.as_str()), link.file_name().and_then(|name| name.to_str()));
                    asked += 1;
                }
                Err(error) => println!("{name}: {error}"),
            }
        }
        println!("{asked} drivers asked; none where a machine has no card of its own");
    }

    #[test]
    fn what_is_no_card_has_no_driver_to_ask() {
        for name in ["", "lo", "none", "a-name-longer-than-any"] {
            assert!(card_driver(name).is_err(), "{name:?}");
        }
    }
}
