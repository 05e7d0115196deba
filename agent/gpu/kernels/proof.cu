// The prover of the game in docs/proof.md: operands, folds of tiles, the slow memory, chains of reads, and the trees over
// them. Products are gemm_fp16's: of 9-bit integers, exact in FP32.
//
// Expected: byte for byte what the CPU's prover gives (feed/src/verify/proof/): tiles.rs has the operands and the fold,
// memory.rs the elements and chains, stream.rs the cipher, seed.rs and merkle.rs the hashes. All integers are little
// endian. A wrong bit anywhere makes another root, which the verifier refuses: nothing is checked here.

// Four words, one access.
struct alignas(16) Four {
    u32 words[4];
};

__device__ __forceinline__ u32 turned(u32 x, u32 by) { return x << by | x >> (32 - by); }

__device__ __forceinline__ u32 bytes_turned(u32 x) {
    return (turned(x, 8) & 0x00ff00ff) | (turned(x, 24) & 0xff00ff00);
}

// The upper half of a product.
__device__ __forceinline__ u64 upper_half(u64 a, u64 b) {
#ifdef RACKMARK_SIMULATED
    return (u64)((unsigned __int128)a * b >> 64);
#else
    return __umul64hi(a, b);
#endif
}

// --- ChaCha ----------------------------------------------------------------------------------------------------------

struct Key {
    u32 words[8];
};

__device__ __forceinline__ void quarter(u32& a, u32& b, u32& c, u32& d) {
    a += b; d = turned(d ^ a, 16);
    c += d; b = turned(b ^ c, 12);
    a += b; d = turned(d ^ a, 8);
    c += d; b = turned(b ^ c, 7);
}

// So many double rounds, without the addition.
__device__ __forceinline__ void permute(u32 (&x)[16], u32 doubles) {
    ROLLED
    for (u32 n = 0; n < doubles; ++n) {
        quarter(x[0], x[4], x[8], x[12]);
        quarter(x[1], x[5], x[9], x[13]);
        quarter(x[2], x[6], x[10], x[14]);
        quarter(x[3], x[7], x[11], x[15]);
        quarter(x[0], x[5], x[10], x[15]);
        quarter(x[1], x[6], x[11], x[12]);
        quarter(x[2], x[7], x[8], x[13]);
        quarter(x[3], x[4], x[9], x[14]);
    }
}

__device__ __forceinline__ void cipher_block(u32 (&x)[16], u32 doubles) {
    u32 before[16];
    UNROLLED
    for (u32 n = 0; n < 16; ++n) before[n] = x[n];
    permute(x, doubles);
    UNROLLED
    for (u32 n = 0; n < 16; ++n) x[n] += before[n];
}

__device__ __forceinline__ void cipher_input(u32 (&x)[16], const Key& key, u64 counter, u32 nonce_0, u32 nonce_1) {
    x[0] = 0x61707865;
    x[1] = 0x3320646e;
    x[2] = 0x79622d32;
    x[3] = 0x6b206574;
    UNROLLED
    for (u32 n = 0; n < 8; ++n) x[4 + n] = key.words[n];
    x[12] = (u32)counter;
    x[13] = (u32)(counter >> 32);
    x[14] = nonce_0;
    x[15] = nonce_1;
}

// --- SHA-256 ---------------------------------------------------------------------------------------------------------

// A message of known length, padded, as big-endian words, with zeros where a launch's own bytes go.
template <u32 BLOCKS>
struct Message {
    u32 words[16 * BLOCKS];
};

CONSTANT_TABLE u32 SHA_CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// Puts little-endian word `at` of a content that begins at byte OFFSET of the message.
template <u32 OFFSET, u32 WORDS>
__device__ __forceinline__ void put(u32 (&message)[WORDS], u32 at, u32 word) {
    u32 big = bytes_turned(word), shift = OFFSET % 4 * 8;
    message[OFFSET / 4 + at] |= big >> shift;
    if (shift) message[OFFSET / 4 + at + 1] |= big << (32 - shift) % 32;
}

