// The kernels' own source on the CPU, one launch for each line of standard input, its results on standard output. The
// test beside it (../simulated.rs) compares them with what the golden arithmetic says.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "prelude.cu"
// Modules share no names on a GPU; here each has a namespace.
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

thread_local Position threadIdx, blockIdx, blockDim, gridDim;

u32 simulated_sm() { return blockIdx.x % 7; }
u64 simulated_product(u64 bits, u32, u32, u32) { return bits; }

namespace {

template <class P>
void launch(void (*kernel)(P), const P& parameter, u32 blocks, u32 threads) {
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel(parameter);
    }
}

u64 number() {
    char word[32];
    if (scanf("%31s", word) != 1) exit(2);
    return strtoull(word, nullptr, 0);
}

// pairs first_index seed inverted flip_index flip_mask step(0 verify, 1 invert) blocks: words rose fell checked, then
// index difference expected sm of the first
void pattern() {
    u64 pairs = number(), first = number(), seed = number();
    u32 inverted = (u32)number();
    u64 flip_index = number(), flip_mask = number(), invert = number();
    u32 blocks = (u32)number();
    std::vector<Pair> memory(pairs);
    memory_pattern::WordErrors errors = {};
    memory_pattern::MemoryPattern p = {memory.data(), pairs, first, seed, flip_index, flip_mask, &errors, inverted, 3};
    launch(memory_pattern::memory_fill, p, blocks, 256);
    p.flip_mask = 0;
    launch(invert ? memory_pattern::memory_invert : memory_pattern::memory_verify, p, blocks, 256);
    if (invert) {
        // What was left must be the complement.
        p.inverted = !inverted;
        launch(memory_pattern::memory_verify, p, blocks, 256);
    }
    printf("%llu %llu %llu %llu %llu %llu %llu %u\n", errors.words, errors.rose, errors.fell, errors.checked,
           errors.first[0].index, errors.first[0].difference, errors.first[0].expected, errors.first[0].sm);
}

// pairs first_index seed flip_index flip_mask where(0 write, 1 read, 2 copy) blocks: the blocks' sums
void traffic() {
    u64 pairs = number(), first = number(), seed = number(), flip_index = number(), flip_mask = number();
    u64 where = number();
    u32 blocks = (u32)number();
    std::vector<Pair> one(pairs), other(pairs);
    std::vector<BlockRecord> unused(blocks), records(blocks);
    memory_traffic::MemoryTraffic p = {other.data(), one.data(), pairs, first, seed, flip_index, 0, unused.data()};
    p.flip_mask = where == 0 ? flip_mask : 0;
    launch(memory_traffic::memory_write, p, blocks, 256);
    p.source = one.data();
    p.destination = other.data();
    p.flip_mask = where == 2 ? flip_mask : 0;
    launch(memory_traffic::memory_copy, p, blocks, 256);
    p.source = other.data();
    p.blocks = records.data();
    p.flip_mask = where == 1 ? flip_mask : 0;
    launch(memory_traffic::memory_read, p, blocks, 256);
    for (const BlockRecord& record : records) printf("%llu %u ", record.sum, record.threads);
    printf("\n");
}

typedef std::vector<TileRecord> Records;

void print(const Records& records) {
    for (const TileRecord& record : records) printf("%llu %u %u ", record.sum, record.residue, record.sm_plus_one);
}

// format hopper rows columns depth seed_a seed_b passes rotation blocks flip_tile flip_element flip_mask: the tiles'
// records, then those of a second look at the stored product
void product() {
    u32 format = (u32)number(), hopper = (u32)number(), rows = (u32)number(), columns = (u32)number();
    u32 depth = (u32)number();
    u64 seed_a = number(), seed_b = number();
    u32 passes = (u32)number(), rotation = (u32)number(), blocks = (u32)number();
    u32 flip_tile = (u32)number(), flip_element = (u32)number();
    u64 flip_mask = number();
    static const u32 bytes[] = {2, 2, 4, 1, 8, 1};
    std::vector<u8> a((u64)rows * depth * bytes[format]), b((u64)columns * depth * bytes[format]);
    operands::Operands of_a = {a.data(), (u64)rows * depth, seed_a, 0, 0, format, 0};
    launch(operands::operands_fill, of_a, 3, 256);
    operands::Operands of_b = {b.data(), (u64)columns * depth, seed_b, 0, 0, format, 0};
    launch(operands::operands_fill, of_b, 3, 256);
    std::vector<u64> c((u64)rows * columns);
    Records records(rows / TILE * (columns / TILE)), again(records.size());
    Gemm p = {a.data(), b.data(), c.data(), records.data(), rows, columns, depth, passes, rotation, 1, flip_tile,
              flip_element, flip_mask};
    if (hopper) {
        gemm_hopper::GemmHopper q = {{}, {}, p, {}};
        launch(format == 0   ? gemm_hopper::gemm_hopper_bf16
               : format == 3 ? gemm_hopper::gemm_hopper_int8
                             : gemm_hopper::gemm_hopper_fp8,
               q, blocks, 384);
    } else {
        static void (*const kernels[])(Gemm) = {gemm_portable::gemm_bf16, gemm_portable::gemm_fp16,
                                                gemm_portable::gemm_tf32, gemm_portable::gemm_int8,
                                                gemm_portable::gemm_fp64};
        launch(kernels[format], p, blocks, format == 4 ? 512 : 128);
    }
    tiles::TileSums sums = {c.data(), again.data(), rows, columns, 0, 0, 0};
    launch(format == 3 ? tiles::tiles_sum_int32 : format == 4 ? tiles::tiles_sum_fp64 : tiles::tiles_sum_fp32, sums,
           (u32)records.size(), 256);
    print(records);
    print(again);
    printf("\n");
}

