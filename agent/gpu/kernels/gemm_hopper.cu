// Matrix products by wgmma, which compute capability 9.0 alone has: BF16, INT8 and FP8 (e4m3).
//
// Expected: every tile's record is `passes` times the golden sum, with no residue. BF16 and INT8 have the golden of the
// portable products; FP8 has one of its own, because it holds integers up to 8 only. Hopper's FP8 accumulator keeps about
// 14 bits: 128 products of two such integers stay within 2^13, and every 128 of depth are added to FP32 registers.
//
// Two blocks are a cluster: it makes 256 x 256 of the product (FP8: 256 x 128), each block 128 rows of it. One thread of
// a block, the producer, lets TMA fetch 128 bytes of depth at a time into a ring of stages; each block fetches its rows
// of A and half of the columns' rows of B, which go to both blocks. Two warpgroups multiply, 64 rows each; one wgmma
// group is under way while the next is issued. A stage is full when all its bytes came, and empty when every warp of both
// blocks has read it. The fetch goes on over the end of a tile, so that the next one's operands are there when the
// epilogue ends.
//
// Self-test: bits flip_mask of the accumulator of element flip_element of tile flip_tile are flipped in the last pass.

struct alignas(64) TensorMap {
    u64 words[16];
};

struct GemmHopper {
    TensorMap a, b;  // boxes of BOX_ROWS rows and 128 bytes, swizzled by 128 bytes
    Gemm gemm;
    u64 reserved[7];
};

enum : u32 { CLUSTER = 2, BOX_ROWS = 64, BOX_BYTES = BOX_ROWS * 128, PRODUCERS = 128, GROUP = 128 };

// Tiles that a block makes side by side, and stages that fit shared memory.
template <class F>
struct Shape {
    enum : u32 { TILES = 2, STAGES = 4 };
};
template <>
struct Shape<Fp8> {
    enum : u32 { TILES = 1, STAGES = 6 };
};

// What a thread holds: two rows and 32 columns of each tile.
template <class F>
using Held = typename F::Sum[Shape<F>::TILES][2][32];

// Where the threads of both multiplying warpgroups are in a tile.
__device__ __forceinline__ Share share_of(u32 tile) {
    u32 thread = threadIdx.x - PRODUCERS;
    OPAQUE_32(thread);  // computed where it is wanted, not kept in registers in between
    u32 lane = thread % 32, warp = thread / 32;
    return {tile, warp * 16 + lane / 4, lane % 4 * 2};
}

#ifdef PRODUCT_BY_REFERENCE

struct Ring {};
template <class F>
static void multiply(const GemmHopper& p, Ring&, u32 first_tile, Held<F>& held) {
    for (u32 n = 0; n < Shape<F>::TILES; ++n) reference(F(), p.gemm, share_of(first_tile + n), held[n]);
}

#else
#ifndef RACKMARK_EMULATED

extern __shared__ __align__(1024) u8 shared_memory[];

__device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

__device__ __forceinline__ void set_up_barrier(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void expect_bytes(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// Arrives at the barrier of a block of the cluster. The default scope is enough: nothing was written that the other
// block reads, and what this warp read of the stage, wgmma has read to its end.
__device__ __forceinline__ void arrive_at(u32 barrier, u32 block) {
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}" ::"r"(barrier), "r"(block)
                 : "memory");
}
__device__ __forceinline__ void wait_for(u32 barrier, u32 phase) {
    asm volatile("{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(barrier), "r"(phase) : "memory");
}
__device__ __forceinline__ void cluster_meets() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}
__device__ __forceinline__ void fetch_box(const TensorMap& map, u32 to, u32 barrier, u32 column, u32 row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
                 "[%2];" ::"r"(to), "l"(&map), "r"(barrier), "r"(column), "r"(row) : "memory");
}
// To the same place, and counted at the same barrier, in both blocks.
__device__ __forceinline__ void fetch_box_for_both(const TensorMap& map, u32 to, u32 barrier, u32 column, u32 row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to), "l"(&map), "r"(barrier), "r"(column), "r"(row),
                 "h"((u16)3) : "memory");
}

