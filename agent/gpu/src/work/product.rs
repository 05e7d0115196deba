//! Matrix products by tensor cores, every tile of them checked by its sum.
//!
//! Of integers every sum is known beforehand. Operands of full entropy are there for the power that they draw: their sums
//! are rounded, in the order that the kernel has, so every pass is held against the first one, bit for bit, on whichever
//! multiprocessor a tile is computed. A fault that is always the same and everywhere the products of integers show.

use std::collections::VecDeque;
use std::time::Duration;

use rackmark_model::gpu_work::{FigureKind, FigurePart, Format, LAUNCH_MS, Place};

use super::cuda::{CudaError, Function, Gpu, Stretch};
use super::meter::Work;
use super::modules::Modules;
use super::test::{Judged, Slot, Test, Wrong, scaled, words};
use crate::abi::{self, Gemm, GemmHopper, Kernel, OperandFormat, Operands, TILE, TileRecord, TileSums};
use crate::golden::{OperandRange, Problem, Product as Golden, mix64};

/// Sides and depths of problems, smallest first: a GPU takes the largest that fits its memory and one launch. Sides are
/// multiples of two tiles, as Hopper's kernels want them.
const SIZES: [(u32, u32); 5] = [(256, 128), (512, 256), (1024, 512), (4096, 1024), (8192, 2048)];
/// From one size to the next work grows by so much at most.
const GROWTH: u32 = 32;
/// The largest product of FP64 and TF32, which are slower by an order of magnitude.
const SLOW_SIZE: (u32, u32) = (4096, 1024);
/// The element that the self-test spoils, and its bit: a small one.
const FLIP_ELEMENT: u32 = 77 * TILE + 101;
const FLIP_MASK: u64 = 1 << 9;
const TILE_RECORD_BYTES: u64 = size_of::<TileRecord>() as u64;

/// How a format is multiplied.
#[derive(Debug, Clone, Copy)]
struct Way {
    kernel: Kernel,
    sums: Kernel,
    operands: OperandFormat,
    /// None for operands of full entropy.
    range: Option<OperandRange>,
    result_bytes: u64,
    hopper: bool,
}

fn way(format: Format, hopper: bool) -> Option<Way> {
    let (kernel, operands) = match (format, hopper) {
        (Format::Bf16, false) => (abi::GEMM_BF16, OperandFormat::Bf16),
        (Format::Fp16, false) => (abi::GEMM_FP16, OperandFormat::Fp16),
        (Format::Tf32, false) => (abi::GEMM_TF32, OperandFormat::Tf32),
        (Format::Int8, false) => (abi::GEMM_INT8, OperandFormat::Int8),
        (Format::Fp64, false) => (abi::GEMM_FP64, OperandFormat::Fp64),
        (Format::Bf16, true) => (abi::GEMM_HOPPER_BF16, OperandFormat::Bf16),
        (Format::Fp8E4m3, true) => (abi::GEMM_HOPPER_FP8, OperandFormat::Fp8E4m3),
        (Format::Int8, true) => (abi::GEMM_HOPPER_INT8, OperandFormat::Int8),
        _ => return None,
    };
    let (sums, result_bytes) = match format {
        Format::Int8 => (abi::TILES_SUM_INT32, 4),
        Format::Fp64 => (abi::TILES_SUM_FP64, 8),
        _ => (abi::TILES_SUM_FP32, 4),
    };
    let range = if format == Format::Fp8E4m3 { OperandRange::Narrow } else { OperandRange::Wide };
    Some(Way { kernel, sums, operands, range: Some(range), result_bytes, hopper })
}

/// BF16 of full entropy. What is stored is summed as the integers that its bits are: no bit of it is left out.
fn way_of_power(hopper: bool) -> Way {
    let kernel = if hopper { abi::GEMM_HOPPER_BF16 } else { abi::GEMM_BF16 };
    let (sums, operands) = (abi::TILES_SUM_INT32, OperandFormat::Bf16Full);
    Way { kernel, sums, operands, range: None, result_bytes: 4, hopper }
}

/// What a tile must answer: its sums as computed (of one pass) and as stored, and what is left of the computed ones beyond
/// whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    computed: u64,
    stored: u64,
    residue: u32,
}

impl Expected {
    /// A sum of integers, computed or stored.
    fn integer(sum: &u64) -> Self {
        Self { computed: *sum, stored: *sum, residue: 0 }
    }
}

/// A launch that was queued.
struct Queued {
    passes: u32,
}

pub struct Product {
    function: Function,
    sums: Function,
    expected: Vec<Expected>,
    gemm: Gemm,
    maps: Option<(abi::TensorMap, abi::TensorMap)>,
    blocks: u32,
    tiles: u32,
    passes: u32,
    bytes: u64,
    queued: VecDeque<Queued>,
}

impl Product {
    /// None where no kernel of it runs on this GPU, or its memory is too small for the smallest problem.
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn new(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        (format, hopper): (Format, bool),
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let Some(way) = way(format, hopper) else { return Ok(None) };
        let slow = matches!(format, Format::Fp64 | Format::Tf32);
        Self::fitting(gpu, modules, way, slow, memory, seed)
    }

