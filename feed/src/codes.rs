//! Open code lists: numbers with names that grow at the end.
//!
//! A code list is a registry, not a part of a schema: a later version appends
//! codes and never renumbers or reuses one. A reader that meets a code it does
//! not know keeps the number (`Unrecognised`) and goes on, so an old consumer
//! survives a new agent.

/// Defines an open code list: the enum, its numbers, its names, serde as `u16`.
macro_rules! codes {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A code that this version of the crate does not know.
            Unrecognised(u16),
        }

        impl $name {
            /// Every code this version knows, in code order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            pub const fn code(self) -> u16 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Unrecognised(code) => code,
                }
            }

            /// The entry with this number; `Unrecognised` when there is none.
            pub const fn from_code(code: u16) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Unrecognised(other),
                }
            }

            /// The name in the JSON form and in documents; `unrecognised` for an unknown code.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unrecognised(_) => "unrecognised",
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    Self::Unrecognised(code) => write!(f, "unrecognised({code})"),
                    known => f.write_str(known.name()),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u16(self.code())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <u16 as serde::Deserialize>::deserialize(deserializer).map(Self::from_code)
            }
        }
    };
}

pub(crate) use codes;

codes! {
    /// State of the node as a whole.
    pub enum NodeState {
        /// The agent runs and has no first sample yet.
        Starting = 0 "starting",
        /// Samples are being taken.
        Online = 1 "online",
        /// No new work is wanted; running work goes on.
        Draining = 2 "draining",
        /// The operator closed the driver handles for a time.
        Paused = 3 "paused",
        /// The agent has stopped, or (as the will) its connection is gone.
        Offline = 4 "offline",
    }
}

codes! {
    /// State of one GPU. A GPU is in exactly one of these.
    pub enum GpuState {
        /// Nobody uses it and it can be leased.
        Free = 0 "free",
        /// Promised to a lease that has not begun.
        Reserved = 1 "reserved",
        /// Under a lease.
        Leased = 2 "leased",
        /// Processes run on it and no lease is known.
        InUse = 3 "in_use",
        /// Finishing its work; takes no new work.
        Draining = 4 "draining",
        /// Under a burn-in or proof run of the agent.
        BurnIn = 5 "burn_in",
        /// Taken out by the operator.
        Maintenance = 6 "maintenance",
        /// The operator closed its driver handle for a time.
        Paused = 7 "paused",
        /// Bound to another driver (`vfio-pci`): passed to a guest, not lost.
        HandedOver = 8 "handed_over",
        /// Runtime-suspended; the agent does not wake it.
        Suspended = 9 "suspended",
        /// Broken or lost.
        Faulted = 10 "faulted",
        /// No answer; not to be taken for healthy.
        Unknown = 11 "unknown",
    }
}

codes! {
    /// What the health rules say about one GPU.
    pub enum Verdict {
        /// New work may be placed on it.
        Schedulable = 0 "schedulable",
        /// Running work may end; no new work.
        Draining = 1 "draining",
        /// No work.
        Unusable = 2 "unusable",
        /// Not enough is known; treat as not schedulable.
        Unknown = 3 "unknown",
    }
}

codes! {
    /// How a claim is known. Not a scale: each answers another doubt.
    pub enum ClaimClass {
        /// Typed into a configuration.
        Declared = 0 "declared",
        /// Said by software on the host (the driver library).
        Reported = 1 "reported",
        /// Found by work that the agent ran on the device.
        Measured = 2 "measured",
        /// Signed by hardware.
        Attested = 3 "attested",
        /// Seen by the consumer itself; an agent never sends this.
        Observed = 4 "observed",
    }
}

codes! {
    /// What is at the far end of an NVLink.
    pub enum NvLinkRemote {
        /// Another GPU.
        Gpu = 0 "gpu",
        /// An NVSwitch.
        Switch = 1 "switch",
        /// An IBM NPU.
        Npu = 2 "npu",
        /// Not told.
        Unknown = 3 "unknown",
    }
}

codes! {
    /// What kind of driver client a process is.
    pub enum ProcessKind {
        /// Has a compute context.
        Compute = 0 "compute",
        /// Has a graphics context.
        Graphics = 1 "graphics",
        /// Has both.
        ComputeAndGraphics = 2 "compute_and_graphics",
    }
}

codes! {
    /// How much a condition matters. The order of the numbers is the order of weight.
    pub enum Severity {
        /// Worth knowing; nothing to do.
        Info = 0 "info",
        /// Someone should look at it during the day.
        Warning = 1 "warning",
        /// A person is needed now, or the GPU earns nothing.
        Critical = 2 "critical",
    }
}

impl Severity {
    /// True for `Warning` and all above it. A severity of a later version counts as one: not knowing is no
    /// reason to keep quiet.
    pub const fn concerns_buyers(self) -> bool {
        !matches!(self, Self::Info)
    }
}

codes! {
    /// What a person or a scheduler is to do about a condition.
    pub enum Action {
        /// Nothing.
        None = 0 "none",
        /// Start the application again; the hardware is not to blame.
        RestartApplication = 1 "restart_application",
        /// Ask the vendor's support.
        ContactSupport = 2 "contact_support",
        /// Let the work finish and give the GPU nothing new.
        Drain = 3 "drain",
        /// Reset the GPU after its work has ended.
        ResetGpu = 4 "reset_gpu",
        /// Restart the whole node.
        RebootNode = 5 "reboot_node",
        /// Look at seating, power, cooling, cables.
        InspectHardware = 6 "inspect_hardware",
        /// Replace the part.
        ReplaceHardware = 7 "replace_hardware",
    }
}

codes! {
    /// What ended a condition.
    pub enum ClearedBy {
        /// The readings are good again.
        Recovered = 0 "recovered",
        /// The node was restarted.
        Reboot = 1 "reboot",
        /// The GPU was reset.
        GpuReset = 2 "gpu_reset",
        /// A person acknowledged it.
        Acknowledged = 3 "acknowledged",
        /// It was not seen again for long enough.
        Expired = 4 "expired",
        /// The card was taken out of the slot.
        Removed = 5 "removed",
        /// Another condition stands in its place.
        Superseded = 6 "superseded",
    }
}

codes! {
    /// What moved a GPU from one state to another.
    pub enum StateCause {
        /// The agent saw it (processes came or went).
        Observed = 0 "observed",
        /// The operator said so.
        Operator = 1 "operator",
        /// A lease began or ended.
        Lease = 2 "lease",
        /// The health rules.
        Health = 3 "health",
        /// The driver, or its absence.
        Driver = 4 "driver",
        /// The agent itself (its start, its own work on the GPU).
        Agent = 5 "agent",
    }
}
