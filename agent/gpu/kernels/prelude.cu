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

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define UNROLLED
// The block's threads as one loop, run by thread 0; the others have nothing left to do.
#define MEMBERS_HERE(threads) (threads)
#define FOR_MEMBERS(m, threads) for (u32 m = 0; m < (threads); ++m)
#define MEMBER(m) (m)
#define ONE_RUNS_FOR_ALL() if (threadIdx.x != 0) return
#define BLOCK_SHARED static thread_local
#define ALL_ARRIVED()
// The compiler must not know the value any more.
#define OPAQUE_32(value) asm volatile("" : "+r"(value))
#define OPAQUE_64(value) asm volatile("" : "+r"(value))

static inline u32 this_sm() { return simulated_sm(); }
static inline u64 atomic_add(u64* at, u64 value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
static inline void atomic_or(u32* at, u32 value) { __atomic_fetch_or(at, value, __ATOMIC_RELAXED); }
static inline u32 bits_set(u64 value) { return (u32)__builtin_popcountll(value); }
static inline float fused_32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline double fused_64(double a, double b, double c) { return __builtin_fma(a, b, c); }
static inline u32 bits_of(float value) { u32 bits; __builtin_memcpy(&bits, &value, 4); return bits; }
static inline u64 bits_of(double value) { u64 bits; __builtin_memcpy(&bits, &value, 8); return bits; }
static inline float float_of(u32 bits) { float value; __builtin_memcpy(&value, &bits, 4); return value; }
static inline double double_of(u64 bits) { double value; __builtin_memcpy(&value, &bits, 8); return value; }

#else

#define UNROLLED _Pragma("unroll")
#define MEMBERS_HERE(threads) 1
#define FOR_MEMBERS(m, threads) for (u32 m = 0; m < 1; ++m)
#define MEMBER(m) (threadIdx.x)
#define ONE_RUNS_FOR_ALL()
#define BLOCK_SHARED __shared__
#define ALL_ARRIVED() __syncthreads()
#define OPAQUE_32(value) asm volatile("" : "+r"(value))
#define OPAQUE_64(value) asm volatile("" : "+l"(value))

__device__ __forceinline__ u32 this_sm() {
    u32 sm;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
    return sm;
}
__device__ __forceinline__ u64 atomic_add(u64* at, u64 value) { return atomicAdd(at, value); }
__device__ __forceinline__ void atomic_or(u32* at, u32 value) { atomicOr(at, value); }
__device__ __forceinline__ u32 bits_set(u64 value) { return __popcll(value); }
__device__ __forceinline__ float fused_32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ __forceinline__ double fused_64(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ __forceinline__ u32 bits_of(float value) { return __float_as_uint(value); }
__device__ __forceinline__ u64 bits_of(double value) { return __double_as_longlong(value); }
__device__ __forceinline__ float float_of(u32 bits) { return __uint_as_float(bits); }
__device__ __forceinline__ double double_of(u64 bits) { return __longlong_as_double(bits); }

#endif

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