    /// Over operands of full entropy; none as in [`Product::new`].
    ///
    /// # Errors
    /// [`CudaError`].
    pub fn of_power(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        match Self::fitting(gpu, modules, way_of_power(true), false, memory, seed)? {
            None => Self::fitting(gpu, modules, way_of_power(false), false, memory, seed),
            strongest => Ok(strongest),
        }
    }

    /// The largest that fits.
    fn fitting(
        gpu: &Gpu,
        modules: &mut Modules<'_>,
        way: Way,
        slow: bool,
        memory: Stretch,
        seed: u64,
    ) -> Result<Option<Self>, CudaError> {
        let (Some(function), Some(sums), Some(fill)) =
            (modules.kernel(way.kernel)?, modules.kernel(way.sums)?, modules.kernel(abi::OPERANDS_FILL)?)
        else {
            return Ok(None);
        };
        let mut fitting = None;
        for size in SIZES {
            if slow && size > SLOW_SIZE {
                break;
            }
            let Some(mut made) = Self::of_size(gpu, way, (function, sums, fill), memory, seed, size)? else {
                break;
            };
            let took = made.one_pass(gpu)?;
            if way.range.is_none() {
                made.expected = made.first_pass(gpu)?;
            }
            fitting = Some(made);
            if took * GROWTH > Duration::from_millis(u64::from(LAUNCH_MS)) {
                break;
            }
        }
        Ok(fitting)
    }

    /// None where it does not fit, or where sums of these operands could be rounded.
    fn of_size(
        gpu: &Gpu,
        way: Way,
        (function, sums, fill): (Function, Function, Function),
        memory: Stretch,
        seed: u64,
        (side, depth): (u32, u32),
    ) -> Result<Option<Self>, CudaError> {
        let elements = u64::from(side) * u64::from(depth);
        let operand_bytes = elements * u64::from(way.operands.bytes());
        let result_bytes = u64::from(side) * u64::from(side) * way.result_bytes;
        let Some((a, rest)) = memory.split(operand_bytes) else { return Ok(None) };
        let Some((b, rest)) = rest.split(operand_bytes) else { return Ok(None) };
        let Some((c, rest)) = rest.split(result_bytes) else { return Ok(None) };
        let tiles = (side / TILE) * (side / TILE);
        let Some((unread, _)) = rest.split(2 * TILE_RECORD_BYTES * u64::from(tiles)) else { return Ok(None) };
        let (seed_a, seed_b) = (mix64(seed ^ 1), mix64(seed ^ 2));
        let known = |range| {
            Golden::new(&Problem { rows: side, columns: side, depth, seed_a, seed_b, range })
                .map(|golden| golden.tile_sums().iter().map(Expected::integer).collect())
        };
        let Ok(expected) = way.range.map_or(Ok(Vec::new()), known) else { return Ok(None) };
        for (matrix, seed) in [(a, seed_a), (b, seed_b)] {
            let operands = Operands {
                matrix: matrix.at,
                count: elements,
                seed,
                flip_index: 0,
                flip_mask: 0,
                format: way.operands as u32,
                reserved: 0,
            };
            gpu.launch(fill, gpu.blocks(abi::OPERANDS_FILL, 0), &operands)?;
        }
        let maps = if way.hopper {
            let element = way.operands.bytes();
            let of = |matrix: Stretch| gpu.tensor_map(matrix.at, side, depth, element);
            Some((of(a)?, of(b)?))
        } else {
            None
        };
        // Blocks of Hopper's kernels come in pairs.
        let blocks =
            gpu.blocks(way.kernel, tiles).min(tiles).next_multiple_of(if way.hopper { 2 } else { 1 });
        let gemm = Gemm {
            a: a.at,
            b: b.at,
            c: c.at,
            tiles: unread.at,
            rows: side,
            columns: side,
            depth,
            passes: 1,
            rotation: 0,
            store: 1,
            flip_tile: tiles - 1,
            flip_element: FLIP_ELEMENT,
            flip_mask: 0,
        };
        let bytes = 2 * operand_bytes + result_bytes;
        let queued = VecDeque::new();
        Ok(Some(Self { function, sums, expected, gemm, maps, blocks, tiles, passes: 1, bytes, queued }))
    }

    /// How long one pass takes; nobody looks at its records.
    fn one_pass(&self, gpu: &Gpu) -> Result<Duration, CudaError> {
        let (begin, end) = (gpu.mark()?, gpu.mark()?);
        gpu.set(begin)?;
        self.multiply(gpu, self.gemm)?;
        gpu.set(end)?;
        gpu.wait(end)?;
        gpu.between(begin, end)
    }

