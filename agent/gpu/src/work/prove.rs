//! The prover of a proof of capacity: the game of `rackmark_feed::verify::proof`, played by a GPU.
//!
//! One stretch of memory has everything, first the product's operands, a rectangle of it and its tree, then the slow
//! elements: nothing but roots and upper levels outlives a step. The lowest [`BELOW`] levels of each tree are not kept
//! (a whole one would be gigabytes): where places are opened, the CPU makes their leaves anew, which shows as well whether
//! the GPU had made them right.

use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rackmark_feed::verify::proof::judge::places;
use rackmark_feed::verify::proof::memory::recomputed;
use rackmark_feed::verify::proof::merkle::{Tree, leaf};
use rackmark_feed::verify::proof::messages::{Challenge, Commitment, Opening};
use rackmark_feed::verify::proof::parameters::{ELEMENT_BYTES, Parameters, Set};
use rackmark_feed::verify::proof::tiles::{TILE as FOLDED, folded};
use rackmark_feed::verify::proof::{Digest, seed};
use rackmark_model::gpu_proof::{ProveOrder, ProveReport, ProveStep};
use rackmark_model::gpu_work::{GpuReport, LAUNCHES_QUEUED_MAX};

use super::cuda::{CudaError, Function, Gpu, Mark, Pinned, Stretch};
use super::modules::Modules;
use super::outlet::Outlet;
use super::process::{self, Stop};
use crate::abi::{
    self, DevicePointer, Gemm, Kernel, ProofFill, ProofFold, ProofOperands, ProofParents, ProofWalk, TILE,
    TileRecord,
};

mod message;

/// Levels of a tree that are not kept: groups of 32 leaves, which one core makes anew.
const BELOW: u32 = 5;
const DIGEST_BYTES: u64 = 32;
/// Side of the rectangles in which a product is made and folded: 256 MiB of FP32, 1.1e12 operations at full depth.
const RECTANGLE: u64 = 8_192;
/// Elements filled by a launch: 256 MiB.
const FILL_BATCH: u64 = 1 << 22;
/// Chains walked by a launch: 21 GB of reads at 320 each.
const WALK_BATCH: u64 = 1 << 20;
/// Between two looks at whether the stream ended, while the verifier is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// Plays the game to its end.
///
/// # Errors
/// [`CudaError`]; one without a code where the order cannot be, or the GPU did not compute what the CPU does.
pub fn run(
    order: &ProveOrder,
    outlet: &Outlet,
    stop: &Stop,
    steps: &Receiver<ProveStep>,
) -> Result<(), CudaError> {
    let began = Instant::now();
    let challenge = Challenge::parse(&order.challenge).ok_or_else(|| refused("it does not parse"))?;
    if challenge.set == Set::Test && !order.allow_test {
        return Err(refused("its set is for tests only"));
    }
    let parameters =
        challenge.set.on(challenge.memory_bytes).ok_or_else(|| refused("no set is for so much memory"))?;
    let gpu = Gpu::open(&order.gpu_uuid)?;
    outlet.send(&GpuReport::Device(gpu.about.clone()));
    let mut modules = Modules::new(&gpu, outlet);
    let plan = Layout::of(&parameters);
    let held = gpu.allocate(plan.bytes())?;
    outlet.send(&GpuReport::Held { bytes: held.bytes, intended_bytes: held.bytes });
    let mut prover = Prover::new(&gpu, &mut modules, stop, parameters, plan, held)?;
    let digest = challenge.digest();

    let mut tiles = Vec::new();
    let mut roots: Vec<Digest> = Vec::new();
    for round in 0..parameters.rounds {
        let seed = seed::round(&digest, round, roots.last());
        let tree = prover.compute(&seed)?;
        roots.push(tree.root());
        tiles.push((seed, tree));
    }
    outlet.send(&GpuReport::Proof(ProveReport::Tiles { roots: roots.clone(), took_us: micros(began) }));

    let ProveStep::Fill = next(steps, stop)? else {
        return Err(refused("the memory was to be filled first"));
    };
    let began = Instant::now();
    let fill = seed::fill(&digest);
    prover.fill(&fill)?;
    let bytes = parameters.memory_bytes();
    outlet.send(&GpuReport::Proof(ProveReport::Filled { bytes, took_us: micros(began) }));

    let ProveStep::Probe { nonce } = next(steps, stop)? else {
        return Err(refused("the chains were to be walked first"));
    };
    let began = Instant::now();
    let probe = seed::probe(&digest, &nonce);
    let chains = prover.walk(&probe)?;
    let root = chains.root();
    outlet.send(&GpuReport::Proof(ProveReport::Chains { root, took_us: micros(began) }));

    let ProveStep::Open { nonce } = next(steps, stop)? else {
        return Err(refused("it was to be opened last"));
    };
    let commitment = Commitment { challenge: digest, tiles: roots, chains: root };
    let places = places(&parameters, &commitment, &nonce);
    let mut opened = Vec::new();
    for ((seed, tree), places) in tiles.iter().zip(&places.tiles) {
        let places: Vec<u64> = places.iter().copied().collect();
        let of_tiles = |range: Range<u64>| -> Vec<Digest> {
            range.map(|at| leaf(seed, at, &folded(seed, &parameters, at))).collect()
        };
        opened.push(tree.open_with(&places, of_tiles).ok_or_else(|| differs("a tile"))?);
    }
    let places: Vec<u64> = places.chains.iter().copied().collect();
    let of_chains = |range: Range<u64>| -> Vec<Digest> {
        let numbers: Vec<u64> = range.collect();
        let ends = recomputed(&fill, &probe, &parameters, &numbers);
        numbers.iter().zip(&ends).map(|(at, end)| leaf(&probe, *at, end)).collect()
    };
    let chains = chains.open_with(&places, of_chains).ok_or_else(|| differs("the end of a chain"))?;
    let opening = Opening { tiles: opened, chains }.to_bytes().map_err(|error| CudaError {
        operation: "write the opening".to_owned(),
        code: None,
        name: error.to_string(),
    })?;
    outlet.send(&GpuReport::Proof(ProveReport::Opening(opening)));
    Ok(())
}

