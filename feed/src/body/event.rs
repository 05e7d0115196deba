//! Events: things that happen once.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codes::codes;
use crate::error::LimitError;
use crate::extension::{self, Extension, Extensions};
use crate::ids::Stream;
use crate::limits;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it happened (or was first seen), milliseconds since 1970.
    pub occurred_unix_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// The GPU it happened to, if one.
    pub gpu: Option<GpuRef>,
    /// Data of later versions.
    #[serde(deserialize_with = "limits::list::<_, Extension, { limits::EXTENSIONS }>")]
    pub extensions: Extensions,
}

/// A GPU by every name it has, so that it can be found after it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRef {
    /// Slot in the node, stable within a session.
    pub slot: u8,
    /// Index as the driver numbered it last.
    pub index: Option<u32>,
    /// UUID, `GPU-…`.
    #[serde(deserialize_with = "text_option")]
    pub uuid: Option<String>,
    /// Serial number of the board.
    #[serde(deserialize_with = "text_option")]
    pub serial: Option<String>,
    /// PCI address, `domain:bus:device.function` in hex.
    #[serde(deserialize_with = "text_option")]
    pub pci_address: Option<String>,
}

codes! {
    /// Where an XID was read.
    pub enum XidSource {
        /// The driver library's event set.
        Driver = 0 "driver",
        /// The kernel log.
        KernelLog = 1 "kernel_log",
    }
}

/// An XID: the driver's report of a GPU error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xid {
    /// XID number.
    pub code: u32,
    /// Where it was read.
    pub source: XidSource,
    /// The kernel's words, shortened; empty from the driver library.
    #[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")]
    pub text: String,
    /// Process that it names.
    pub pid: Option<u32>,
    /// Name of that process.
    #[serde(deserialize_with = "text_option")]
    pub process: Option<String>,
    /// GPU instance that it names, under MIG.
    pub gpu_instance_id: Option<u32>,
    /// Compute instance that it names, under MIG.
    pub compute_instance_id: Option<u32>,
    /// The earlier XID that it says it follows from.
    pub caused_by: Option<u32>,
}

/// What happened. On the wire: kind number, length, payload; a reader keeps a
/// kind that it does not know as [`EventKind::Unrecognised`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// 0: the driver reported an XID.
    Xid(Xid),
    /// 1: a GPU fell off the bus or vanished from the driver.
    GpuLost,
    /// 2: a lost GPU is back.
    GpuRestored,
    /// 3: a driver call for the GPU does not come back.
    GpuUnresponsive {
        /// The call.
        call: String,
        /// When it began, milliseconds since 1970.
        since_unix_ms: u64,
    },
    /// 4: the GPU answers again.
    GpuResponsive,
    /// 5: the GPU is runtime-suspended and left alone.
    GpuSuspended,
    /// 6: the GPU is bound to another driver.
    GpuHandedOver,
    /// 7: the driver was unloaded.
    DriverGone,
    /// 8: a driver is loaded again.
    DriverBack {
        /// Its version.
        version: String,
    },
    /// 9: the sampling process was replaced.
    SamplerRestarted {
        /// Why.
        reason: String,
    },
    /// 10: the operator paused the agent.
    Paused {
        /// When it resumes by itself, milliseconds since 1970.
        until_unix_ms: u64,
    },
    /// 11: the agent resumed.
    Resumed,
    /// 12: a new configuration is in force.
    ConfigReloaded,
    /// 13: messages of a stream were dropped from the spool undelivered.
    SamplesLost {
        /// The stream.
        stream: Stream,
        /// First lost sequence number.
        from_seq: u64,
        /// Last lost sequence number.
        to_seq: u64,
    },
    /// A kind that this version does not know, with its payload.
    Unrecognised {
        /// The kind number.
        code: u16,
        /// The payload, at most [`limits::EVENT_BYTES`].
        payload: Vec<u8>,
    },
}

impl EventKind {
    /// The kind number on the wire.
    pub const fn code(&self) -> u16 {
        match self {
            Self::Xid(_) => 0,
            Self::GpuLost => 1,
            Self::GpuRestored => 2,
            Self::GpuUnresponsive { .. } => 3,
            Self::GpuResponsive => 4,
            Self::GpuSuspended => 5,
            Self::GpuHandedOver => 6,
            Self::DriverGone => 7,
            Self::DriverBack { .. } => 8,
            Self::SamplerRestarted { .. } => 9,
            Self::Paused { .. } => 10,
            Self::Resumed => 11,
            Self::ConfigReloaded => 12,
            Self::SamplesLost { .. } => 13,
            Self::Unrecognised { code, .. } => *code,
        }
    }