// kind(0 FP32, 1 INT32, 2 FP64) seed flips, then element and mask of each flip: the record of a tile of small integers,
// and with each flip
void flips() {
    u32 kind = (u32)number();
    u64 seed = number(), count = number();
    std::vector<u64> c(TILE * TILE);
    for (u32 at = 0; at < TILE * TILE; ++at) {
        i32 value = (i32)(mix64(seed ^ at) >> 42) - (1 << 21);
        if (kind == 0) ((float*)c.data())[at] = (float)value;
        if (kind == 1) ((i32*)c.data())[at] = value;
        if (kind == 2) ((double*)c.data())[at] = (double)value;
    }
    auto sum = [&](u32 element, u64 mask) {
        TileRecord record = {};
        tiles::TileSums p = {c.data(), &record, TILE, TILE, 0, element, mask};
        launch(kind == 0 ? tiles::tiles_sum_fp32 : kind == 1 ? tiles::tiles_sum_int32 : tiles::tiles_sum_fp64, p, 1,
               256);
        printf("%llu %u ", record.sum, record.residue);
    };
    sum(0, 0);
    for (u64 n = 0; n < count; ++n) {
        u32 element = (u32)number();
        sum(element, number());
    }
    printf("\n");
}

// kind seed steps rounds blocks flip_block flip_thread flip_mask: the threads' sums
void chains() {
    u64 kind = number(), seed = number();
    u32 steps = (u32)number(), rounds = (u32)number(), blocks = (u32)number();
    u32 flip_block = (u32)number(), flip_thread = (u32)number();
    u64 flip_mask = number();
    std::vector<u64> sums(blocks * 256);
    std::vector<BlockRecord> records(blocks);
    alu::Alu p = {sums.data(), records.data(), seed, flip_mask, flip_block, flip_thread, steps, rounds};
    static void (*const kernels[])(alu::Alu) = {alu::alu_fp32, alu::alu_fp64, alu::alu_integer, alu::alu_exchange};
    launch(kernels[kind], p, blocks, 256);
    for (const BlockRecord& record : records) {
        if (record.threads != 256) exit(3);
    }
    for (u64 sum : sums) printf("%llu ", sum);
    printf("\n");
}

// bits seed first per_block multiplier offset blocks flip_index flip_mask: the blocks' sums, then how many bins differ
// from the first
void scattered() {
    u64 mask = (1ull << number()) - 1, seed = number(), first = number(), per_block = number(), multiplier = number();
    u64 offset = number();
    u32 blocks = (u32)number();
    u64 flip_index = number(), flip_mask = number();
    std::vector<Pair> table((mask + 1) / 2);
    std::vector<BlockRecord> records(blocks), unused(blocks);
    memory_traffic::MemoryTraffic w = {nullptr, table.data(), table.size(), 0, seed, 0, 0, unused.data()};
    launch(memory_traffic::memory_write, w, blocks, 256);
    gather::Gather p = {&table[0].low, mask, first, per_block, multiplier, offset, flip_index, flip_mask, records.data()};
    launch(gather::gather, p, blocks, 256);
    for (const BlockRecord& record : records) printf("%llu ", record.sum);
    std::vector<u64> bins(mask + 1);
    gather::Atomic q = {bins.data(), mask, first, per_block, multiplier, offset, 0x123456789abcdefull, flip_index,
                        flip_mask, unused.data()};
    launch(gather::atomic_add_scattered, q, blocks, 256);
    u64 wrong = 0;
    for (u64 bin : bins) wrong += bin != blocks * per_block / (mask + 1) * q.addend;
    printf("%llu\n", wrong);
}

// bits multiplier offset start start_step steps blocks where(0 table, 1 end) flip_index flip_mask: the blocks' ends
void chase() {
    u64 mask = (1ull << number()) - 1, multiplier = number(), offset = number(), start = number(), step = number();
    u64 steps = number();
    u32 blocks = (u32)number();
    u64 where = number(), flip_index = number(), flip_mask = number();
    std::vector<u64> table(mask + 1);
    std::vector<BlockRecord> records(blocks), unused(blocks);
    gather::Chase p = {table.data(), mask, multiplier, offset, start, step, steps, flip_index, 0, unused.data()};
    p.flip_mask = where == 0 ? flip_mask : 0;
    launch(gather::chase_fill, p, blocks, 256);
    p.flip_mask = where == 1 ? flip_mask : 0;
    p.blocks = records.data();
    launch(gather::chase, p, blocks, 32);
    for (const BlockRecord& record : records) printf("%llu ", record.sum);
    printf("\n");
}

}  // namespace

int main() {
    char word[32];
    while (scanf("%31s", word) == 1) {
        std::string name = word;
        if (name == "pattern") pattern();
        else if (name == "traffic") traffic();
        else if (name == "product") product();
        else if (name == "flips") flips();
        else if (name == "chains") chains();
        else if (name == "scattered") scattered();
        else if (name == "chase") chase();
        else return 2;
    }
}
