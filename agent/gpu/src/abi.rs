//! How kernels are called: one by-value struct each, laid out as in `kernels/*.cu`, and the shape of the launch.
//! `tests/artefacts.rs` compares names and sizes with the PTX that was built.

/// An address on the device; 0 is none.
pub type DevicePointer = u64;

/// Threads of a block of every kernel but the matrix products.
pub const THREADS: u32 = 256;

/// Rows and columns of the square of a product that has a [`TileRecord`] of its own.
pub const TILE: u32 = 128;

/// Entries of [`WordErrors::first`].
pub const WORD_ERRORS_MAX: usize = 64;

/// How many blocks a launch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grid {
    /// So many for each multiprocessor, which has room for all of them at a time on every architecture that there is
    /// code for (`REGISTERS_MAX` in `kernels/build.py`): the kernel's threads stride over the work.
    PerMultiprocessor(u32),
    /// One for each tile of the product.
    PerTile,
}

/// A kernel and the shape of its launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The module it is in: its file's name without the ending.
    pub module: &'static str,
    /// Its name in the module.
    pub entry: &'static str,
    /// Size of its parameter, in bytes.
    pub parameter_bytes: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes. Over 49,152 it must be asked for before the first launch
    /// (`CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`).
    pub shared_bytes: u32,
    /// Blocks of a launch.
    pub grid: Grid,
    /// Blocks of a cluster, which the kernel itself declares: a launch has a multiple of it.
    pub cluster: u32,
}

/// 256 threads of up to 40 registers: six blocks fill the 1,536 threads of a multiprocessor of sm_86, sm_89 and sm_120,
/// and three quarters of the others'.
const LEAN: u32 = 6;
/// 256 threads of up to 64 registers: four blocks have all of a multiprocessor's.
const WIDE: u32 = 4;

/// 256 threads of up to 128 registers.
const HEAVY: u32 = 2;

const fn streaming<P>(module: &'static str, entry: &'static str, blocks: u32) -> Kernel {
    let grid = Grid::PerMultiprocessor(blocks);
    Kernel {
        module,
        entry,
        parameter_bytes: size_of::<P>(),
        threads: THREADS,
        shared_bytes: 0,
        grid,
        cluster: 1,
    }
}

const fn product(entry: &'static str, threads: u32, blocks: u32) -> Kernel {
    let grid = Grid::PerMultiprocessor(blocks);
    let parameter_bytes = size_of::<Gemm>();
    Kernel {
        module: "gemm_portable",
        entry,
        parameter_bytes,
        threads,
        shared_bytes: 49_152,
        grid,
        cluster: 1,
    }
}

const fn hopper(entry: &'static str) -> Kernel {
    let parameter_bytes = size_of::<GemmHopper>();
    let (threads, shared_bytes) = (384, HOPPER_SHARED_BYTES);
    let grid = Grid::PerMultiprocessor(1);
    Kernel { module: "gemm_hopper", entry, parameter_bytes, threads, shared_bytes, grid, cluster: 2 }
}

const fn per_tile(entry: &'static str) -> Kernel {
    let parameter_bytes = size_of::<TileSums>();
    Kernel {
        module: "tiles",
        entry,
        parameter_bytes,
        threads: THREADS,
        shared_bytes: 0,
        grid: Grid::PerTile,
        cluster: 1,
    }
}

/// Four stages of 48 KiB or six of 32 KiB, their barriers, the column weights, and what aligning the stages to 1 KiB may
/// cost.
const HOPPER_SHARED_BYTES: u32 = 4 * 49_152 + 2_048;