    /// The name in the JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Xid(_) => "xid",
            Self::GpuLost => "gpu_lost",
            Self::GpuRestored => "gpu_restored",
            Self::GpuUnresponsive { .. } => "gpu_unresponsive",
            Self::GpuResponsive => "gpu_responsive",
            Self::GpuSuspended => "gpu_suspended",
            Self::GpuHandedOver => "gpu_handed_over",
            Self::DriverGone => "driver_gone",
            Self::DriverBack { .. } => "driver_back",
            Self::SamplerRestarted { .. } => "sampler_restarted",
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
            Self::ConfigReloaded => "config_reloaded",
            Self::SamplesLost { .. } => "samples_lost",
            Self::Unrecognised { .. } => "unrecognised",
        }
    }

    fn payload(&self) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Xid(xid) => postcard::to_allocvec(xid),
            Self::GpuLost
            | Self::GpuRestored
            | Self::GpuResponsive
            | Self::GpuSuspended
            | Self::GpuHandedOver
            | Self::DriverGone
            | Self::Resumed
            | Self::ConfigReloaded => Ok(Vec::new()),
            Self::GpuUnresponsive { call, since_unix_ms } => postcard::to_allocvec(&(call, since_unix_ms)),
            Self::DriverBack { version: text } | Self::SamplerRestarted { reason: text } => {
                postcard::to_allocvec(text)
            }
            Self::Paused { until_unix_ms } => postcard::to_allocvec(until_unix_ms),
            Self::SamplesLost { stream, from_seq, to_seq } => {
                postcard::to_allocvec(&(stream, from_seq, to_seq))
            }
            Self::Unrecognised { payload, .. } => Ok(payload.clone()),
        }
    }

    fn from_wire(code: u16, payload: &[u8]) -> Result<Self, &'static str> {
        Ok(match code {
            0 => Self::Xid(whole(payload)?),
            1 => whole(payload).map(|()| Self::GpuLost)?,
            2 => whole(payload).map(|()| Self::GpuRestored)?,
            3 => {
                let (call, since_unix_ms): (Text, u64) = whole(payload)?;
                Self::GpuUnresponsive { call: call.0, since_unix_ms }
            }
            4 => whole(payload).map(|()| Self::GpuResponsive)?,
            5 => whole(payload).map(|()| Self::GpuSuspended)?,
            6 => whole(payload).map(|()| Self::GpuHandedOver)?,
            7 => whole(payload).map(|()| Self::DriverGone)?,
            8 => Self::DriverBack { version: whole::<Text>(payload)?.0 },
            9 => Self::SamplerRestarted { reason: whole::<Text>(payload)?.0 },
            10 => Self::Paused { until_unix_ms: whole(payload)? },
            11 => whole(payload).map(|()| Self::Resumed)?,
            12 => whole(payload).map(|()| Self::ConfigReloaded)?,
            13 => {
                let (stream, from_seq, to_seq) = whole(payload)?;
                Self::SamplesLost { stream, from_seq, to_seq }
            }
            _ => Self::Unrecognised { code, payload: payload.to_vec() },
        })
    }
}

/// A text within the limit, alone or in a tuple.
#[derive(Deserialize)]
struct Text(#[serde(deserialize_with = "limits::text::<_, { limits::TEXT_BYTES }>")] String);

/// Parses a payload that must be used up whole.
fn whole<T: DeserializeOwned>(payload: &[u8]) -> Result<T, &'static str> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("bytes follow the event payload"),
        Err(_) => Err("event payload does not parse"),
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeTuple};
        struct Payload(Vec<u8>);
        impl Serialize for Payload {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        let payload = self.payload().map_err(S::Error::custom)?;
        let mut tuple = serializer.serialize_tuple(2)?;
        tuple.serialize_element(&self.code())?;
        tuple.serialize_element(&Payload(payload))?;
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for EventKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (code, payload) = <(u16, &[u8])>::deserialize(deserializer)?;
        if payload.len() > limits::EVENT_BYTES {
            return Err(D::Error::custom("event payload too long"));
        }
        Self::from_wire(code, payload).map_err(D::Error::custom)
    }
}

fn text_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Text>::deserialize(deserializer)?;
    Ok(text.map(|text| text.0))
}

impl Event {
    pub(crate) fn check(&self) -> Result<(), LimitError> {
        let text = |what, text: &str| limits::check(what, text.len(), limits::TEXT_BYTES);
        match &self.kind {
            EventKind::Xid(xid) => {
                text("bytes of the xid text", &xid.text)?;
                text("bytes of the process name", xid.process.as_deref().unwrap_or_default())?;
            }
            EventKind::GpuUnresponsive { call, .. } => text("bytes of the call name", call)?,
            EventKind::DriverBack { version } => text("bytes of the driver version", version)?,
            EventKind::SamplerRestarted { reason } => text("bytes of the restart reason", reason)?,
            EventKind::Unrecognised { payload, .. } => {
                limits::check("bytes of the event payload", payload.len(), limits::EVENT_BYTES)?;
            }
            _ => {}
        }
        if let Some(gpu) = &self.gpu {
            for name in [&gpu.uuid, &gpu.serial, &gpu.pci_address] {
                text("bytes of a gpu name", name.as_deref().unwrap_or_default())?;
            }
        }
        extension::check(&self.extensions)
    }
}
