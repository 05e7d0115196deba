// Matrix products by mma.sync, which every architecture from sm_80 has: BF16, FP16, TF32, INT8 and FP64.
//
// Expected: every tile's record is `passes` times the golden sum, with no residue; the same sum for all five formats
// (prelude.cu says why). The order of additions is fixed and nothing is split, so that results repeat bit for bit.
//
// A block makes tiles of 128 x 128, one after the other: its warps hold 64 x 64 of a tile each (FP64: 32 x 32). Operands
// come through shared memory in three stages of 64 bytes per row, fetched by cp.async while an earlier stage is
// multiplied. To the loads every format is bytes: ldmatrix hands out fragments of 32 bytes per row as mma.sync wants
// them, whatever they hold. 16-byte chunks of a row are stored xored with bits of the row, so that neither the fetch nor
// ldmatrix meets bank conflicts.
//
// Self-test: bits flip_mask of the accumulator of element flip_element of tile flip_tile are flipped in the last pass.

enum : u32 { STAGES = 3, STAGE_ROW_BYTES = 64, STEP_BYTES = 32, OPERAND_STAGE_BYTES = TILE * STAGE_ROW_BYTES };

// The part of a tile that a warp holds, and the rows and columns of it that a thread holds.
template <class F>
struct Shape {
    enum : u32 {
        WARP_ROWS = sizeof(typename F::Sum) == 8 ? 32 : 64,
        WARP_COLUMNS = WARP_ROWS,
        ROWS = WARP_ROWS / 8,
        COLUMNS = WARP_COLUMNS / 4,
        WARPS_ACROSS = TILE / WARP_COLUMNS,
        THREADS = 32 * (TILE / WARP_ROWS) * WARPS_ACROSS,
    };
};

// What a thread holds of a tile, and where that is.
template <class F>
using Held = typename F::Sum[Shape<F>::ROWS][Shape<F>::COLUMNS];

template <class F>
__device__ __forceinline__ Share share_of(u32 tile) {
    u32 thread = threadIdx.x;
    OPAQUE_32(thread);  // computed where it is wanted, not kept in registers in between
    u32 lane = thread % 32, warp = thread / 32;
    return {tile, warp / Shape<F>::WARPS_ACROSS * Shape<F>::WARP_ROWS + lane / 4,
            warp % Shape<F>::WARPS_ACROSS * Shape<F>::WARP_COLUMNS + lane % 4 * 2};
}

#ifdef PRODUCT_BY_REFERENCE

template <class F>
static void multiply(const Gemm& p, u32, u32, const Share& share, Held<F>& held) {
    reference(F(), p, share, held);
}

#else
#ifndef RACKMARK_EMULATED

extern __shared__ __align__(128) u8 shared_memory[];

__device__ __forceinline__ u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

__device__ __forceinline__ void fetch_16(u32 to, const u8* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}
__device__ __forceinline__ void fetch_group_ends() { asm volatile("cp.async.commit_group;"); }
template <int PENDING>
__device__ __forceinline__ void wait_for_groups() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING)); }

