//! Which GPUs a folder has, as `cuda-sim prepare` found them in what `nvml-sim prepare` made: one line each.

use std::fmt;

/// The file in the folder.
pub const FILE: &str = "cuda.gpus";

/// A simulated GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// `GPU-51515151-…`, as the simulated NVML gives it.
    pub uuid: String,
    /// Its PCI address.
    pub address: String,
    /// Major and minor compute capability.
    pub capability: (u8, u8),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Memory that the simulation really has, in bytes: it is what CUDA is told, not what the product has.
    pub memory_bytes: u64,
    /// The product's name.
    pub name: String,
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.capability;
        write!(
            f,
            "{} {} {major} {minor} {} {} {}",
            self.uuid, self.address, self.multiprocessors, self.memory_bytes, self.name
        )
    }
}

impl Gpu {
    /// Reads a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(7, ' ');
        Some(Self {
            uuid: words.next()?.to_owned(),
            address: words.next()?.to_owned(),
            capability: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
            multiprocessors: words.next()?.parse().ok()?,
            memory_bytes: words.next()?.parse().ok()?,
            name: words.next()?.to_owned(),
        })
    }

    /// The UUID's 16 bytes.
    #[must_use]
    pub fn uuid_bytes(&self) -> [u8; 16] {
        let digits: Vec<u8> = self
            .uuid
            .bytes()
            .skip(4)
            .filter_map(|byte| char::from(byte).to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        bytes
    }
}

/// The GPUs that `CUDA_VISIBLE_DEVICES` leaves, in its order: UUIDs (or their beginnings) and positions; what comes
/// after the first one that is not there does not count, as with the real driver.
#[must_use]
pub fn visible(gpus: Vec<Gpu>, chosen: Option<&str>) -> Vec<(usize, Gpu)> {
    let all: Vec<(usize, Gpu)> = gpus.into_iter().enumerate().collect();
    let Some(chosen) = chosen else { return all };
    chosen
        .split(',')
        .map_while(|word| {
            let word = word.trim();
            all.iter().find(|(position, gpu)| match word.parse::<usize>() {
                Ok(number) => *position == number,
                Err(_) => word.starts_with("GPU-") && gpu.uuid.starts_with(word),
            })
        })
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(last: &str) -> Gpu {
        Gpu {
            uuid: format!("GPU-51515151-0000-0000-0001-00000000000{last}"),
            address: "00000000:83:00.0".to_owned(),
            capability: (9, 0),
            multiprocessors: 132,
            memory_bytes: 1 << 27,
            name: "NVIDIA H200".to_owned(),
        }
    }

    #[test]
    fn a_gpu_survives_its_line() {
        assert_eq!(Gpu::parse(&gpu("1").to_string()), Some(gpu("1")));
        assert_eq!(gpu("1").uuid_bytes(), [0x51, 0x51, 0x51, 0x51, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn visible_gpus_are_those_named_up_to_one_that_is_not_there() {
        let seen = |chosen: Option<&str>| -> Vec<usize> {
            visible(vec![gpu("1"), gpu("2")], chosen).into_iter().map(|(position, _)| position).collect()
        };
        assert_eq!(seen(None), [0, 1]);
        assert_eq!(seen(Some(&gpu("2").uuid)), [1]);
        assert_eq!(seen(Some("1,0")), [1, 0]);
        assert_eq!(seen(Some("0,7,1")), [0]);
        assert!(seen(Some("")).is_empty());
    }
}
