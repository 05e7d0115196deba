// Memory pattern: every word of the held memory is written, read back, inverted and read back again.
//
// Expected: word i is mix64(i ^ seed), or its complement once inverted. mix64 is a bijection, so every word of a pass is
// unique and a word that was stored at or read from a wrong address shows, as does every bit that does not hold a 0 or a
// 1. Indices have 64 bits: 32 end at 32 GiB. The first 64 wrong words are kept with their difference and the SM that
// read them; all are counted, and so are the words that were looked at.
//
// Self-test: the word at flip_index is xored with flip_mask: what memory_fill stores, what the others read.

// A wrong word of memory.
struct WordError {
    u64 index;       // of the word, in the pattern
    u64 difference;  // read xor expected
    u64 expected;
    u32 sm;          // that read it
    u32 pass;
};

// What verifiers write. The counts go on when the entries are full.
struct WordErrors {
    u64 words;  // wrong words
    u64 rose;   // bits that should be clear and were set
    u64 fell;   // bits that should be set and were clear
    u64 checked;  // words that were looked at: no work is not a pass
    WordError first[64];
};

// Not inlined: it is called from many places and hardly ever runs.
static __device__ __noinline__ void note_word(WordErrors* errors, u64 index, u64 read, u64 expected, u32 pass) {
    u64 difference = read ^ expected;
    u64 number = atomic_add(&errors->words, 1);
    atomic_add(&errors->rose, bits_set(difference & ~expected));
    atomic_add(&errors->fell, bits_set(difference & expected));
    if (number < 64) {
        WordError* entry = &errors->first[number];
        entry->index = index;
        entry->difference = difference;
        entry->expected = expected;
        entry->sm = this_sm();
        entry->pass = pass;
    }
}

struct MemoryPattern {
    Pair* pairs;
    u64 pair_count;
    u64 first_index;  // of the first word, in the pattern
    u64 seed;
    u64 flip_index;
    u64 flip_mask;    // 0: nothing is flipped
    WordErrors* errors;
    u32 inverted;     // the pattern is the complement: of what is stored, or expected to be there
    u32 pass;
};

enum : u32 { LOADS = 4 };

__device__ __forceinline__ u64 pattern(const MemoryPattern& p, u64 index, u64 complement) {
    return mix64(index ^ p.seed) ^ complement;
}

__device__ __forceinline__ u64 flip(const MemoryPattern& p, u64 index) {
    return index == p.flip_index ? p.flip_mask : 0;
}

extern "C" __global__ void __launch_bounds__(256) memory_fill(MemoryPattern p) {
    u64 complement = p.inverted ? ~0ull : 0;
    u64 stride = (u64)gridDim.x * blockDim.x;
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < p.pair_count; at += stride) {
        u64 index = p.first_index + 2 * at;
        Pair pair;
        pair.low = pattern(p, index, complement) ^ flip(p, index);
        pair.high = pattern(p, index + 1, complement) ^ flip(p, index + 1);
        p.pairs[at] = pair;
    }
}

__device__ __forceinline__ void check(const MemoryPattern& p, u64 index, u64 read, u64 expected) {
    read ^= flip(p, index);
    if (read != expected) note_word(p.errors, index, read, expected, p.pass);
}

template <bool INVERT>
__device__ __forceinline__ void verify(const MemoryPattern& p) {
    u64 complement = p.inverted ? ~0ull : 0;
    u64 stride = (u64)gridDim.x * blockDim.x;
    u64 checked = 0;
    for (u64 first = (u64)blockIdx.x * blockDim.x + threadIdx.x; first < p.pair_count; first += LOADS * stride) {
        // All loads are on their way before the first is waited for.
        Pair read[LOADS];
        UNROLLED
        for (u32 n = 0; n < LOADS; ++n) {
            u64 at = first + n * stride;
            if (at < p.pair_count) read[n] = p.pairs[at];
        }
        UNROLLED
        for (u32 n = 0; n < LOADS; ++n) {
            u64 at = first + n * stride;
            if (at >= p.pair_count) break;
            u64 index = p.first_index + 2 * at;
            Pair expected;
            expected.low = pattern(p, index, complement);
            expected.high = pattern(p, index + 1, complement);
            check(p, index, read[n].low, expected.low);
            check(p, index + 1, read[n].high, expected.high);
            checked += 2;
            if (INVERT) {
                expected.low = ~expected.low;
                expected.high = ~expected.high;
                p.pairs[at] = expected;
            }
        }
    }
    if (checked) atomic_add(&p.errors->checked, checked);
}

extern "C" __global__ void __launch_bounds__(256) memory_verify(MemoryPattern p) { verify<false>(p); }

// Verifies, and leaves the complement of what should have been there.
extern "C" __global__ void __launch_bounds__(256) memory_invert(MemoryPattern p) { verify<true>(p); }