    /// What one pass leaves, as what all others must leave.
    fn first_pass(&self, gpu: &Gpu) -> Result<Vec<Expected>, CudaError> {
        let bytes = self.record_bytes();
        gpu.clear(Stretch { at: self.gemm.tiles, bytes })?;
        self.multiply(gpu, self.gemm)?;
        gpu.launch(self.sums, self.tiles, &self.stored(self.gemm))?;
        let mut fetched = gpu.pin(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        gpu.fetch(&mut fetched, self.gemm.tiles)?;
        let done = gpu.mark()?;
        gpu.set(done)?;
        gpu.wait(done)?;
        let records: Vec<TileRecord> = tile_records(fetched.bytes()).collect();
        let (computed, stored) = records.split_at(records.len() / 2);
        let expected = computed.iter().zip(stored).map(|(computed, stored)| Expected {
            computed: computed.sum,
            stored: stored.sum,
            residue: computed.residue,
        });
        Ok(expected.collect())
    }

    /// What sums the tiles once more, from memory, behind the records of the product.
    fn stored(&self, gemm: Gemm) -> TileSums {
        TileSums {
            c: gemm.c,
            tiles: gemm.tiles + TILE_RECORD_BYTES * u64::from(self.tiles),
            rows: gemm.rows,
            columns: gemm.columns,
            flip_tile: 0,
            flip_element: 0,
            flip_mask: 0,
        }
    }

    fn multiply(&self, gpu: &Gpu, gemm: Gemm) -> Result<(), CudaError> {
        match self.maps {
            Some((a, b)) => {
                gpu.launch(self.function, self.blocks, &GemmHopper { a, b, gemm, reserved: [0; 7] })
            }
            None => gpu.launch(self.function, self.blocks, &gemm),
        }
    }

    fn wrong_tile(&self, tile: usize, record: TileRecord, pass: u64) -> Wrong {
        let columns = (self.gemm.columns / TILE) as usize;
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Wrong {
            pass,
            sm: record.sm_plus_one.checked_sub(1),
            place: Place::Tile { row: narrow(tile / columns), column: narrow(tile % columns) },
            rose: 0,
            fell: 0,
        }
    }
}

impl Test for Product {
    fn record_bytes(&self) -> u64 {
        2 * TILE_RECORD_BYTES * u64::from(self.tiles)
    }

    fn memory_bytes(&self) -> u64 {
        self.bytes
    }

    fn launch(&mut self, gpu: &Gpu, slot: &Slot, number: u64, flip: bool) -> Result<Work, CudaError> {
        let gemm = Gemm {
            tiles: slot.record.at,
            passes: self.passes,
            rotation: u32::try_from(number % u64::from(self.blocks)).unwrap_or(0),
            flip_mask: if flip { FLIP_MASK } else { 0 },
            ..self.gemm
        };
        gpu.set(slot.begin)?;
        self.multiply(gpu, gemm)?;
        gpu.set(slot.end)?;
        gpu.launch(self.sums, self.tiles, &self.stored(gemm))?;
        self.queued.push_back(Queued { passes: self.passes });
        let one = 2 * u64::from(gemm.rows) * u64::from(gemm.columns) * u64::from(gemm.depth);
        let amount = one * u64::from(self.passes);
        Ok(Work { part: FigurePart::Whole, kind: FigureKind::GigaOperationsPerSecond, amount })
    }

    fn judge(&mut self, number: u64, record: &[u8]) -> Judged {
        let mut judged = Judged::default();
        let Some(queued) = self.queued.pop_front() else { return judged };
        let records: Vec<TileRecord> = tile_records(record).collect();
        let Some((computed, stored)) = records.split_at_checked(self.tiles as usize) else { return judged };
        // A launch that did nothing at all is no work; one that left out tiles is wrong.
        judged.verified = computed.iter().any(|tile| tile.sm_plus_one != 0);
        if !judged.verified {
            return judged;
        }
        for (tile, expected) in self.expected.iter().enumerate() {
            let (Some(computed), Some(stored)) = (computed.get(tile), stored.get(tile)) else { break };
            let right = computed.sum == expected.computed.wrapping_mul(u64::from(queued.passes))
                && stored.sum == expected.stored
                && (computed.residue, stored.residue) == (expected.residue, 0)
                && computed.sm_plus_one != 0
                && stored.sm_plus_one != 0;
            if !right {
                judged.wrong(self.wrong_tile(tile, *computed, number));
            }
        }
        judged
    }

    fn is_spoiled(&self, wrong: &Wrong) -> bool {
        let last = self.wrong_tile(self.tiles as usize - 1, TileRecord::default(), 0).place;
        wrong.place == last
    }

    fn scale(&mut self, permille: u64) {
        let passes = scaled(u64::from(self.passes), permille).min(1 << 20);
        // Odd, so that a fault of every pass cannot cancel.
        self.passes = u32::try_from(passes).unwrap_or(1) | 1;
    }
}

fn tile_records(record: &[u8]) -> impl Iterator<Item = TileRecord> + '_ {
    let mut words = words(record);
    std::iter::from_fn(move || {
        let (sum, rest) = (words.next()?, words.next()?);
        let [a, b, c, d, e, f, g, h] = rest.to_ne_bytes();
        let (residue, sm_plus_one) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]));
        Some(TileRecord { sum, residue, sm_plus_one })
    })
}
