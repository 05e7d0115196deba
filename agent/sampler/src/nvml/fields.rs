use nvml_wrapper_sys::bindings::{nvmlFieldValue_t, nvmlValue_st};

use super::device::{Absent, on};
use super::{Device, Status};

/// The scope of fields that have none, and the GPU among the power scopes.
pub(crate) const SCOPE_GPU: u32 = 0;
/// `NVML_POWER_SCOPE_MODULE`.
pub(crate) const SCOPE_MODULE: u32 = 1;
/// `NVML_POWER_SCOPE_MEMORY`.
pub(crate) const SCOPE_MEMORY: u32 = 2;
/// The sum over all NVLinks, for the NVLink throughput fields.
pub(crate) const SCOPE_ALL_LINKS: u32 = u32::MAX;

/// Several field values asked for with one driver call.
pub(crate) struct FieldQuery<const N: usize> {
    values: [nvmlFieldValue_t; N],
    answer: Result<(), Status>,
}

impl<const N: usize> FieldQuery<N> {
    /// `nvmlDeviceGetFieldValues` for pairs of field and scope.
    pub(crate) fn ask(device: &Device, fields: [(u32, u32); N]) -> Self {
        let mut values = fields.map(|(field, scope)| nvmlFieldValue_t {
            fieldId: field,
            scopeId: scope,
            timestamp: 0,
            latencyUsec: 0,
            valueType: 0,
            nvmlReturn: Status::NOT_SUPPORTED.0,
            value: nvmlValue_st { ullVal: 0 },
        });
        // N is written out at each call site, far below the range of an i32.
        let answer = on!(device, nvmlDeviceGetFieldValues(N as i32, values.as_mut_ptr()));
        if let Some(lost) =
            values.iter().map(|value| Status(value.nvmlReturn)).find(|status| status.is_fatal())
        {
            // Noted on the device; the field itself still answers with it.
            let _ = device.noted(Err(lost));
        }
        Self { values, answer }
    }

    /// The field at `position` as a number that cannot be negative.
    pub(crate) fn unsigned(&self, position: usize) -> Result<u64, Status> {
        let value = self.signed(position)?;
        let value = u64::try_from(value).map_err(|_| Status::NOT_SUPPORTED)?;
        if value.is_absent() { Err(Status::NOT_SUPPORTED) } else { Ok(value) }
    }

    /// The field at `position`; a fraction is cut off.
    pub(crate) fn signed(&self, position: usize) -> Result<i128, Status> {
        self.answer?;
        let field = self.values.get(position).ok_or(Status::NOT_SUPPORTED)?;
        Status::check(field.nvmlReturn)?;
        let value = &field.value;
        // SAFETY: every member of the union is a plain number, so any bytes are
        // valid for each, and the whole union was initialised; `valueType` only
        // decides which reading is the meant one.
        let number = unsafe {
            match field.valueType {
                0 => value.dVal as i128,
                1 if value.uiVal.is_absent() => return Err(Status::NOT_SUPPORTED),
                1 => i128::from(value.uiVal),
                2 => i128::from(value.ulVal),
                3 => i128::from(value.ullVal),
                4 => i128::from(value.sllVal),
                5 => i128::from(value.siVal),
                6 => i128::from(value.usVal),
                _ => return Err(Status::NOT_SUPPORTED),
            }
        };
        Ok(number)
    }
}