/// Writes the pattern ([`MemoryPattern`]).
pub const MEMORY_FILL: Kernel = streaming::<MemoryPattern>("memory_pattern", "memory_fill", LEAN);
/// Reads it and compares ([`MemoryPattern`]).
pub const MEMORY_VERIFY: Kernel = streaming::<MemoryPattern>("memory_pattern", "memory_verify", WIDE);
/// Reads it, compares, and leaves its complement ([`MemoryPattern`]).
pub const MEMORY_INVERT: Kernel = streaming::<MemoryPattern>("memory_pattern", "memory_invert", WIDE);
/// Writes counting words ([`MemoryTraffic`]).
pub const MEMORY_WRITE: Kernel = streaming::<MemoryTraffic>("memory_traffic", "memory_write", LEAN);
/// Sums counting words per block ([`MemoryTraffic`]).
pub const MEMORY_READ: Kernel = streaming::<MemoryTraffic>("memory_traffic", "memory_read", LEAN);
/// Copies ([`MemoryTraffic`]).
pub const MEMORY_COPY: Kernel = streaming::<MemoryTraffic>("memory_traffic", "memory_copy", WIDE);
/// Writes an operand of a product ([`Operands`]).
pub const OPERANDS_FILL: Kernel = streaming::<Operands>("operands", "operands_fill", LEAN);
/// Sums the tiles of a stored FP32 product ([`TileSums`]).
pub const TILES_SUM_FP32: Kernel = per_tile("tiles_sum_fp32");
/// Sums the tiles of a stored INT32 product ([`TileSums`]).
pub const TILES_SUM_INT32: Kernel = per_tile("tiles_sum_int32");
/// Sums the tiles of a stored FP64 product ([`TileSums`]).
pub const TILES_SUM_FP64: Kernel = per_tile("tiles_sum_fp64");
/// BF16 product by `mma.sync` ([`Gemm`]).
pub const GEMM_BF16: Kernel = product("gemm_bf16", 128, 2);
/// FP16 product by `mma.sync` ([`Gemm`]).
pub const GEMM_FP16: Kernel = product("gemm_fp16", 128, 2);
/// TF32 product by `mma.sync` ([`Gemm`]).
pub const GEMM_TF32: Kernel = product("gemm_tf32", 128, 2);
/// INT8 product by `mma.sync` ([`Gemm`]).
pub const GEMM_INT8: Kernel = product("gemm_int8", 128, 2);
/// FP64 product by `mma.sync` ([`Gemm`]).
pub const GEMM_FP64: Kernel = product("gemm_fp64", 512, 1);
/// BF16 product by `wgmma` ([`GemmHopper`]).
pub const GEMM_HOPPER_BF16: Kernel = hopper("gemm_hopper_bf16");
/// FP8 product by `wgmma` ([`GemmHopper`]).
pub const GEMM_HOPPER_FP8: Kernel = hopper("gemm_hopper_fp8");
/// INT8 product by `wgmma` ([`GemmHopper`]).
pub const GEMM_HOPPER_INT8: Kernel = hopper("gemm_hopper_int8");
/// Chains of FP32 multiply-adds ([`Alu`]).
pub const ALU_FP32: Kernel = streaming::<Alu>("alu", "alu_fp32", LEAN);
/// Chains of FP64 multiply-adds ([`Alu`]).
pub const ALU_FP64: Kernel = streaming::<Alu>("alu", "alu_fp64", LEAN);
/// Chains of 64-bit integer operations ([`Alu`]).
pub const ALU_INTEGER: Kernel = streaming::<Alu>("alu", "alu_integer", LEAN);
/// Chains through shared memory and from lane to lane ([`Alu`]).
pub const ALU_EXCHANGE: Kernel = streaming::<Alu>("alu", "alu_exchange", LEAN);
/// Expands an operand of a proof's product ([`ProofOperands`]).
pub const PROOF_OPERANDS: Kernel = streaming::<ProofOperands>("proof", "proof_operands", HEAVY);
/// Folds tiles of a proof's product into leaves ([`ProofFold`]).
pub const PROOF_FOLD: Kernel = streaming::<ProofFold>("proof", "proof_fold", HEAVY);
/// Fills memory with elements that are slow to make ([`ProofFill`]).
pub const PROOF_FILL: Kernel = streaming::<ProofFill>("proof", "proof_fill", WIDE);
/// Walks chains of reads, whose ends are leaves ([`ProofWalk`]).
pub const PROOF_WALK: Kernel = streaming::<ProofWalk>("proof", "proof_walk", HEAVY);
/// Makes a level of a tree of the one below ([`ProofParents`]).
pub const PROOF_PARENTS: Kernel = streaming::<ProofParents>("proof", "proof_parents", HEAVY);
/// Reads counting words in scattered order ([`Gather`]).
pub const GATHER: Kernel = streaming::<Gather>("gather", "gather", LEAN);
/// Adds to scattered words ([`Atomic`]).
pub const ATOMIC_ADD: Kernel = streaming::<Atomic>("gather", "atomic_add_scattered", LEAN);
/// Writes the table that [`CHASE`] goes through ([`Chase`]).
pub const CHASE_FILL: Kernel = streaming::<Chase>("gather", "chase_fill", LEAN);
/// One thread of each block follows a table from word to word ([`Chase`]).
pub const CHASE: Kernel = Kernel {
    module: "gather",
    entry: "chase",
    parameter_bytes: size_of::<Chase>(),
    threads: 32,
    shared_bytes: 0,
    grid: Grid::PerMultiprocessor(1),
    cluster: 1,
};

