// Chains of arithmetic: FP32 and FP64 multiply-adds, 64-bit integer operations, and words that go from lane to lane and
// through shared memory.
//
// Expected: a round's result depends on seed, thread and steps alone, not on the block: the CPU computes 256 of them bit
// for bit (golden/alu.rs; IEEE 754 leaves a fused multiply-add no choice), and every block of every multiprocessor must
// agree. Rounds start anew, so that their number costs the CPU nothing. A thread adds up its rounds' results modulo
// 2^64; their number is odd, so that a fault that is the same in every round does not cancel.
//
// * FP32, FP64: x = x * x + c with c near -1.9 is chaotic and stays within [-2, 2]: a wrong bit grows with every step.
//   Every x is added to the result as well, because squaring forgets the sign.
// * Integer: every step is a bijection, a wrong bit cannot vanish.
// * Exchange: every step of a word is a bijection in what arrives, whether by shuffle or through shared memory.
//
// Self-test: thread flip_thread of block flip_block xors its last result with flip_mask.

struct Alu {
    u64* sums;
    BlockRecord* blocks;
    u64 seed;
    u64 flip_mask;
    u32 flip_block;
    u32 flip_thread;
    u32 steps;
    u32 rounds;
};

enum : u32 { THREADS = 256, CHAINS = 4 };

__device__ __forceinline__ u64 start_of(const Alu& p, u32 thread, u32 chain) {
    return mix64(p.seed ^ (thread * CHAINS + chain));
}

__device__ __forceinline__ u64 add_round(const Alu& p, u64 sum, u32 round, u32 thread, u64 result) {
    if (round + 1 == p.rounds && blockIdx.x == p.flip_block && thread == p.flip_thread) result ^= p.flip_mask;
    return sum + result;
}

__device__ __forceinline__ void finish(const Alu& p, u32 thread, u64 sum) {
    p.sums[(u64)blockIdx.x * THREADS + thread] = sum;
}

extern "C" __global__ void __launch_bounds__(256) alu_fp32(Alu p) {
    u64 sum = 0;
    ROLLED
    for (u32 round = 0; round < p.rounds; ++round) {
        float x[CHAINS], c[CHAINS];
        UNROLLED
        for (u32 n = 0; n < CHAINS; ++n) {
            // Of 32 random bits: x in [-1, 1) by the upper 16, c in (-1.965, -1.84] by the lower ones, the product exact.
            u32 bits = (u32)start_of(p, threadIdx.x, n);
            x[n] = (float)((i32)(bits >> 16) - 32768) * (1.0f / 32768);
            c[n] = -1.84f - (float)(bits & 0xffff) * (0.125f / 65536);
            OPAQUE_FP32(x[n]);
        }
        u32 low = 0, high = 0;
        UNROLLED_BY(8)
        for (u32 step = 0; step < p.steps; ++step) {
            UNROLLED
            for (u32 n = 0; n < CHAINS; ++n) x[n] = fused_32(x[n], x[n], c[n]);
            low += bits_of(x[0]) + bits_of(x[1]);
            high += bits_of(x[2]) + bits_of(x[3]);
        }
        sum = add_round(p, sum, round, threadIdx.x, (u64)high << 32 | low);
    }
    finish(p, threadIdx.x, sum);
    note_block(p.blocks, 0);
}

extern "C" __global__ void __launch_bounds__(256) alu_fp64(Alu p) {
    u64 sum = 0;
    ROLLED
    for (u32 round = 0; round < p.rounds; ++round) {
        double x[CHAINS], c[CHAINS];
        UNROLLED
        for (u32 n = 0; n < CHAINS; ++n) {
            u32 bits = (u32)start_of(p, threadIdx.x, n);
            x[n] = (double)((i32)(bits >> 16) - 32768) * (1.0 / 32768);
            c[n] = -1.84 - (double)(bits & 0xffff) * (0.125 / 65536);
            OPAQUE_FP64(x[n]);
        }
        u64 result = 0;
        UNROLLED_BY(4)
        for (u32 step = 0; step < p.steps; ++step) {
            UNROLLED
            for (u32 n = 0; n < CHAINS; ++n) x[n] = fused_64(x[n], x[n], c[n]);
            result += bits_of(x[0]) + bits_of(x[1]) + bits_of(x[2]) + bits_of(x[3]);
        }
        sum = add_round(p, sum, round, threadIdx.x, result);
    }
    finish(p, threadIdx.x, sum);
    note_block(p.blocks, 0);
}

extern "C" __global__ void __launch_bounds__(256) alu_integer(Alu p) {
    u64 sum = 0;
    ROLLED
    for (u32 round = 0; round < p.rounds; ++round) {
        u64 x[CHAINS];
        UNROLLED
        for (u32 n = 0; n < CHAINS; ++n) {
            x[n] = start_of(p, threadIdx.x, n);
            OPAQUE_64(x[n]);
        }
        UNROLLED_BY(4)
        for (u32 step = 0; step < p.steps; ++step) {
            UNROLLED
            for (u32 n = 0; n < CHAINS; ++n) x[n] = (x[n] ^ x[n] >> 29) * COUNTING_STEP + step;
        }
        sum = add_round(p, sum, round, threadIdx.x, x[0] + x[1] + x[2] + x[3]);
    }
    finish(p, threadIdx.x, sum);
    note_block(p.blocks, 0);
}

// Strides through shared memory: from one bank for each lane to all lanes at one bank.
__device__ __forceinline__ u32 shared_place(u32 thread, u32 step) {
    u32 shift = step % 8;
    return (thread << shift | thread >> (8 - shift)) & (THREADS - 1);
}

extern "C" __global__ void __launch_bounds__(256) alu_exchange(Alu p) {
    ONE_RUNS_FOR_ALL();
    BLOCK_SHARED u64 board[THREADS];
    u64 sum[MEMBERS_HERE(THREADS)], word[MEMBERS_HERE(THREADS)], other[MEMBERS_HERE(THREADS)];
    FOR_MEMBERS(m, THREADS) sum[m] = 0;
    ROLLED
    for (u32 round = 0; round < p.rounds; ++round) {
        FOR_MEMBERS(m, THREADS) {
            word[m] = start_of(p, MEMBER(m), 0);
            OPAQUE_64(word[m]);
        }
        ROLLED
        for (u32 step = 0; step < p.steps; ++step) {
            cross_lanes(word, other, 1 + step % 31);
            FOR_MEMBERS(m, THREADS) {
                word[m] = (word[m] ^ word[m] >> 29) * COUNTING_STEP + other[m];
                board[shared_place(MEMBER(m), step)] = word[m];
            }
            ALL_ARRIVED();
            FOR_MEMBERS(m, THREADS) word[m] += 2 * board[(MEMBER(m) + 37) & (THREADS - 1)];
            ALL_ARRIVED();
        }
        FOR_MEMBERS(m, THREADS) sum[m] = add_round(p, sum[m], round, MEMBER(m), word[m]);
    }
    FOR_MEMBERS(m, THREADS) {
        finish(p, MEMBER(m), sum[m]);
        note_block(p.blocks, 0);
    }
}
