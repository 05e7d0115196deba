// Set before every kernel, by the pipeline and by the simulator: types, the mixing function, the error log, and the few
// words whose meaning differs between a GPU and a CPU. The convention is in README.md.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#ifdef RACKMARK_SIMULATED

// What the simulator gives: where the thread is, the SM it pretends to be on, and its chance to spoil a product.
struct Position {
    u32 x;
};
extern thread_local Position threadIdx, blockIdx, blockDim, gridDim;
extern "C" u32 simulated_sm();
extern "C" u64 simulated_product(u64 bits, u32 tile, u32 row, u32 column);

// Products are by reference, unless a test emulates the instructions of the real ones.
#ifndef RACKMARK_EMULATED
#define PRODUCT_BY_REFERENCE
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __grid_constant__
#define UNROLLED
#define UNROLLED_BY(times)
#define ROLLED
// The block's threads as one loop, run by thread 0; the others have nothing left to do.
#define MEMBERS_HERE(threads) (threads)
#define FOR_MEMBERS(m, threads) for (u32 m = 0; m < (threads); ++m)
#define MEMBER(m) (m)
#define ONE_RUNS_FOR_ALL() if (threadIdx.x != 0) return
#define BLOCK_SHARED static thread_local
#define CONSTANT_TABLE static const
#define ALL_ARRIVED()
// What a compiler keeps in registers matters on a GPU only.
#define OPAQUE_32(value) ((void)(value))
#define OPAQUE_64(value) ((void)(value))
#define OPAQUE_FP32(value) ((void)(value))
#define OPAQUE_FP64(value) ((void)(value))