/// Every kernel.
pub const KERNELS: [Kernel; 31] = [
    MEMORY_FILL,
    MEMORY_VERIFY,
    MEMORY_INVERT,
    MEMORY_WRITE,
    MEMORY_READ,
    MEMORY_COPY,
    OPERANDS_FILL,
    TILES_SUM_FP32,
    TILES_SUM_INT32,
    TILES_SUM_FP64,
    GEMM_BF16,
    GEMM_FP16,
    GEMM_TF32,
    GEMM_INT8,
    GEMM_FP64,
    GEMM_HOPPER_BF16,
    GEMM_HOPPER_FP8,
    GEMM_HOPPER_INT8,
    ALU_FP32,
    ALU_FP64,
    ALU_INTEGER,
    ALU_EXCHANGE,
    GATHER,
    ATOMIC_ADD,
    CHASE_FILL,
    CHASE,
    PROOF_OPERANDS,
    PROOF_FOLD,
    PROOF_FILL,
    PROOF_WALK,
    PROOF_PARENTS,
];

/// Parameter of `proof_operands`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProofOperands {
    /// FP16, one line after the other.
    pub matrix: DevicePointer,
    /// Rows of A or columns of B.
    pub lines: u64,
    /// Entries of a line, a multiple of 512.
    pub depth: u32,
    /// 0 for A, 1 for B.
    pub side: u32,
    /// The round's seed.
    pub key: [u32; 8],
}

/// Parameter of `proof_fold`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProofFold {
    /// FP32, a rectangle of the product.
    pub c: DevicePointer,
    /// 32 bytes for each tile of the whole product.
    pub digests: DevicePointer,
    /// First row of tiles of the rectangle in the product.
    pub first_row: u64,
    /// First column of them.
    pub first_column: u64,
    /// Tiles along a side of the product.
    pub side_tiles: u64,
    /// Rows of tiles of the rectangle.
    pub rows: u32,
    /// Columns of them.
    pub columns: u32,
    /// A leaf before its number and fold are put in: padded, big-endian words.
    pub leaf: [u32; 48],
}

/// Parameter of `proof_fill`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProofFill {
    /// Elements of 64 bytes.
    pub elements: DevicePointer,
    /// Number of the first of them in the memory.
    pub first: u64,
    /// So many.
    pub count: u64,
    /// ChaCha20 blocks behind each.
    pub iterations: u32,
    /// The fill's key.
    pub key: [u32; 8],
}

/// Parameter of `proof_walk`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProofWalk {
    /// The whole memory.
    pub elements: DevicePointer,
    /// 32 bytes for each of these chains.
    pub digests: DevicePointer,
    /// First chain.
    pub first: u64,
    /// So many.
    pub count: u64,
    /// Windows that tile the memory.
    pub windows: u64,
    /// Elements of each.
    pub window_elements: u64,
    /// Reads of a chain.
    pub steps: u32,
    /// The probe's key.
    pub key: [u32; 8],
    /// A leaf before its number and end are put in: padded, big-endian words.
    pub leaf: [u32; 48],
}

