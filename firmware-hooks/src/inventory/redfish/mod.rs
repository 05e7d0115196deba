//! What a BMC says over Redfish (DSP0266, schemas DSP8010): documents to facts. No I/O; whoever asks the BMC hands
//! over the bytes, which are a stranger's.

mod facts;
mod json;
mod links;
mod path;
mod spdm;

pub use facts::{Described, Resource};
pub use json::{DEPTH_MAX, DOCUMENT_BYTES_MAX, DocumentError};
pub use links::{Collection, MEMBERS_MAX, ServiceRoot, firmware_inventory, message};
pub use path::ResourcePath;
pub use spdm::{CHAIN_BYTES_MAX, Component, SignedMeasurements, Task, TaskEnd, certificate_chain};
