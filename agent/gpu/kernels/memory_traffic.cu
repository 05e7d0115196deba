// Bandwidth: memory is written, read and copied, 16 bytes at a time with several accesses under way.
//
// Expected: word i counts, i * COUNTING_STEP + seed, after memory_write and in the destination of memory_copy.
// memory_read proves it: each block adds up its words modulo 2^64, and the sum has a closed form (golden/traffic.rs). A
// word that is wrong, in however many bits, changes its block's sum. Block b reads the pairs that are less than 256
// beyond (b + n * blocks) * 256. That words are at their addresses is what the memory pattern is for.
//
// Self-test: the word at flip_index is xored with flip_mask: what memory_write and memory_copy store, what memory_read
// reads.

struct MemoryTraffic {
    const Pair* source;
    Pair* destination;
    u64 pair_count;
    u64 first_index;
    u64 seed;
    u64 flip_index;
    u64 flip_mask;
    BlockRecord* blocks;
};

enum : u32 { UNDER_WAY = 8 };

// The pair that holds the word to spoil, and the pair's two masks.
struct Spoiled {
    u64 pair, low, high;
    __device__ __forceinline__ Spoiled(const MemoryTraffic& p) {
        u64 word = p.flip_index - p.first_index;
        pair = word / 2;
        low = word % 2 ? 0 : p.flip_mask;
        high = word % 2 ? p.flip_mask : 0;
    }
    __device__ __forceinline__ Pair of(u64 at, Pair read) const {
        if (at == pair) {
            read.low ^= low;
            read.high ^= high;
        }
        return read;
    }
};

extern "C" __global__ void __launch_bounds__(256) memory_write(MemoryTraffic p) {
    Spoiled spoiled(p);
    u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < p.pair_count; at += stride) {
        u64 word = (p.first_index + 2 * at) * COUNTING_STEP + p.seed;
        Pair pair = {word, word + COUNTING_STEP};
        p.destination[at] = spoiled.of(at, pair);
    }
    note_block(p.blocks, 0);
}

extern "C" __global__ void __launch_bounds__(256) memory_read(MemoryTraffic p) {
    Spoiled spoiled(p);
    u64 stride = (u64)gridDim.x * blockDim.x;
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u64 sum = 0;
    for (; at + (UNDER_WAY - 1) * stride < p.pair_count; at += UNDER_WAY * stride) {
        Pair read[UNDER_WAY];
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) read[n] = p.source[at + n * stride];
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) {
            Pair pair = spoiled.of(at + n * stride, read[n]);
            sum += pair.low + pair.high;
        }
    }
    ROLLED
    for (; at < p.pair_count; at += stride) {
        Pair pair = spoiled.of(at, p.source[at]);
        sum += pair.low + pair.high;
    }
    note_block(p.blocks, sum);
}

extern "C" __global__ void __launch_bounds__(256) memory_copy(MemoryTraffic p) {
    Spoiled spoiled(p);
    u64 stride = (u64)gridDim.x * blockDim.x;
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (; at + (UNDER_WAY - 1) * stride < p.pair_count; at += UNDER_WAY * stride) {
        Pair read[UNDER_WAY];
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) read[n] = p.source[at + n * stride];
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) {
            p.destination[at + n * stride] = spoiled.of(at + n * stride, read[n]);
        }
    }
    ROLLED
    for (; at < p.pair_count; at += stride) p.destination[at] = spoiled.of(at, p.source[at]);
    note_block(p.blocks, 0);
}