/// Parameter of `proof_parents`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ProofParents {
    /// 32 bytes for each node.
    pub below: DevicePointer,
    /// 32 bytes for each parent.
    pub above: DevicePointer,
    /// Nodes below.
    pub below_count: u64,
    /// A node before its children are put in: padded, big-endian words.
    pub node: [u32; 32],
}

/// Parameter of the memory pattern.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MemoryPattern {
    /// Pairs of words, 16-byte aligned.
    pub pairs: DevicePointer,
    /// So many pairs.
    pub pair_count: u64,
    /// Index of the first word in the pattern.
    pub first_index: u64,
    /// What the pattern grows from.
    pub seed: u64,
    /// Word to spoil, by its index in the pattern.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// A [`WordErrors`]; unused by `memory_fill`.
    pub errors: DevicePointer,
    /// 1 for the complement of the pattern, 0 for the pattern.
    pub inverted: u32,
    /// Pass to write into entries.
    pub pass: u32,
}

/// What the memory pattern's verifiers write; zeroed by the host before.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct WordErrors {
    /// Wrong words.
    pub words: u64,
    /// Bits that should be clear and were set.
    pub rose: u64,
    /// Bits that should be set and were clear.
    pub fell: u64,
    /// Words that were looked at.
    pub checked: u64,
    /// The first wrong words, in the order they were found; as many as `words`, at most.
    pub first: [WordError; WORD_ERRORS_MAX],
}

/// A wrong word of memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct WordError {
    /// Its index in the pattern.
    pub index: u64,
    /// Read xor expected.
    pub difference: u64,
    /// What should have been there.
    pub expected: u64,
    /// The multiprocessor that read it.
    pub sm: u32,
    /// Pass.
    pub pass: u32,
}

/// Parameter of the kernels that measure bandwidth. Their words count: word i is `i · COUNTING_STEP + seed`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct MemoryTraffic {
    /// Pairs of words to read, 16-byte aligned; unused by `memory_write`.
    pub source: DevicePointer,
    /// Pairs of words to write, 16-byte aligned; unused by `memory_read`.
    pub destination: DevicePointer,
    /// So many pairs.
    pub pair_count: u64,
    /// Index of the first word.
    pub first_index: u64,
    /// What the words grow from.
    pub seed: u64,
    /// Word to spoil, by its index.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// One [`BlockRecord`] for each block, zeroed by the host before; only `memory_read` writes sums.
    pub blocks: DevicePointer,
}

/// What a block writes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockRecord {
    /// Sum modulo 2^64 of what it read, or where its chase ended.
    pub sum: u64,
    /// The multiprocessor it ran on.
    pub sm: u32,
    /// Threads that took part: 0 where the block did not run.
    pub threads: u32,
}

/// A number format of operands, as `operands_fill` knows it.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandFormat {
    /// Brain floating point, 2 bytes.
    Bf16 = 0,
    /// IEEE half precision, 2 bytes.
    Fp16 = 1,
    /// FP32, of which the tensor cores read 19 bits; 4 bytes.
    Tf32 = 2,
    /// Signed integers of 1 byte.
    Int8 = 3,
    /// IEEE double precision, 8 bytes.
    Fp64 = 4,
    /// FP8 with 4 bits of exponent, 1 byte.
    Fp8E4m3 = 5,
    /// BF16 with every bit of sign and mantissa random and eight exponents, 2 bytes.
    Bf16Full = 6,
}

impl OperandFormat {
    /// Bytes of an element.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Int8 | Self::Fp8E4m3 => 1,
            Self::Bf16 | Self::Fp16 | Self::Bf16Full => 2,
            Self::Tf32 => 4,
            Self::Fp64 => 8,
        }
    }
}

