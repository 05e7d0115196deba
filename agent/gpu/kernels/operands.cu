// Operands of products, written where they are used.
//
// Expected: element i is an integer that depends on mix64(i ^ seed) alone: in [-127, 127], which BF16, FP16, TF32, INT8
// and FP64 hold exactly; for FP8 in [-8, 8], which four significant bits hold. The CPU has the same generator
// (golden/product.rs). That they were stored right is proven by the products. BF16_FULL is BF16 with a random sign, all
// seven bits of mantissa random, and one of eight exponents from 2^-3 to 2^4, so that every wire toggles: sums of 2,048
// products stay below 2^21, and are rounded.
//
// Self-test: element flip_index is xored with flip_mask; the products that read it come out wrong.

enum Format : u32 { BF16 = 0, FP16 = 1, TF32 = 2, INT8 = 3, FP64 = 4, FP8 = 5, BF16_FULL = 6 };

struct Operands {
    u8* matrix;
    u64 count;
    u64 seed;
    u64 flip_index;
    u64 flip_mask;
    u32 format;
    u32 reserved;
};

// Bits of a small integer in a binary format with so many bits of mantissa and such a bias. Integers up to 2^(mantissa +
// 1) are exact.
__device__ __forceinline__ u32 small_float(i32 value, u32 mantissa_bits, u32 bias, u32 sign_bit) {
    if (value == 0) return 0;
    u32 magnitude = value < 0 ? (u32)-value : (u32)value;
    u32 exponent = 31 - leading_zeros(magnitude);
    u32 mantissa = (magnitude ^ (1u << exponent)) << (mantissa_bits - exponent);
    return (value < 0 ? 1u << sign_bit : 0) | (exponent + bias) << mantissa_bits | mantissa;
}

template <class Bits>
__device__ __forceinline__ void put(const Operands& p, u64 index, Bits bits) {
    if (index == p.flip_index) bits ^= (Bits)p.flip_mask;
    ((Bits*)p.matrix)[index] = bits;
}

extern "C" __global__ void __launch_bounds__(256) operands_fill(Operands p) {
    u64 stride = (u64)gridDim.x * blockDim.x;
    u32 values = p.format == FP8 ? 17 : 255;
    for (u64 index = (u64)blockIdx.x * blockDim.x + threadIdx.x; index < p.count; index += stride) {
        u64 high = mix64(index ^ p.seed) >> 32;
        i32 value = (i32)(high * values >> 32) - (i32)(values / 2);
        switch (p.format) {
            case BF16: put(p, index, (u16)(bits_of((float)value) >> 16)); break;
            case FP16: put(p, index, (u16)small_float(value, 10, 15, 15)); break;
            case TF32: put(p, index, bits_of((float)value)); break;
            case INT8: put(p, index, (u8)value); break;
            case FP64: put(p, index, bits_of((double)value)); break;
            case BF16_FULL: put(p, index, (u16)((high & 0x807f) | (124 + (high >> 8 & 7)) << 7)); break;
            case FP8: put(p, index, (u8)small_float(value, 3, 7, 7)); break;
        }
    }
}