fn refused(why: &str) -> CudaError {
    CudaError { operation: "take the challenge".to_owned(), code: None, name: why.to_owned() }
}

/// Better said here than found by the verifier: this GPU is not well.
fn differs(what: &str) -> CudaError {
    CudaError {
        operation: "open the proof".to_owned(),
        code: None,
        name: format!("the GPU computed {what} that differs from what the CPU computes"),
    }
}

fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Waits for what the daemon says next.
fn next(steps: &Receiver<ProveStep>, stop: &Stop) -> Result<ProveStep, CudaError> {
    loop {
        if stop.is_set() {
            process::end(0);
        }
        match steps.recv_timeout(LOOK) {
            Ok(step) => return Ok(step),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(refused("nothing follows it")),
        }
    }
}

/// Lengths in the memory, in bytes.
#[derive(Debug, Clone, Copy)]
struct Layout {
    operand: u64,
    rectangle: u64,
    records: u64,
    /// Leaves of a product, and the level over them.
    leaves: u64,
    parents: u64,
    /// Levels of the larger tree that are kept.
    kept: u64,
    elements: u64,
    /// Leaves of a batch of chains.
    batch: u64,
    /// Lines of a side of a rectangle.
    side: u64,
}

impl Layout {
    fn of(parameters: &Parameters) -> Self {
        let lines = parameters.side_tiles * FOLDED as u64;
        let side = lines.min(RECTANGLE);
        let squares = (side / u64::from(TILE)).pow(2);
        let leaves = parameters.tiles() * DIGEST_BYTES;
        Self {
            operand: lines * parameters.depth * 2,
            rectangle: side * side * 4,
            records: squares * size_of::<TileRecord>() as u64,
            leaves,
            parents: leaves / 2,
            kept: kept(parameters.tiles()).max(kept(parameters.chains)) * DIGEST_BYTES,
            elements: parameters.memory_bytes(),
            batch: WALK_BATCH.min(parameters.chains) * DIGEST_BYTES,
            side,
        }
    }

    fn bytes(&self) -> u64 {
        let aligned = |bytes: u64| bytes.next_multiple_of(256);
        let compute = 2 * aligned(self.operand)
            + aligned(self.rectangle)
            + aligned(self.records)
            + aligned(self.leaves)
            + aligned(self.parents);
        let memory = aligned(self.elements) + 2 * aligned(self.batch);
        aligned(self.kept) + compute.max(memory)
    }
}

/// Nodes of all levels from [`BELOW`] on.
fn kept(leaves: u64) -> u64 {
    let mut width = leaves >> BELOW;
    let mut nodes = width;
    while width > 1 {
        width = width.div_ceil(2);
        nodes += width;
    }
    nodes
}

struct Prover<'a> {
    gpu: &'a Gpu,
    stop: &'a Stop,
    parameters: Parameters,
    layout: Layout,
    /// Upper levels of the tree that is being made, each behind the one below it.
    kept: Stretch,
    fetched: Pinned,
    /// Everything else, laid out anew in each step.
    rest: Stretch,
    operands: Function,
    gemm: Function,
    fold: Function,
    fill: Function,
    walk: Function,
    parents: Function,
    queue: Queue,
}