static inline u32 this_sm() { return simulated_sm(); }
static inline u64 atomic_add(u64* at, u64 value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
static inline u32 atomic_add(u32* at, u32 value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
static inline void atomic_or(u32* at, u32 value) { __atomic_fetch_or(at, value, __ATOMIC_RELAXED); }
static inline u32 bits_set(u64 value) { return (u32)__builtin_popcountll(value); }
static inline u32 leading_zeros(u32 value) { return (u32)__builtin_clz(value); }
static inline float fused_32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fused_64(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline u32 bits_of(float value) { u32 bits; __builtin_memcpy(&bits, &value, 4); return bits; }
static inline u64 bits_of(double value) { u64 bits; __builtin_memcpy(&bits, &value, 8); return bits; }
static inline float float_of(u32 bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
static inline double double_of(u64 bits) { double value; __builtin_memcpy(&value, &bits, 8); return value; }

#else

#define PRAGMA(words) _Pragma(#words)
#define UNROLLED _Pragma("unroll")
#define UNROLLED_BY(times) PRAGMA(unroll times)
#define ROLLED _Pragma("unroll 1")
#define MEMBERS_HERE(threads) 1
#define FOR_MEMBERS(m, threads) for (u32 m = 0; m < 1; ++m)
#define MEMBER(m) (threadIdx.x)
#define ONE_RUNS_FOR_ALL()
#define BLOCK_SHARED __shared__
#define CONSTANT_TABLE static __constant__ const
#define ALL_ARRIVED() __syncthreads()
// The compiler must not know the value any more.
#define OPAQUE_32(value) asm volatile("" : "+r"(value))
#define OPAQUE_64(value) asm volatile("" : "+l"(value))
#define OPAQUE_FP32(value) asm volatile("" : "+f"(value))
#define OPAQUE_FP64(value) asm volatile("" : "+d"(value))

__device__ __forceinline__ u32 this_sm() {
    u32 sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    return sm;
}
__device__ __forceinline__ u64 atomic_add(u64* at, u64 value) { return atomicAdd(at, value); }
__device__ __forceinline__ u32 atomic_add(u32* at, u32 value) { return atomicAdd(at, value); }
__device__ __forceinline__ void atomic_or(u32* at, u32 value) { atomicOr(at, value); }
__device__ __forceinline__ u32 bits_set(u64 value) { return __popcll(value); }
__device__ __forceinline__ u32 leading_zeros(u32 value) { return __clz(value); }
__device__ __forceinline__ float fused_32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused_64(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ __forceinline__ u32 bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ u64 bits_of(double value) { return __double_as_longlong(value); }
__device__ __forceinline__ float float_of(u32 bits) { return __uint_as_float(bits); }
__device__ __forceinline__ double double_of(u64 bits) { return __longlong_as_double(bits); }

#endif

// What every lane gets from the lane whose number differs by these bits.
template <u32 HERE>
__device__ __forceinline__ void cross_lanes(const u64 (&from)[HERE], u64 (&to)[HERE], u32 bits) {
#ifdef RACKMARK_SIMULATED
    for (u32 m = 0; m < HERE; ++m) to[m] = from[m ^ bits];
#else
    to[0] = __shfl_xor_sync(0xffffffff, from[0], bits);
#endif
}

// Sixteen bytes, one access.
struct alignas(16) Pair {
    u64 low, high;
};

// A bijection of 64-bit words in which every input bit reaches every output bit (the finaliser of SplitMix64).
__device__ __forceinline__ u64 mix64(u64 x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

// Words that count: word i is i * COUNTING_STEP + seed. The step is odd (2^64 divided by the golden ratio): all words
// differ, neighbours differ in half their bits, and sums have a closed form.
#define COUNTING_STEP 0x9e3779b97f4a7c15ull

// What a block says of its share.
struct BlockRecord {
    u64 sum;
    u32 sm;
    u32 threads;  // that took part
};

__device__ __forceinline__ void note_block(BlockRecord* blocks, u64 sum) {
    BlockRecord* block = &blocks[blockIdx.x];
    atomic_add(&block->sum, sum);
    atomic_add(&block->threads, 1);
    if (threadIdx.x == 0) block->sm = this_sm();
}

// --- Products --------------------------------------------------------------------------------------------------------
//
// Operands are integers (operands.cu), so that every partial sum is one that FP32 holds exactly, in whatever order it is
// made: a product has one right answer on every GPU and in every format, and it is an integer c with |c| < 2^22.
//
// A tile answers with S = sum of e(c) * u(row) * v(column) modulo 2^64 over its 128 x 128 elements. e(c) is c + BIAS,
// read off the bits of c + 1.5 * 2^23 (FP64: 1.5 * 2^52), which are those of an integer as long as c is one in range. u
// and v are odd: an element that is wrong by d changes S by d * odd, which is 0 modulo 2^64 only where d is. That a
// value has survived the addition unrounded is the residue's part: it is 0 as long as subtracting gives c back, bit for
// bit. So every wrong element, however many of its bits are wrong, NaN and infinity included, changes the sum or the
// residue for certain. And S is bilinear: the CPU gets it from A's weighted rows and B's weighted columns without
// making the product (golden/product.rs).

enum : u32 { TILE = 128, BIAS = 0x4B400000, TILE_ROWS_OF_A_GROUP = 8 };

struct TileRecord {
    u64 sum;          // over all passes
    u32 residue;
    u32 sm_plus_one;  // 0: nobody computed it
};

struct Gemm {
    const u8* a;
    const u8* b;
    void* c;
    TileRecord* tiles;
    u32 rows, columns, depth;
    u32 passes;
    u32 rotation;
    u32 store;
    u32 flip_tile;
    u32 flip_element;
    u64 flip_mask;
};

// An odd weight for a position (the finaliser of MurmurHash3).
__device__ __forceinline__ u32 weight(u32 position) {
    u32 x = position * 0x9e3779b1u;
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return (x ^ (x >> 16)) | 1;
}
__device__ __forceinline__ u32 row_weight(u32 row) { return weight(row + 1); }
__device__ __forceinline__ u32 column_weight(u32 column) { return weight(column + 1 + TILE); }

__device__ __forceinline__ u32 encoded(float c, u32& residue) {
    float shifted = c + 12582912.0f;
    residue |= bits_of(shifted - 12582912.0f) ^ bits_of(c);
    return bits_of(shifted);
}
__device__ __forceinline__ u32 encoded(i32 c, u32&) { return (u32)c + BIAS; }
__device__ __forceinline__ u64 encoded(double c, u32& residue) {
    double shifted = c + 6755399441055744.0;
    u64 rest = bits_of(shifted - 6755399441055744.0) ^ bits_of(c);
    residue |= (u32)rest | (u32)(rest >> 32);
    return bits_of(shifted) - 0x4338000000000000ull + BIAS;
}

// Formats of operands: bytes of an element, and the accumulator.
struct Bf16 {
    typedef float Sum;
    enum : u32 { BYTES = 2 };
};
struct Fp16 : Bf16 {};
struct Tf32 {
    typedef float Sum;
    enum : u32 { BYTES = 4 };
};
struct Int8 {
    typedef i32 Sum;
    enum : u32 { BYTES = 1 };
};
struct Fp8 {
    typedef float Sum;
    enum : u32 { BYTES = 1 };
};
struct Fp64 {
    typedef double Sum;
    enum : u32 { BYTES = 8 };
};

__device__ __forceinline__ float flipped(float c, u64 mask) { return float_of(bits_of(c) ^ (u32)mask); }
__device__ __forceinline__ i32 flipped(i32 c, u64 mask) { return (i32)((u32)c ^ (u32)mask); }
__device__ __forceinline__ double flipped(double c, u64 mask) { return double_of(bits_of(c) ^ mask); }

template <class C>
struct alignas(2 * sizeof(C)) Two {
    C first, second;
};

// Where a thread's accumulators are in its tile. One layout serves mma.sync and wgmma: held[r][c] is at row
// first_row + 8 r and column first_column + 8 (c / 2) + c % 2.
struct Share {
    u32 tile;
    u32 first_row, first_column;
    __device__ __forceinline__ u32 row(u32 r) const { return first_row + 8 * r; }
    __device__ __forceinline__ u32 column(u32 c) const { return first_column + 8 * (c / 2) + c % 2; }
};

#ifdef RACKMARK_SIMULATED

// Elements as the tensor cores read them.
static inline double element(Bf16, const u8* at) { return float_of((u32)(at[1] << 8 | at[0]) << 16); }
static inline double magnitude(u32 exponent, u32 mantissa, u32 mantissa_bits, i32 bias) {
    i32 scale = (exponent ? (i32)exponent : 1) - bias - (i32)mantissa_bits;
    return __builtin_ldexp((exponent ? 1u << mantissa_bits : 0) + mantissa, scale);
}
static inline double element(Fp16, const u8* at) {
    u32 bits = at[1] << 8 | at[0], exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double size = exponent < 31 ? magnitude(exponent, mantissa, 10, 15) : mantissa ? __builtin_nan("") : __builtin_inf();
    return bits >> 15 ? -size : size;
}
static inline double element(Tf32, const u8* at) {
    u32 bits;
    __builtin_memcpy(&bits, at, 4);
    return float_of(bits & 0xffffe000);
}
static inline double element(Fp64, const u8* at) {
    double value;
    __builtin_memcpy(&value, at, 8);
    return value;
}
static inline double element(Fp8, const u8* at) {
    u32 exponent = *at >> 3 & 15, mantissa = *at & 7;
    double size = exponent == 15 && mantissa == 7 ? __builtin_nan("") : magnitude(exponent, mantissa, 3, 7);
    return *at >> 7 ? -size : size;
}
static inline i32 element(Int8, const u8* at) { return (signed char)*at; }

static inline float from_bits(float, u64 bits) { return float_of((u32)bits); }
static inline double from_bits(double, u64 bits) { return double_of(bits); }
static inline i32 from_bits(i32, u64 bits) { return (i32)(u32)bits; }
static inline u32 bits_of(i32 value) { return (u32)value; }

// What a thread holds of a product, by reference: element for element, and past the simulator's hand.
template <class F, u32 ROWS, u32 COLUMNS>
static void reference(F format, const Gemm& p, const Share& share, typename F::Sum (&held)[ROWS][COLUMNS]) {
    u64 pitch = (u64)p.depth * F::BYTES;
    u32 tile_columns = p.columns / TILE;
    for (u32 r = 0; r < ROWS; ++r) {
        for (u32 c = 0; c < COLUMNS; ++c) {
            const u8* a = p.a + (share.tile / tile_columns * TILE + share.row(r)) * pitch;
            const u8* b = p.b + (share.tile % tile_columns * TILE + share.column(c)) * pitch;
            decltype(element(format, a)) sum = 0;
            for (u64 at = 0; at < pitch; at += F::BYTES) sum += element(format, a + at) * element(format, b + at);
            u64 bits = bits_of((typename F::Sum)sum);
            bits = simulated_product(bits, share.tile, share.row(r), share.column(c));
            held[r][c] = from_bits(held[r][c], bits);
        }
    }
}

#endif

// The place of a tile in the order in which tiles are computed: down columns of eight tiles, so that the tiles that are
// computed at a time share operands in the level-2 cache.
__device__ __forceinline__ u32 tile_at(u32 place, u32 tile_rows, u32 tile_columns) {
    u32 group = place / (TILE_ROWS_OF_A_GROUP * tile_columns);
    u32 within = place % (TILE_ROWS_OF_A_GROUP * tile_columns);
    u32 first = group * TILE_ROWS_OF_A_GROUP;
    u32 high = tile_rows - first < TILE_ROWS_OF_A_GROUP ? tile_rows - first : TILE_ROWS_OF_A_GROUP;
    return (first + within % high) * tile_columns + within / high;
}

// The first place of one of so many teams (blocks, or clusters of them). Each launch moves it by one team: a fault that
// stays at its SM goes to other tiles.
__device__ __forceinline__ u32 first_place(const Gemm& p, u32 team, u32 teams) {
    u32 moved = team + p.rotation;
    OPAQUE_32(moved);  // computed anew in each pass, not kept in a register meanwhile
    return moved % teams;
}

// Flips bits of an element of the tile, in the thread that holds it.
template <class C, u32 ROWS, u32 COLUMNS>
__device__ __forceinline__ void spoil(C (&held)[ROWS][COLUMNS], const Share& share, u32 element, u64 mask) {
    // Elements before the first wrap to numbers that are far too large.
    u32 down = element / TILE - share.first_row, right = element % TILE - share.first_column;
    if (down % 8 || right % 8 > 1 || down / 8 >= ROWS || right / 8 * 2 >= COLUMNS) return;
    u32 place = down / 8 * COLUMNS + right / 8 * 2 + right % 8;
    UNROLLED
    for (u32 r = 0; r < ROWS; ++r) {
        UNROLLED
        for (u32 c = 0; c < COLUMNS; ++c) {
            if (place == r * COLUMNS + c) held[r][c] = flipped(held[r][c], mask);
        }
    }
}

// Adds what a thread holds of a tile to the tile's record. Weights of columns are computed, or taken from a table.
template <class C, u32 ROWS, u32 COLUMNS, class Weights>
__device__ __forceinline__ void add_to_record(TileRecord* tiles, const C (&held)[ROWS][COLUMNS], const Share& share,
                                              Weights weight_of_column) {
    u64 by_row[ROWS];
    u32 residue = 0;
    UNROLLED
    for (u32 r = 0; r < ROWS; ++r) by_row[r] = 0;
    UNROLLED
    for (u32 c = 0; c < COLUMNS; ++c) {
        u64 weight = weight_of_column(share.column(c));
        UNROLLED
        for (u32 r = 0; r < ROWS; ++r) {
            by_row[r] += encoded(held[r][c], residue) * weight;
            // One after the other: gathered at the end, the residues would all need registers.
            OPAQUE_32(residue);
        }
    }
    u64 sum = 0;
    UNROLLED
    for (u32 r = 0; r < ROWS; ++r) sum += by_row[r] * row_weight(share.row(r));
    TileRecord* record = &tiles[share.tile];
    atomic_add(&record->sum, sum);
    if (residue) atomic_or(&record->residue, residue);
    record->sm_plus_one = this_sm() + 1;
}

// What follows a product, on GPU and CPU: the flipped bit, the record, the store.
template <class C, u32 ROWS, u32 COLUMNS, class Weights>
__device__ __forceinline__ void finish_tile(const Gemm& p, bool last_pass, C (&held)[ROWS][COLUMNS],
                                            Share share, Weights weight_of_column) {
    // Weights are computed here, for each tile anew, and not kept in registers while the next tile is multiplied.
    OPAQUE_32(share.first_row);
    OPAQUE_32(share.first_column);
    if (last_pass && p.flip_mask && share.tile == p.flip_tile) spoil(held, share, p.flip_element, p.flip_mask);
    add_to_record(p.tiles, held, share, weight_of_column);
    if (!last_pass || !p.store) return;
    u32 tile_columns = p.columns / TILE;
    C* corner = (C*)p.c + (u64)(share.tile / tile_columns) * TILE * p.columns + share.tile % tile_columns * TILE;
    UNROLLED
    for (u32 r = 0; r < ROWS; ++r) {
        UNROLLED
        for (u32 c = 0; c < COLUMNS; c += 2) {
            Two<C> two = {held[r][c], held[r][c + 1]};
            *(Two<C>*)(corner + (u64)share.row(r) * p.columns + share.column(c)) = two;
        }
    }
}