// Uses the message up. Rolled where registers keep their places: unrolled it is twelve times the code.
template <u32 BLOCKS>
__device__ __forceinline__ void sha256(u32 (&message)[16 * BLOCKS], u32 (&digest)[8]) {
    u32 state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    ROLLED
    for (u32 block = 0; block < BLOCKS; ++block) {
        u32 w[16], a = state[0], b = state[1], c = state[2], d = state[3];
        u32 e = state[4], f = state[5], g = state[6], h = state[7];
        UNROLLED
        for (u32 n = 0; n < 16; ++n) w[n] = message[n];
        UNROLLED
        for (u32 n = 16; n < 16 * BLOCKS; ++n) message[n - 16] = message[n];
        ROLLED
        for (u32 sixteen = 0; sixteen < 64; sixteen += 16) {
            UNROLLED
            for (u32 n = 0; n < 16; ++n) {
                if (sixteen) {
                    u32 older = w[(n + 1) % 16], newer = w[(n + 14) % 16];
                    w[n] += (turned(older, 25) ^ turned(older, 14) ^ older >> 3) + w[(n + 9) % 16] +
                            (turned(newer, 15) ^ turned(newer, 13) ^ newer >> 10);
                }
                u32 first = h + (turned(e, 26) ^ turned(e, 21) ^ turned(e, 7)) + (g ^ (e & (f ^ g))) +
                            SHA_CONSTANTS[sixteen + n] + w[n];
                u32 second = (turned(a, 30) ^ turned(a, 19) ^ turned(a, 10)) + ((a & b) | (c & (a | b)));
                h = g; g = f; f = e; e = d + first;
                d = c; c = b; b = a; a = first + second;
            }
        }
        state[0] += a; state[1] += b; state[2] += c; state[3] += d;
        state[4] += e; state[5] += f; state[6] += g; state[7] += h;
    }
    UNROLLED
    for (u32 n = 0; n < 8; ++n) digest[n] = bytes_turned(state[n]);
}

__device__ __forceinline__ void store_digest(u8* digests, u64 at, const u32 (&digest)[8]) {
    Four* to = (Four*)(digests + 32 * at);
    to[0] = {{digest[0], digest[1], digest[2], digest[3]}};
    to[1] = {{digest[4], digest[5], digest[6], digest[7]}};
}

// Bytes before a leaf's number and its content: lengths and fields of seed.rs, "rackmark/proof/leaf/1" among them.
enum : u32 { LEAF_INDEX_AT = 8 + 21 + 8 + 32 + 8, LEAF_CONTENT_AT = LEAF_INDEX_AT + 8 + 8 };
// The same of a node's children.
enum : u32 { NODE_LEFT_AT = 8 + 21 + 8, NODE_RIGHT_AT = NODE_LEFT_AT + 32 + 8 };

template <u32 WORDS>
__device__ __forceinline__ void hash_leaf(const Message<3>& message, u64 index, const u32 (&content)[WORDS], u8* digests,
                                          u64 at) {
    u32 filled[48], digest[8];
    UNROLLED
    for (u32 n = 0; n < 48; ++n) filled[n] = message.words[n];
    put<LEAF_INDEX_AT>(filled, 0, (u32)index);
    put<LEAF_INDEX_AT>(filled, 1, (u32)(index >> 32));
    UNROLLED
    for (u32 n = 0; n < WORDS; ++n) put<LEAF_CONTENT_AT>(filled, n, content[n]);
    sha256<3>(filled, digest);
    store_digest(digests, at, digest);
}

// --- Entries ---------------------------------------------------------------------------------------------------------

__device__ __forceinline__ u64 thread_of_grid() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 threads_of_grid() { return (u64)gridDim.x * blockDim.x; }

struct ProofOperands {
    u16* matrix;  // [line][depth], FP16
    u64 lines;
    u32 depth;    // a multiple of 512
    u32 side;     // 0: rows of A, 1: columns of B
    Key key;
};

// An integer of up to 11 bits as FP16.
__device__ __forceinline__ u32 half_of(i32 value) {
    u32 bits = bits_of((float)value);
    if (value == 0) return 0;
    return (bits >> 16 & 0x8000) | ((bits >> 23 & 0xff) - 112) << 10 | (bits >> 13 & 0x3ff);
}

// Low bytes of 64 entries and the bits above them, which are two words.
__device__ __forceinline__ void store_entries(u16* to, const u32 (&low)[16], u32 high_0, u32 high_1) {
    UNROLLED
    for (u32 four = 0; four < 8; ++four) {
        u32 pairs[4];
        UNROLLED
        for (u32 pair = 0; pair < 4; ++pair) {
            u32 first = 8 * four + 2 * pair;
            u32 high = first < 32 ? high_0 : high_1;
            i32 one = (i32)((low[first / 4] >> first % 4 * 8 & 0xff) | (high >> first % 32 & 1) << 8) - 256;
            i32 other = (i32)((low[first / 4] >> (first % 4 + 1) * 8 & 0xff) | (high >> (first % 32 + 1) & 1) << 8) - 256;
            pairs[pair] = half_of(one) | half_of(other) << 16;
        }
        ((Four*)to)[four] = {{pairs[0], pairs[1], pairs[2], pairs[3]}};
    }
}

extern "C" __global__ void __launch_bounds__(256) proof_operands(ProofOperands p) {
    u32 parts = p.depth / 64;
    for (u64 at = thread_of_grid(); at < p.lines * parts; at += threads_of_grid()) {
        u32 line = (u32)(at / parts), part = (u32)(at % 8);
        u64 piece = at % parts / 8;
        u32 x[16], high_0 = 0, high_1 = 0;
        cipher_input(x, p.key, piece * 9 + 8, line, p.side);
        cipher_block(x, 4);
        // By comparison: registers have no index.
        UNROLLED
        for (u32 n = 0; n < 8; ++n) {
            if (n == part) {
                high_0 = x[2 * n];
                high_1 = x[2 * n + 1];
            }
        }
        cipher_input(x, p.key, piece * 9 + part, line, p.side);
        cipher_block(x, 4);
        store_entries(p.matrix + at * 64, x, high_0, high_1);
    }
}

