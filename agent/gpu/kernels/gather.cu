// Scattered memory: gathered reads, atomic additions, and a chase from word to word.
//
// Addresses are i * multiplier + offset modulo a power of two, with an odd multiplier: for i in a range of that length
// every word's turn comes once, and consecutive i are far apart. Expected (golden/gather.rs):
//
// * gather: the table counts as memory_write wrote it; each block's sum of what it read has a closed form.
// * atomic_add_scattered: the launch's additions are a multiple of the bins, so every bin holds the same multiple of the
//   addend.
// * chase: word j of the table holds the j that comes next, by the same rule with a multiplier of 1 modulo 4: one cycle
//   through all words. Where a chase ends after so many steps has a closed form. The step is a bijection, so a chase
//   cannot end in the right place after one wrong read; bits beyond the table are kept beside the place.
//
// Self-test: what is read or added for i = flip_index is xored with flip_mask; so is word flip_index that chase_fill
// stores, and the end of the chase of block flip_index.

struct Gather {
    const u64* table;
    u64 mask;
    u64 first;
    u64 per_block;
    u64 multiplier;
    u64 offset;
    u64 flip_index;
    u64 flip_mask;
    BlockRecord* blocks;
};

struct Atomic {
    u64* bins;
    u64 mask;
    u64 first;
    u64 per_block;
    u64 multiplier;
    u64 offset;
    u64 addend;
    u64 flip_index;
    u64 flip_mask;
    BlockRecord* blocks;
};

struct Chase {
    u64* table;
    u64 mask;
    u64 multiplier;
    u64 offset;
    u64 start;
    u64 start_step;
    u64 steps;
    u64 flip_index;
    u64 flip_mask;
    BlockRecord* blocks;
};

enum : u32 { UNDER_WAY = 4 };

extern "C" __global__ void __launch_bounds__(256) gather(Gather p) {
    u64 first = p.first + blockIdx.x * p.per_block + threadIdx.x;
    u64 sum = 0;
    for (u64 done = 0; done < p.per_block; done += UNDER_WAY * blockDim.x) {
        u64 read[UNDER_WAY];
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) {
            u64 i = first + done + n * blockDim.x;
            read[n] = p.table[(i * p.multiplier + p.offset) & p.mask] ^ (i == p.flip_index ? p.flip_mask : 0);
        }
        UNROLLED
        for (u32 n = 0; n < UNDER_WAY; ++n) sum += read[n];
    }
    note_block(p.blocks, sum);
}

extern "C" __global__ void __launch_bounds__(256) atomic_add_scattered(Atomic p) {
    u64 first = p.first + blockIdx.x * p.per_block + threadIdx.x;
    for (u64 done = 0; done < p.per_block; done += blockDim.x) {
        u64 i = first + done;
        atomic_add(&p.bins[(i * p.multiplier + p.offset) & p.mask], p.addend ^ (i == p.flip_index ? p.flip_mask : 0));
    }
    note_block(p.blocks, 0);
}

extern "C" __global__ void __launch_bounds__(256) chase_fill(Chase p) {
    u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at <= p.mask; at += stride) {
        p.table[at] = ((at * p.multiplier + p.offset) & p.mask) ^ (at == p.flip_index ? p.flip_mask : 0);
    }
    note_block(p.blocks, 0);
}

extern "C" __global__ void __launch_bounds__(32) chase(Chase p) {
    if (threadIdx.x != 0) return;
    u64 at = (p.start + blockIdx.x * p.start_step) & p.mask;
    u64 beyond = 0;
    ROLLED
    for (u64 step = 0; step < p.steps; ++step) {
        u64 next = p.table[at];
        beyond |= next & ~p.mask;
        at = next & p.mask;
    }
    note_block(p.blocks, (at | beyond) ^ (blockIdx.x == p.flip_index ? p.flip_mask : 0));
}