/// Parameter of `operands_fill`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Operands {
    /// The matrix: element i is [`crate::golden::operand`] of i.
    pub matrix: DevicePointer,
    /// Elements.
    pub count: u64,
    /// What they grow from: two operands of a product need two seeds.
    pub seed: u64,
    /// Element to spoil.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// An [`OperandFormat`].
    pub format: u32,
    /// Zero.
    pub reserved: u32,
}

/// Parameter of the matrix products: C = A · Bᵀ, as often as `passes` says.
///
/// A is `rows` × `depth`, B is `columns` × `depth`, both row by row; C is `rows` × `columns`, row by row.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// A, 128-byte aligned.
    pub a: DevicePointer,
    /// B, 128-byte aligned.
    pub b: DevicePointer,
    /// C, 128-byte aligned: FP32, INT32 for INT8 operands, FP64 for FP64 operands; 0 where `store` is 0.
    pub c: DevicePointer,
    /// One [`TileRecord`] for each tile, row by row of tiles, zeroed by the host before.
    pub tiles: DevicePointer,
    /// Multiple of [`TILE`]; of 2 · [`TILE`] for Hopper's kernels.
    pub rows: u32,
    /// Multiple of [`TILE`]; of 2 · [`TILE`] for Hopper's kernels.
    pub columns: u32,
    /// Multiple of [`TILE`], at most [`crate::golden::DEPTH_MAX`].
    pub depth: u32,
    /// How often the product is computed. Odd, so that a fault of every pass cannot cancel.
    pub passes: u32,
    /// Moves every tile to another block: the number of the launch.
    pub rotation: u32,
    /// 1 to store C in the last pass, 0 to store nothing.
    pub store: u32,
    /// Tile to spoil in the last pass, by its index in `tiles`.
    pub flip_tile: u32,
    /// Element of it, row · [`TILE`] + column.
    pub flip_element: u32,
    /// Bits to flip in the element as it was accumulated; 0 for none.
    pub flip_mask: u64,
}

/// What a product says of one tile.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TileRecord {
    /// Weighted sum of its elements modulo 2^64, over all passes: `passes` · [`crate::golden::Product::tile_sum`].
    pub sum: u64,
    /// Zero, unless an element was no integer.
    pub residue: u32,
    /// 1 + the multiprocessor that computed it: 0 where no one did.
    pub sm_plus_one: u32,
}

/// A `CUtensorMap`, as `cuTensorMapEncodeTiled` writes it.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub struct TensorMap(pub [u64; 16]);

/// Rows of the boxes of both maps of [`GemmHopper`].
pub const HOPPER_BOX_ROWS: u32 = 64;
/// Bytes of a row of the boxes: the swizzle is `CU_TENSOR_MAP_SWIZZLE_128B`.
pub const HOPPER_BOX_BYTES: u32 = 128;

/// Parameter of Hopper's products.
///
/// Both maps have two dimensions, `depth` elements and rows, no interleave, swizzle 128B, element type by format
/// (`BFLOAT16`, or `UINT8` for FP8 and INT8) and boxes of [`HOPPER_BOX_BYTES`] × [`HOPPER_BOX_ROWS`].
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct GemmHopper {
    /// Of A.
    pub a: TensorMap,
    /// Of B.
    pub b: TensorMap,
    /// The rest.
    pub gemm: Gemm,
    /// Zero, up to a multiple of the maps' alignment.
    pub reserved: [u64; 7],
}

/// Parameter of the kernels that sum a product once more from memory.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct TileSums {
    /// C as it was stored.
    pub c: DevicePointer,
    /// One [`TileRecord`] for each tile, zeroed by the host before.
    pub tiles: DevicePointer,
    /// Rows of C.
    pub rows: u32,
    /// Columns of C.
    pub columns: u32,
    /// Tile to spoil.
    pub flip_tile: u32,
    /// Element of it, row · [`TILE`] + column.
    pub flip_element: u32,
    /// Bits to flip in the element as it was read; 0 for none.
    pub flip_mask: u64,
}