__device__ __forceinline__ void load_matrices(u32 (&to)[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}

#define MMA_FLOAT(name, shape)                                                                                       \
    __device__ __forceinline__ void mma(name, float& d0, float& d1, float& d2, float& d3, const u32 (&a)[4], u32 b0,  \
                                        u32 b1) {                                                                     \
        asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"    \
                     : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)                                                         \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                 \
    }
MMA_FLOAT(Bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_FLOAT(Fp16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA_FLOAT(Tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")

__device__ __forceinline__ void mma(Int8, i32& d0, i32& d1, i32& d2, i32& d3, const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(d0), "+r"(d1), "+r"(d2), "+r"(d3)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma(double& d0, double& d1, double a, double b) {
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+d"(d0), "+d"(d1) : "d"(a), "d"(b));
}

__device__ __forceinline__ double shared_double(u32 from) {
    double value;
    asm volatile("ld.shared.f64 %0, [%1];" : "=d"(value) : "r"(from));
    return value;
}

#endif

// Where a 16-byte chunk of a row is in a stage.
__device__ __forceinline__ u32 chunk_at(u32 row, u32 chunk) {
    return row * STAGE_ROW_BYTES + ((chunk ^ (row >> 1 & 3)) << 4);
}

// One step over 32 bytes of depth. a and b: the warp's first rows of both operands in a stage.
template <class F>
__device__ __forceinline__ void step(F format, u32 a, u32 b, u32 first_chunk, u32 lane,
                                     Held<F>& held) {
    u32 of_a[Shape<F>::WARP_ROWS / 16][4], of_b[Shape<F>::WARP_COLUMNS / 16][4];
    UNROLLED
    for (u32 m = 0; m < Shape<F>::WARP_ROWS / 16; ++m) {
        load_matrices(of_a[m], a + chunk_at(16 * m + lane % 16, first_chunk + lane / 16));
    }
    UNROLLED
    for (u32 n = 0; n < Shape<F>::WARP_COLUMNS / 16; ++n) {
        load_matrices(of_b[n], b + chunk_at(16 * n + lane % 8 + lane / 16 * 8, first_chunk + lane / 8 % 2));
    }
    UNROLLED
    for (u32 m = 0; m < Shape<F>::WARP_ROWS / 16; ++m) {
        UNROLLED
        for (u32 n = 0; n < Shape<F>::WARP_COLUMNS / 8; ++n) {
            mma(format, held[2 * m][2 * n], held[2 * m][2 * n + 1], held[2 * m + 1][2 * n], held[2 * m + 1][2 * n + 1],
                of_a[m], of_b[n / 2][n % 2 * 2], of_b[n / 2][n % 2 * 2 + 1]);
        }
    }
}

__device__ __forceinline__ void step(Fp64, u32 a, u32 b, u32 first_chunk, u32 lane,
                                     Held<Fp64>& held) {
    double of_a[Shape<Fp64>::ROWS], of_b[Shape<Fp64>::WARP_COLUMNS / 8];
    u32 chunk = first_chunk + lane % 4 / 2, within = lane % 2 * 8;
    UNROLLED
    for (u32 m = 0; m < Shape<Fp64>::ROWS; ++m) of_a[m] = shared_double(a + chunk_at(8 * m + lane / 4, chunk) + within);
    UNROLLED
    for (u32 n = 0; n < Shape<Fp64>::WARP_COLUMNS / 8; ++n) {
        of_b[n] = shared_double(b + chunk_at(8 * n + lane / 4, chunk) + within);
    }
    UNROLLED
    for (u32 m = 0; m < Shape<Fp64>::ROWS; ++m) {
        UNROLLED
        for (u32 n = 0; n < Shape<Fp64>::WARP_COLUMNS / 8; ++n) mma(held[m][2 * n], held[m][2 * n + 1], of_a[m], of_b[n]);
    }
}

template <class F>
__device__ __forceinline__ void multiply(const Gemm& p, u32 tile_row, u32 tile_column, const Share& share,
                                         Held<F>& held) {
    enum : u32 { THREADS = Shape<F>::THREADS, CHUNKS = OPERAND_STAGE_BYTES / 16, ROWS_A_FETCH = THREADS / 4 };
    u32 pitch = p.depth * F::BYTES;
    u32 parts = pitch / STAGE_ROW_BYTES;
    u32 lane = threadIdx.x % 32;
    u32 base = shared_address(shared_memory);
    // Four threads fetch a row; the same chunk of every row that is ROWS_A_FETCH further on.
    u32 row = threadIdx.x / 4, chunk = threadIdx.x % 4;
    const u8* from_a = p.a + (u64)(tile_row * TILE + row) * pitch + chunk * 16;
    const u8* from_b = p.b + (u64)(tile_column * TILE + row) * pitch + chunk * 16;
    u32 fetched_to = base + chunk_at(row, chunk);

    auto fetch = [&](u32 part) {
        u32 to = fetched_to + part % STAGES * (2 * OPERAND_STAGE_BYTES);
        UNROLLED
        for (u32 n = 0; n < CHUNKS / THREADS; ++n) {
            u64 further = (u64)(n * ROWS_A_FETCH) * pitch + part * STAGE_ROW_BYTES;
            fetch_16(to + n * ROWS_A_FETCH * STAGE_ROW_BYTES, from_a + further);
            fetch_16(to + n * ROWS_A_FETCH * STAGE_ROW_BYTES + OPERAND_STAGE_BYTES, from_b + further);
        }
    };

    UNROLLED
    for (u32 r = 0; r < Shape<F>::ROWS; ++r) {
        UNROLLED
        for (u32 c = 0; c < Shape<F>::COLUMNS; ++c) held[r][c] = 0;
    }
    // Everyone is done with the stages of the tile before.
    __syncthreads();
    UNROLLED
    for (u32 part = 0; part < STAGES - 1; ++part) {
        fetch(part);
        fetch_group_ends();
    }
    u32 warp_a = base + (share.first_row - lane / 4) * STAGE_ROW_BYTES;
    u32 warp_b = base + OPERAND_STAGE_BYTES + (share.first_column - lane % 4 * 2) * STAGE_ROW_BYTES;
    ROLLED
    for (u32 part = 0; part < parts; ++part) {
        wait_for_groups<STAGES - 2>();
        // This part is there for everyone, and everyone is done with the one before, whose stage is filled next.
        __syncthreads();
        if (part + STAGES - 1 < parts) fetch(part + STAGES - 1);
        fetch_group_ends();
        u32 stage = part % STAGES * (2 * OPERAND_STAGE_BYTES);
        UNROLLED
        for (u32 n = 0; n < STAGE_ROW_BYTES / STEP_BYTES; ++n) {
            step(F(), warp_a + stage, warp_b + stage, n * (STEP_BYTES / 16), lane, held);
        }
    }
}

#endif

template <class F>
__device__ __forceinline__ void gemm(const Gemm& p) {
    u32 tile_columns = p.columns / TILE, tile_rows = p.rows / TILE;
    ROLLED
    for (u32 pass = 0; pass < p.passes; ++pass) {
        ROLLED
        for (u32 place = first_place(p, blockIdx.x, gridDim.x); place < tile_rows * tile_columns; place += gridDim.x) {
            u32 tile = tile_at(place, tile_rows, tile_columns);
            Held<F> held;
            multiply<F>(p, tile / tile_columns, tile % tile_columns, share_of<F>(tile), held);
            finish_tile(p, pass + 1 == p.passes, held, share_of<F>(tile), column_weight);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 2) gemm_bf16(Gemm p) { gemm<Bf16>(p); }

extern "C" __global__ void __launch_bounds__(128, 2) gemm_fp16(Gemm p) { gemm<Fp16>(p); }

extern "C" __global__ void __launch_bounds__(128, 2) gemm_tf32(Gemm p) { gemm<Tf32>(p); }

extern "C" __global__ void __launch_bounds__(128, 2) gemm_int8(Gemm p) { gemm<Int8>(p); }

extern "C" __global__ void __launch_bounds__(512, 1) gemm_fp64(Gemm p) { gemm<Fp64>(p); }