#define NAMES_64                                                                                                      \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                                           \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                                 \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                                 \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128                                                                                                     \
    NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                      \
    "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                                 \
    "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "                     \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
// The accumulators of 8, 32 and 128 columns, in wgmma's order: two of a row, two of the row 8 below.
#define SUMS_8(kind, tile, n) \
    kind(tile[0][2 * (n)]), kind(tile[0][2 * (n) + 1]), kind(tile[1][2 * (n)]), kind(tile[1][2 * (n) + 1])
#define SUMS_32(kind, tile, n) \
    SUMS_8(kind, tile, n), SUMS_8(kind, tile, n + 1), SUMS_8(kind, tile, n + 2), SUMS_8(kind, tile, n + 3)
#define SUMS_128(kind, tile) \
    SUMS_32(kind, tile, 0), SUMS_32(kind, tile, 4), SUMS_32(kind, tile, 8), SUMS_32(kind, tile, 12)

// One step over 32 bytes of depth.
__device__ __forceinline__ void step(Bf16, float (&held)[2][2][32], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" NAMES_128 "}, %128, %129, 1, 1, 1, 0, 0;"
                 : SUMS_128("+f", held[0]), SUMS_128("+f", held[1]) : "l"(a), "l"(b));
}
__device__ __forceinline__ void step(Int8, i32 (&held)[2][2][32], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {" NAMES_128 "}, %128, %129, 1;"
                 : SUMS_128("+r", held[0]), SUMS_128("+r", held[1]) : "l"(a), "l"(b));
}
__device__ __forceinline__ void step(Fp8, float (&held)[1][2][32], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {" NAMES_64 "}, %64, %65, 1, 1, 1;"
                 : SUMS_128("+f", held[0]) : "l"(a), "l"(b));
}

__device__ __forceinline__ void steps_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void steps_end() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int UNDER_WAY>
__device__ __forceinline__ void wait_for_steps() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(UNDER_WAY) : "memory");
}

__device__ __forceinline__ void barriers_are_set_up() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Registers go from the fetching warpgroup to those that multiply: 128 * 40 + 256 * 232 are the block's 384 * 168.
__device__ __forceinline__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 40;"); }
__device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 232;"); }

#endif

template <class F>
struct Stage {
    enum : u32 {
        BOXES_OF_A = TILE / BOX_ROWS,
        BOXES_OF_B = Shape<F>::TILES * TILE / BOX_ROWS,
        BYTES = (BOXES_OF_A + BOXES_OF_B) * BOX_BYTES,
    };
};

// Stages, each with a barrier that says it is full and one that says it is empty, then the weights of columns.
struct Ring {
    u32 stages;    // shared address
    u32 barriers;  // of the full ones; those of the empty ones follow
    const u32* weights;
    u32 stage;
    u32 phase;
};

template <class F>
__device__ __forceinline__ Ring ring_of_block() {
    Ring ring;
    u32 base = shared_address(shared_memory);
    u32 unaligned = base % 1024;
    u32 skipped = unaligned ? 1024 - unaligned : 0;
    ring.stages = base + skipped;
    ring.barriers = ring.stages + Shape<F>::STAGES * Stage<F>::BYTES;
    ring.weights = (const u32*)(shared_memory + skipped + Shape<F>::STAGES * (Stage<F>::BYTES + 16));
    ring.stage = 0;
    ring.phase = 0;
    return ring;
}
template <class F>
__device__ __forceinline__ void advance(Ring& ring) {
    if (++ring.stage == Shape<F>::STAGES) {
        ring.stage = 0;
        ring.phase ^= 1;
    }
}
template <class F>
__device__ __forceinline__ u32 stage_at(const Ring& ring) { return ring.stages + ring.stage * Stage<F>::BYTES; }
__device__ __forceinline__ u32 full_at(const Ring& ring) { return ring.barriers + ring.stage * 8; }
template <class F>
__device__ __forceinline__ u32 empty_at(const Ring& ring, u32 stage) {
    return ring.barriers + (Shape<F>::STAGES + stage) * 8;
}