/// Parameter of the chains.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Alu {
    /// One sum for each thread of the grid: the results of its rounds, added modulo 2^64.
    pub sums: DevicePointer,
    /// One [`BlockRecord`] for each block; its sum stays 0.
    pub blocks: DevicePointer,
    /// What chains grow from; the same for every block.
    pub seed: u64,
    /// Bits to flip in the last round's result; 0 for none.
    pub flip_mask: u64,
    /// Block to spoil.
    pub flip_block: u32,
    /// Thread of it.
    pub flip_thread: u32,
    /// Steps of a round.
    pub steps: u32,
    /// Rounds, each from the same start. Odd, so that a fault of every round cannot cancel.
    pub rounds: u32,
}

/// Parameter of `gather`: block b reads the `per_block` words at `(i · multiplier + offset) & mask`, from
/// i = `first` + b · `per_block` on.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// Words as [`MemoryTraffic`] counts them, from index 0.
    pub table: DevicePointer,
    /// Words of the table less 1; a power of two less 1.
    pub mask: u64,
    /// First i.
    pub first: u64,
    /// Reads of a block, a multiple of 4 · [`THREADS`].
    pub per_block: u64,
    /// Odd.
    pub multiplier: u64,
    /// Any.
    pub offset: u64,
    /// The i whose word to spoil.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// One [`BlockRecord`] for each block, zeroed by the host before.
    pub blocks: DevicePointer,
}

/// Parameter of `atomic_add_scattered`: addresses as in [`Gather`], `addend` to each.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Atomic {
    /// Words, zeroed by the host before.
    pub bins: DevicePointer,
    /// Words less 1; a power of two less 1. The additions of a launch are a multiple of the words, so that every word
    /// gets equally many.
    pub mask: u64,
    /// First i.
    pub first: u64,
    /// Additions of a block, a multiple of [`THREADS`].
    pub per_block: u64,
    /// Odd.
    pub multiplier: u64,
    /// Any.
    pub offset: u64,
    /// What is added.
    pub addend: u64,
    /// The i whose addend to spoil.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// One [`BlockRecord`] for each block; its sum stays 0.
    pub blocks: DevicePointer,
}

/// Parameter of the pointer chase: word j of the table is `(j · multiplier + offset) & mask`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Chase {
    /// The table.
    pub table: DevicePointer,
    /// Its words less 1; a power of two less 1.
    pub mask: u64,
    /// One more than a multiple of 4: with an odd offset one cycle goes through every word.
    pub multiplier: u64,
    /// Odd.
    pub offset: u64,
    /// Where block 0 starts.
    pub start: u64,
    /// How far the next block starts from there.
    pub start_step: u64,
    /// Reads of each chase.
    pub steps: u64,
    /// `chase_fill`: the word to spoil. `chase`: the block whose end to spoil.
    pub flip_index: u64,
    /// Bits to flip in it; 0 for none.
    pub flip_mask: u64,
    /// One [`BlockRecord`] for each block; its sum is where the chase ended.
    pub blocks: DevicePointer,
}

const _: () = {
    assert!(size_of::<MemoryPattern>() == 64);
    assert!(size_of::<WordError>() == 32);
    assert!(size_of::<WordErrors>() == 32 + 64 * 32);
    assert!(size_of::<MemoryTraffic>() == 64);
    assert!(size_of::<BlockRecord>() == 16);
    assert!(size_of::<Operands>() == 48);
    assert!(size_of::<Gemm>() == 72);
    assert!(size_of::<TileRecord>() == 16);
    assert!(size_of::<TensorMap>() == 128 && align_of::<TensorMap>() == 64);
    assert!(size_of::<GemmHopper>() == 384 && align_of::<GemmHopper>() == 64);
    assert!(size_of::<TileSums>() == 40);
    assert!(size_of::<Alu>() == 48);
    assert!(size_of::<Gather>() == 72);
    assert!(size_of::<Atomic>() == 80);
    assert!(size_of::<Chase>() == 80);
};