/// Few batches are under way at a time: whoever wants the GPU back waits for them.
struct Queue {
    marks: Vec<Mark>,
    next: usize,
    full: bool,
}

impl Queue {
    fn new(gpu: &Gpu) -> Result<Self, CudaError> {
        let marks = (0..LAUNCHES_QUEUED_MAX).map(|_| gpu.mark()).collect::<Result<_, _>>()?;
        Ok(Self { marks, next: 0, full: false })
    }

    /// A batch was queued; waits for the oldest one where there are enough.
    fn queued(&mut self, gpu: &Gpu, stop: &Stop) -> Result<(), CudaError> {
        if stop.is_set() {
            process::end(0);
        }
        gpu.set(self.marks[self.next])?;
        self.next = (self.next + 1) % self.marks.len();
        self.full |= self.next == 0;
        if self.full { gpu.wait(self.marks[self.next]) } else { Ok(()) }
    }
}

fn split(stretch: &mut Stretch, bytes: u64) -> Result<Stretch, CudaError> {
    let (first, rest) = stretch.split(bytes).ok_or_else(|| refused("it needs more memory than was held"))?;
    *stretch = rest;
    Ok(first)
}

impl<'a> Prover<'a> {
    fn new(
        gpu: &'a Gpu,
        modules: &mut Modules<'_>,
        stop: &'a Stop,
        parameters: Parameters,
        layout: Layout,
        held: Stretch,
    ) -> Result<Self, CudaError> {
        let mut kernel = |kernel: Kernel| {
            let none = || refused("no kernel of it runs on this GPU");
            modules.kernel(kernel)?.ok_or_else(none)
        };
        let mut rest = held;
        let kept = split(&mut rest, layout.kept)?;
        Ok(Self {
            operands: kernel(abi::PROOF_OPERANDS)?,
            gemm: kernel(abi::GEMM_FP16)?,
            fold: kernel(abi::PROOF_FOLD)?,
            fill: kernel(abi::PROOF_FILL)?,
            walk: kernel(abi::PROOF_WALK)?,
            parents: kernel(abi::PROOF_PARENTS)?,
            fetched: gpu.pin(usize::try_from(layout.kept).unwrap_or(usize::MAX))?,
            queue: Queue::new(gpu)?,
            gpu,
            stop,
            parameters,
            layout,
            kept,
            rest,
        })
    }

    /// One round: the product of this seed, folded, and the tree over its folds.
    fn compute(&mut self, seed: &Digest) -> Result<Tree, CudaError> {
        let (gpu, layout, mut rest) = (self.gpu, self.layout, self.rest);
        let [a, b] = [split(&mut rest, layout.operand)?, split(&mut rest, layout.operand)?];
        let (c, records) = (split(&mut rest, layout.rectangle)?, split(&mut rest, layout.records)?);
        let (leaves, parents) = (split(&mut rest, layout.leaves)?, split(&mut rest, layout.parents)?);
        let side_tiles = self.parameters.side_tiles;
        let lines = side_tiles * FOLDED as u64;
        let depth = u32::try_from(self.parameters.depth).unwrap_or(u32::MAX);
        for (side, matrix) in [(0, a), (1, b)] {
            let operands = ProofOperands { matrix: matrix.at, lines, depth, side, key: words(seed) };
            gpu.launch(self.operands, gpu.blocks(abi::PROOF_OPERANDS, 0), &operands)?;
        }
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let line_bytes = self.parameters.depth * 2;
        let leaf = message::leaf(seed, 32);
        for row in (0..lines).step_by(RECTANGLE as usize) {
            let rows = layout.side.min(lines - row);
            for column in (0..lines).step_by(RECTANGLE as usize) {
                let columns = layout.side.min(lines - column);
                let gemm = Gemm {
                    a: a.at + row * line_bytes,
                    b: b.at + column * line_bytes,
                    c: c.at,
                    tiles: records.at,
                    rows: narrow(rows),
                    columns: narrow(columns),
                    depth,
                    passes: 1,
                    rotation: 0,
                    store: 1,
                    flip_tile: 0,
                    flip_element: 0,
                    flip_mask: 0,
                };
                let squares = (gemm.rows / TILE) * (gemm.columns / TILE);
                gpu.launch(self.gemm, gpu.blocks(abi::GEMM_FP16, squares).min(squares), &gemm)?;
                let tile = FOLDED as u64;
                let fold = ProofFold {
                    c: c.at,
                    digests: leaves.at,
                    first_row: row / tile,
                    first_column: column / tile,
                    side_tiles,
                    rows: narrow(rows / tile),
                    columns: narrow(columns / tile),
                    leaf,
                };
                gpu.launch(self.fold, gpu.blocks(abi::PROOF_FOLD, 0), &fold)?;
                self.queue.queued(gpu, self.stop)?;
            }
        }
        let kept = self.kept.at;
        self.lowest(leaves.at, parents.at, self.parameters.tiles(), kept)?;
        self.tree(seed, self.parameters.tiles())
    }