struct ProofFold {
    const float* c;    // a rectangle of the product, [row][column]
    u8* digests;       // of all tiles
    u64 first_row;     // of the rectangle, in tiles
    u64 first_column;
    u64 side_tiles;    // of the whole product
    u32 rows;          // of the rectangle, in tiles
    u32 columns;
    Message<3> leaf;
};

extern "C" __global__ void __launch_bounds__(256) proof_fold(ProofFold p) {
    for (u64 at = thread_of_grid(); at < (u64)p.rows * p.columns; at += threads_of_grid()) {
        u64 row = at / p.columns, column = at % p.columns;
        const float* corner = p.c + (row * 32 * p.columns + column) * 32;
        u32 words[8];
        UNROLLED
        for (u32 n = 0; n < 8; ++n) words[n] = n + 1;
        ROLLED
        for (u32 line = 0; line < 32; ++line) {
            const float* values = corner + (u64)line * p.columns * 32;
            ROLLED
            for (u32 part = 0; part < 4; ++part) {
                UNROLLED
                for (u32 n = 0; n < 8; ++n) words[n] ^= turned(words[n] + (u32)(i32)values[8 * part + n], 7);
            }
            u32 first = words[0];
            UNROLLED
            for (u32 n = 0; n < 7; ++n) words[n] += turned(words[n + 1], 13);
            words[7] += turned(first, 13);
        }
        u64 index = (p.first_row + row) * p.side_tiles + p.first_column + column;
        hash_leaf(p.leaf, index, words, p.digests, index);
    }
}

struct ProofFill {
    Four* elements;
    u64 first;
    u64 count;
    u32 iterations;
    Key key;
};

extern "C" __global__ void __launch_bounds__(256) proof_fill(ProofFill p) {
    for (u64 at = thread_of_grid(); at < p.count; at += threads_of_grid()) {
        u32 x[16];
        cipher_input(x, p.key, p.first + at, 0, 0);
        ROLLED
        for (u32 n = 0; n < p.iterations; ++n) cipher_block(x, 10);
        UNROLLED
        for (u32 n = 0; n < 4; ++n) p.elements[4 * at + n] = {{x[4 * n], x[4 * n + 1], x[4 * n + 2], x[4 * n + 3]}};
    }
}

struct ProofWalk {
    const Four* elements;
    u8* digests;       // of these chains
    u64 first;
    u64 count;
    u64 windows;
    u64 window_elements;
    u32 steps;
    Key key;
    Message<3> leaf;
};

extern "C" __global__ void __launch_bounds__(256) proof_walk(ProofWalk p) {
    for (u64 at = thread_of_grid(); at < p.count; at += threads_of_grid()) {
        u64 chain = p.first + at;
        u32 x[16];
        cipher_input(x, p.key, chain, 0, 0);
        cipher_block(x, 10);
        u64 base = upper_half((u64)x[3] << 32 | x[2], p.windows) * p.window_elements;
        ROLLED
        for (u32 step = 0; step < p.steps; ++step) {
            u64 index = base + upper_half((u64)x[1] << 32 | x[0], p.window_elements);
            UNROLLED
            for (u32 four = 0; four < 4; ++four) {
                Four read = p.elements[4 * index + four];
                UNROLLED
                for (u32 n = 0; n < 4; ++n) x[4 * four + n] ^= read.words[n];
            }
            permute(x, 10);
        }
        hash_leaf(p.leaf, chain, x, p.digests, at);
    }
}

struct ProofParents {
    const u8* below;
    u8* above;
    u64 below_count;
    Message<2> node;
};

// A node without a neighbour moves up as it is.
extern "C" __global__ void __launch_bounds__(256) proof_parents(ProofParents p) {
    for (u64 at = thread_of_grid(); at < (p.below_count + 1) / 2; at += threads_of_grid()) {
        const Four* children = (const Four*)(p.below + 64 * at);
        if (2 * at + 1 == p.below_count) {
            Four* to = (Four*)(p.above + 32 * at);
            to[0] = children[0];
            to[1] = children[1];
            continue;
        }
        u32 filled[32], digest[8];
        UNROLLED
        for (u32 n = 0; n < 32; ++n) filled[n] = p.node.words[n];
        UNROLLED
        for (u32 four = 0; four < 2; ++four) {
            Four left = children[four], right = children[2 + four];
            UNROLLED
            for (u32 n = 0; n < 4; ++n) {
                put<NODE_LEFT_AT>(filled, 4 * four + n, left.words[n]);
                put<NODE_RIGHT_AT>(filled, 4 * four + n, right.words[n]);
            }
        }
        sha256<2>(filled, digest);
        store_digest(p.above, at, digest);
    }
}