// A matrix in shared memory, to wgmma: rows of 128 bytes swizzled by 128 bytes, 1024 bytes from 8 rows to the next.
__device__ __forceinline__ u64 matrix_at(u32 address) {
    return (u64)((address & 0x3ffff) >> 4) | 1ull << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

__device__ __forceinline__ void opaque(float& value) { OPAQUE_FP32(value); }
__device__ __forceinline__ void opaque(i32& value) { OPAQUE_32(value); }

// Nothing that the compiler does with accumulators moves across.
template <class C, u32 TILES>
__device__ __forceinline__ void settle(C (&held)[TILES][2][32]) {
    UNROLLED
    for (u32 n = 0; n < TILES * 64; ++n) opaque(held[n / 64][n / 32 % 2][n % 32]);
}
template <class C, u32 TILES>
__device__ __forceinline__ void clear(C (&held)[TILES][2][32]) {
    UNROLLED
    for (u32 n = 0; n < TILES * 64; ++n) held[n / 64][n / 32 % 2][n % 32] = 0;
}

// Issues the steps over the stage that the ring is at.
template <class F>
__device__ __forceinline__ void multiply_stage(const Ring& ring, Held<F>& held) {
    u32 stage = stage_at<F>(ring);
    u64 a = matrix_at(stage + (threadIdx.x - PRODUCERS) / GROUP * BOX_BYTES);
    u64 b = matrix_at(stage + Stage<F>::BOXES_OF_A * BOX_BYTES);
    wait_for(full_at(ring), ring.phase);
    settle(held);
    steps_begin();
    UNROLLED
    for (u32 n = 0; n < 4; ++n) step(F(), held, a + 2 * n, b + 2 * n);
    steps_end();
    settle(held);
}

// This warp is done with a stage: says so to both blocks, whose fetches write to it.
template <class F>
__device__ __forceinline__ void release(const Ring& ring, u32 stage) {
    u32 lane = threadIdx.x % 32;
    if (lane < CLUSTER) arrive_at(empty_at<F>(ring, stage), lane);
}

template <class F>
__device__ __forceinline__ void multiply(const GemmHopper& p, Ring& ring, u32, Held<F>& held) {
    u32 parts = p.gemm.depth * F::BYTES / 128;
    clear(held);
    u32 before = 0;
    ROLLED
    for (u32 part = 0; part < parts; ++part) {
        multiply_stage<F>(ring, held);
        if (part) {
            wait_for_steps<1>();
            release<F>(ring, before);
        }
        before = ring.stage;
        advance<F>(ring);
    }
    wait_for_steps<0>();
    settle(held);
    release<F>(ring, before);
}

template <>
__device__ __forceinline__ void multiply<Fp8>(const GemmHopper& p, Ring& ring, u32, Held<Fp8>& held) {
    u32 parts = p.gemm.depth / 128;
    clear(held);
    ROLLED
    for (u32 part = 0; part < parts; ++part) {
        Held<Fp8> of_part;
        clear(of_part);
        multiply_stage<Fp8>(ring, of_part);
        wait_for_steps<0>();
        settle(of_part);
        release<Fp8>(ring, ring.stage);
        advance<Fp8>(ring);
        UNROLLED
        for (u32 n = 0; n < 64; ++n) held[0][n / 32][n % 32] += of_part[0][n / 32][n % 32];
    }
}

// One thread lets TMA fetch what both warpgroups will multiply, in their order.
template <class F>
__device__ __forceinline__ void fetch_tile(const GemmHopper& p, Ring& ring, u32 tile_row, u32 tile_column, u32 rank) {
    enum : u32 { MINE = Stage<F>::BOXES_OF_B / CLUSTER };
    u32 parts = p.gemm.depth * F::BYTES / 128;
    ROLLED
    for (u32 part = 0; part < parts; ++part) {
        u32 column = part * (128 / F::BYTES);
        u32 to = stage_at<F>(ring), full = full_at(ring);
        wait_for(empty_at<F>(ring, ring.stage), ring.phase ^ 1);
        expect_bytes(full, Stage<F>::BYTES);
        UNROLLED
        for (u32 box = 0; box < Stage<F>::BOXES_OF_A; ++box) {
            fetch_box(p.a, to + box * BOX_BYTES, full, column, tile_row * TILE + box * BOX_ROWS);
        }
        UNROLLED
        for (u32 n = 0; n < MINE; ++n) {
            u32 box = rank * MINE + n;
            fetch_box_for_both(p.b, to + (Stage<F>::BOXES_OF_A + box) * BOX_BYTES, full, column,
                               tile_column * TILE + box * BOX_ROWS);
        }
        advance<F>(ring);
    }
}

#endif

// Calls `each(last_pass, first_tile)` for what this block makes, in order.
template <class F, class Each>
__device__ __forceinline__ void for_each_tile(const GemmHopper& p, Each each) {
    u32 tile_columns = p.gemm.columns / TILE, rank = blockIdx.x % CLUSTER;
    u32 rows_of_work = p.gemm.rows / TILE / CLUSTER, columns_of_work = tile_columns / Shape<F>::TILES;
    u32 clusters = gridDim.x / CLUSTER;
    ROLLED
    for (u32 pass = 0; pass < p.gemm.passes; ++pass) {
        ROLLED
        for (u32 place = first_place(p.gemm, blockIdx.x / CLUSTER, clusters); place < rows_of_work * columns_of_work;
             place += clusters) {
            u32 work = tile_at(place, rows_of_work, columns_of_work);
            u32 tile_row = work / columns_of_work * CLUSTER + rank;
            each(pass + 1 == p.gemm.passes, tile_row * tile_columns + work % columns_of_work * Shape<F>::TILES);
        }
    }
}

template <class F, class Weights>
__device__ __forceinline__ void multiply_all(const GemmHopper& p, Ring& ring, Weights weights) {
    for_each_tile<F>(p, [&](bool last_pass, u32 first_tile) {
        Held<F> held;
        multiply<F>(p, ring, first_tile, held);
        UNROLLED
        for (u32 n = 0; n < Shape<F>::TILES; ++n) {
            finish_tile(p.gemm, last_pass, held[n], share_of(first_tile + n), weights);
        }
    });
}

template <class F>
__device__ __forceinline__ void gemm_hopper(const GemmHopper& p) {
#ifdef PRODUCT_BY_REFERENCE
    if (threadIdx.x < PRODUCERS) return;
    Ring ring;
    multiply_all<F>(p, ring, column_weight);
#else
    Ring ring = ring_of_block<F>();
    if (threadIdx.x < TILE) ((u32*)ring.weights)[threadIdx.x] = column_weight(threadIdx.x);
    if (threadIdx.x == 0) {
        for (u32 stage = 0; stage < Shape<F>::STAGES; ++stage) {
            set_up_barrier(ring.barriers + stage * 8, 1);
            set_up_barrier(empty_at<F>(ring, stage), CLUSTER * 2 * GROUP / 32);
        }
        barriers_are_set_up();
    }
    __syncthreads();
    cluster_meets();
    if (threadIdx.x < PRODUCERS) {
        give_registers();
        if (threadIdx.x == 0) {
            u32 tile_columns = p.gemm.columns / TILE, rank = blockIdx.x % CLUSTER;
            for_each_tile<F>(p, [&](bool, u32 first_tile) {
                fetch_tile<F>(p, ring, first_tile / tile_columns, first_tile % tile_columns, rank);
            });
        }
    } else {
        take_registers();
        const u32* table = ring.weights;
        multiply_all<F>(p, ring, [table](u32 column) { return table[column]; });
    }
    // Neither block ends while the other may still write to its memory or arrive at its barriers.
    cluster_meets();
#endif
}

#define HOPPER_LAUNCH __global__ void __cluster_dims__(2, 1, 1) __launch_bounds__(384, 1)

extern "C" HOPPER_LAUNCH gemm_hopper_bf16(const __grid_constant__ GemmHopper p) { gemm_hopper<Bf16>(p); }

extern "C" HOPPER_LAUNCH gemm_hopper_int8(const __grid_constant__ GemmHopper p) { gemm_hopper<Int8>(p); }

extern "C" HOPPER_LAUNCH gemm_hopper_fp8(const __grid_constant__ GemmHopper p) { gemm_hopper<Fp8>(p); }