    /// Fills the memory.
    fn fill(&mut self, key: &Digest) -> Result<(), CudaError> {
        let count = self.layout.elements / ELEMENT_BYTES;
        for first in (0..count).step_by(FILL_BATCH as usize) {
            let fill = ProofFill {
                elements: self.rest.at + first * ELEMENT_BYTES,
                first,
                count: FILL_BATCH.min(count - first),
                iterations: self.parameters.fill_iterations,
                key: words(key),
            };
            self.gpu.launch(self.fill, self.gpu.blocks(abi::PROOF_FILL, 0), &fill)?;
            self.queue.queued(self.gpu, self.stop)?;
        }
        self.reached()
    }

    /// Walks all chains; the tree over their ends.
    fn walk(&mut self, key: &Digest) -> Result<Tree, CudaError> {
        let (gpu, layout, mut rest) = (self.gpu, self.layout, self.rest);
        let elements = split(&mut rest, layout.elements)?;
        let [leaves, parents] = [split(&mut rest, layout.batch)?, split(&mut rest, layout.batch)?];
        let Parameters { chains, windows, window_elements, steps, .. } = self.parameters;
        for first in (0..chains).step_by(WALK_BATCH as usize) {
            let count = WALK_BATCH.min(chains - first);
            let walk = ProofWalk {
                elements: elements.at,
                digests: leaves.at,
                first,
                count,
                windows,
                window_elements,
                steps,
                key: words(key),
                leaf: message::leaf(key, 64),
            };
            gpu.launch(self.walk, gpu.blocks(abi::PROOF_WALK, 0), &walk)?;
            let kept = self.kept.at + (first >> BELOW) * DIGEST_BYTES;
            self.lowest(leaves.at, parents.at, count, kept)?;
            self.queue.queued(gpu, self.stop)?;
        }
        self.tree(key, chains)
    }

    /// Goes from leaves to level [`BELOW`], which it leaves at `kept`; two places take turns in between.
    fn lowest(
        &self,
        leaves: DevicePointer,
        parents: DevicePointer,
        count: u64,
        kept: DevicePointer,
    ) -> Result<(), CudaError> {
        let (mut below, mut above, mut width) = (leaves, parents, count);
        for level in 1..=BELOW {
            let to = if level == BELOW { kept } else { above };
            self.parents(below, to, width)?;
            (below, above, width) = (to, below, width.div_ceil(2));
        }
        Ok(())
    }

    fn parents(&self, below: DevicePointer, above: DevicePointer, below_count: u64) -> Result<(), CudaError> {
        let parents = ProofParents { below, above, below_count, node: message::node() };
        self.gpu.launch(self.parents, self.gpu.blocks(abi::PROOF_PARENTS, 0), &parents)
    }

    /// Goes on from level [`BELOW`] to the top, and fetches all of that.
    fn tree(&mut self, tree: &Digest, count: u64) -> Result<Tree, CudaError> {
        let (mut at, mut width) = (self.kept.at, count >> BELOW);
        let mut widths = vec![width];
        while width > 1 {
            let above = at + width * DIGEST_BYTES;
            self.parents(at, above, width)?;
            (at, width) = (above, width.div_ceil(2));
            widths.push(width);
        }
        self.gpu.fetch(&mut self.fetched, self.kept.at)?;
        self.reached()?;
        let mut digests = self.fetched.bytes().as_chunks::<32>().0.iter().copied();
        let levels = widths.iter().map(|width| digests.by_ref().take(*width as usize).collect()).collect();
        Tree::of_levels(tree, count, BELOW, levels)
            .ok_or_else(|| refused("its tree has no whole groups of leaves"))
    }

    /// Waits for everything that was queued.
    fn reached(&mut self) -> Result<(), CudaError> {
        let mark = self.queue.marks[self.queue.next];
        self.gpu.set(mark)?;
        self.gpu.wait(mark)
    }
}

/// A key as the cipher takes it.
fn words(key: &Digest) -> [u32; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
