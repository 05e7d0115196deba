// Sums the tiles of a product once more, from the memory that it was stored to.
//
// Expected: the sum of one pass, and no residue, as in the product's own epilogue: every element was stored, where it
// belongs, and every bit of it held.
//
// Self-test: the element flip_element of tile flip_tile is xored with flip_mask as it is read.

struct TileSums {
    const void* c;
    TileRecord* tiles;
    u32 rows, columns;
    u32 flip_tile;
    u32 flip_element;
    u64 flip_mask;
};

// A block has a tile: a thread holds 4 x 8 elements of it at a time, 256 threads hold half of it.
template <class C>
__device__ __forceinline__ void sum_tile(const TileSums& p) {
    u32 tile_columns = p.columns / TILE;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const C* corner = (const C*)p.c + (u64)(blockIdx.x / tile_columns) * TILE * p.columns +
                      blockIdx.x % tile_columns * TILE;
    for (u32 half = 0; half < 2; ++half) {
        Share share = {blockIdx.x, half * 64 + lane / 4, warp % 4 * 32 + lane % 4 * 2};
        // Warps 0 to 3 take the first four groups of 8 rows, 4 to 7 the others.
        share.first_row += warp / 4 * 32;
        C held[4][8];
        UNROLLED
        for (u32 r = 0; r < 4; ++r) {
            UNROLLED
            for (u32 c = 0; c < 8; c += 2) {
                Two<C> two = *(const Two<C>*)(corner + (u64)share.row(r) * p.columns + share.column(c));
                held[r][c] = two.first;
                held[r][c + 1] = two.second;
            }
        }
        if (p.flip_mask && share.tile == p.flip_tile) spoil(held, share, p.flip_element, p.flip_mask);
        add_to_record(p.tiles, held, share, column_weight);
    }
}

extern "C" __global__ void __launch_bounds__(256) tiles_sum_fp32(TileSums p) { sum_tile<float>(p); }

extern "C" __global__ void __launch_bounds__(256) tiles_sum_int32(TileSums p) { sum_tile<i32>(p); }

extern "C" __global__ void __launch_bounds__(256) tiles_sum_fp64(TileSums p) { sum_tile<double>(p); }
