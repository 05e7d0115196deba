// The kernels' own source, each module in a namespace of its own as on a GPU, and a table of its entries. A launch calls
// an entry once for each thread of each block, one after the other.

#include "prelude.cu"

namespace memory_pattern {
#include "memory_pattern.cu"
}
namespace memory_traffic {
#include "memory_traffic.cu"
}
namespace operands {
#include "operands.cu"
}
namespace tiles {
#include "tiles.cu"
}
namespace gemm_portable {
#include "gemm_portable.cu"
}
namespace gemm_hopper {
#include "gemm_hopper.cu"
}
namespace alu {
#include "alu.cu"
}
namespace gather {
#include "gather.cu"
}
namespace proof {
#include "proof.cu"
}

thread_local Position threadIdx, blockIdx, blockDim, gridDim;

// A fault of products, as src/work.rs lays it out.
struct ProductFault {
    u32 tile;       // ANY: whichever
    u32 row, column;
    u32 sm;         // ANY: whichever
    u32 set;        // 1: the bits replace the element; 0: they are flipped in it
    u32 remaining;  // ANY: every time
    u64 bits;
};

namespace {

enum : u32 { ANY = 0xffffffff };

thread_local ProductFault* faults;
thread_local u32 fault_count, multiprocessors, skipped_block;

}  // namespace

u32 simulated_sm() { return blockIdx.x % multiprocessors; }

u64 simulated_product(u64 bits, u32 tile, u32 row, u32 column) {
    for (u32 n = 0; n < fault_count; ++n) {
        ProductFault& fault = faults[n];
        if (fault.row != row || fault.column != column || fault.remaining == 0) continue;
        if (fault.tile != ANY && fault.tile != tile) continue;
        if (fault.sm != ANY && fault.sm != simulated_sm()) continue;
        if (fault.remaining != ANY) fault.remaining -= 1;
        bits = fault.set ? fault.bits : bits ^ fault.bits;
    }
    return bits;
}

namespace {

struct Entry {
    const char* name;
    void (*run)(const void* parameter, u32 blocks, u32 threads);
    u32 parameter_bytes;
    u64 not_a_number;  // in the format of what a product accumulates
    u64 infinity;
};

// Calls an entry for every thread of every block.
template <class P, void (*KERNEL)(P)>
void run(const void* parameter, u32 blocks, u32 threads) {
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        if (blockIdx.x == skipped_block) continue;
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) KERNEL(*(const P*)parameter);
    }
}

enum : u64 {
    NAN_32 = 0x7fc00000,
    INFINITY_32 = 0x7f800000,
    NAN_64 = 0x7ff8000000000000,
    INFINITY_64 = 0x7ff0000000000000,
};

#define ENTRY(module, parameter, name) \
    {#name, &run<module::parameter, module::name>, sizeof(module::parameter), 0, 0}
#define PRODUCT(module, parameter, name, bits) \
    {#name, &run<parameter, module::name>, sizeof(parameter), NAN_##bits, INFINITY_##bits}

const Entry ENTRIES[] = {
    ENTRY(memory_pattern, MemoryPattern, memory_fill),
    ENTRY(memory_pattern, MemoryPattern, memory_verify),
    ENTRY(memory_pattern, MemoryPattern, memory_invert),
    ENTRY(memory_traffic, MemoryTraffic, memory_write),
    ENTRY(memory_traffic, MemoryTraffic, memory_read),
    ENTRY(memory_traffic, MemoryTraffic, memory_copy),
    ENTRY(operands, Operands, operands_fill),
    ENTRY(tiles, TileSums, tiles_sum_fp32),
    ENTRY(tiles, TileSums, tiles_sum_int32),
    ENTRY(tiles, TileSums, tiles_sum_fp64),
    PRODUCT(gemm_portable, Gemm, gemm_bf16, 32),
    PRODUCT(gemm_portable, Gemm, gemm_fp16, 32),
    PRODUCT(gemm_portable, Gemm, gemm_tf32, 32),
    PRODUCT(gemm_portable, Gemm, gemm_int8, 32),
    PRODUCT(gemm_portable, Gemm, gemm_fp64, 64),
    PRODUCT(gemm_hopper, gemm_hopper::GemmHopper, gemm_hopper_bf16, 32),
    PRODUCT(gemm_hopper, gemm_hopper::GemmHopper, gemm_hopper_int8, 32),
    PRODUCT(gemm_hopper, gemm_hopper::GemmHopper, gemm_hopper_fp8, 32),
    ENTRY(alu, Alu, alu_fp32),
    ENTRY(alu, Alu, alu_fp64),
    ENTRY(alu, Alu, alu_integer),
    ENTRY(alu, Alu, alu_exchange),
    ENTRY(gather, Gather, gather),
    ENTRY(gather, Atomic, atomic_add_scattered),
    ENTRY(gather, Chase, chase_fill),
    ENTRY(gather, Chase, chase),
    ENTRY(proof, ProofOperands, proof_operands),
    ENTRY(proof, ProofFold, proof_fold),
    ENTRY(proof, ProofFill, proof_fill),
    ENTRY(proof, ProofWalk, proof_walk),
    ENTRY(proof, ProofParents, proof_parents),
};
enum : u32 { ENTRY_COUNT = sizeof ENTRIES / sizeof ENTRIES[0] };

}  // namespace

// The name of an entry, or null beyond the last.
extern "C" const char* simulated_entry(u32 entry) { return entry < ENTRY_COUNT ? ENTRIES[entry].name : nullptr; }

// Size of what an entry takes.
extern "C" u32 simulated_parameter_bytes(u32 entry) { return ENTRIES[entry].parameter_bytes; }

// NaN (or infinity) of what an entry accumulates; 0 where it makes no floating-point product.
extern "C" u64 simulated_special(u32 entry, u32 infinity) {
    return infinity ? ENTRIES[entry].infinity : ENTRIES[entry].not_a_number;
}

// Runs a launch, without the block to be skipped (ANY: none). The parameter is aligned as its struct asks.
extern "C" void simulated_launch(u32 entry, const void* parameter, u32 blocks, u32 threads, u32 sms,
                                 u32 skipped, ProductFault* of_products, u32 of_products_count) {
    skipped_block = skipped;
    faults = of_products;
    fault_count = of_products_count;
    multiprocessors = sms;
    ENTRIES[entry].run(parameter, blocks, threads);
}
