// Shared by all kernels: number types, 16-byte loads, the cut of rows into pieces, DropEdge.
//
// The files compile with NVRTC and with g++. They need no CUDA headers: half precision is stored
// only, so a type and two conversions are all there is to it.

#pragma once

#ifndef __CUDACC__
#include "host_cuda.h"  // threads, shuffles and barriers on a machine without a GPU
#endif

constexpr unsigned FULL = 0xffffffffu;  // every lane of a warp
constexpr int WARPS = 4;                // of a block, where warps work for themselves
constexpr int MERGERS = 8;              // warps of a block that merges chunks
constexpr int DEPTH = 4;                // rows that a group of lanes has in flight

// Blocks of WARPS warps that a multiprocessor must hold; so many leave each thread the registers
// for DEPTH rows. Without a number the compiler spares registers and loads one row after the other.
template <typename T, int AT_MOST = 8>
constexpr int BLOCKS = sizeof(T) == 8 ? 4 : sizeof(T) == 2 ? 5 : AT_MOST;

// The lowest number stands for minus infinity: finite, so that the difference of two is 0 and not NaN.
template <typename A>
constexpr A LOWEST = A(-3.4028234663852886e38f);
template <>
constexpr double LOWEST<double> = -1.7976931348623157e308;

struct half_t {
    unsigned short bits;
};

struct bfloat16_t {
    unsigned short bits;
};

#ifdef __CUDACC__
__device__ __forceinline__ float gk_half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short gk_float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

// Numbers are stored as T and computed as widen<T>: float, or double for double.
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(half_t x) { return gk_half_to_float(x.bits); }
__device__ __forceinline__ float widen(bfloat16_t x) { return __uint_as_float(x.bits << 16); }

template <typename T>
struct Wide {
    using type = float;
};
template <>
struct Wide<double> {
    using type = double;
};
template <typename T>
using wide = typename Wide<T>::type;

template <typename T>
__device__ __forceinline__ T narrow(wide<T> x) {
    return x;
}
template <>
__device__ __forceinline__ half_t narrow<half_t>(float x) {
    return {gk_float_to_half(x)};
}
template <>
__device__ __forceinline__ bfloat16_t narrow<bfloat16_t>(float x) {
    const unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // NaN; rounding could undo it
    return {(unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};  // ties to even
}

__device__ __forceinline__ float fast_exp(float x) { return __expf(x); }
__device__ __forceinline__ double fast_exp(double x) { return exp(x); }
__device__ __forceinline__ float larger(float x, float y) { return fmaxf(x, y); }
__device__ __forceinline__ double larger(double x, double y) { return fmax(x, y); }

// The slope is at most 1, so the larger of the two is the right one on either side of zero.
template <typename A>
__device__ __forceinline__ A leaky_relu(A x, A slope) {
    return larger(x, slope * x);
}

// VEC numbers that one instruction loads or stores; 16 bytes at best.
template <typename T, int VEC>
struct alignas(sizeof(T) * VEC) Vector {
    T at[VEC];

    __device__ __forceinline__ wide<T> get(int i) const { return widen(at[i]); }
    __device__ __forceinline__ void set(int i, wide<T> x) { at[i] = narrow<T>(x); }
};

// Numbers of 16 bits stay in pairs until they are used; taken apart at once, they would need twice
// the registers.
template <typename T>
struct alignas(16) Pairs {
    unsigned words[4];

    __device__ __forceinline__ float get(int i) const {
        return widen(T{(unsigned short)(words[i / 2] >> i % 2 * 16)});
    }
    __device__ __forceinline__ void set(int i, float x) {
        const unsigned bits = narrow<T>(x).bits;
        words[i / 2] = i % 2 ? words[i / 2] | bits << 16 : bits;
    }
};
template <>
struct Vector<half_t, 8> : Pairs<half_t> {};
template <>
struct Vector<bfloat16_t, 8> : Pairs<bfloat16_t> {};

template <int VEC, typename T>
__device__ __forceinline__ Vector<T, VEC> load(const T* from) {
    return *reinterpret_cast<const Vector<T, VEC>*>(from);
}

// The address of a row, given that of row 0 and the size of one. The product is one instruction;
// left to itself the compiler extends both factors first, on every edge.
template <typename T>
__device__ __forceinline__ const T* row_at(const T* first, int row, int row_bytes) {
#ifdef __CUDACC__
    long long bytes;
    asm("mul.wide.s32 %0, %1, %2;" : "=l"(bytes) : "r"(row), "r"(row_bytes));
#else
    const long long bytes = (long long)row * row_bytes;
#endif
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(first) + bytes);
}

template <typename T, int VEC>
__device__ __forceinline__ void store(const wide<T>* values, T* to) {
    Vector<T, VEC> row;
#pragma unroll
    for (int i = 0; i < VEC; i++) row.set(i, values[i]);
    *reinterpret_cast<Vector<T, VEC>*>(to) = row;
}

// How a warp covers rows: `lanes` lanes, a power of two, hold one; the groups of lanes work on
// different rows.
struct Groups {
    int lanes, count, group, member;

    __device__ __forceinline__ explicit Groups(int lanes)
        : lanes(lanes),
          count(32 >> (__ffs(lanes) - 1)),
          group(threadIdx.x % 32 >> (__ffs(lanes) - 1)),
          member(threadIdx.x & (lanes - 1)) {}

    // Hand round what the lanes of a warp hold, for the next N edges of the caller's group: those
    // in the lanes `at`, `at` + count, ... modulo 32. All at once, because a shuffle between two
    // loads would keep the second one waiting.
    template <typename X, int N>
    __device__ __forceinline__ void take_turns(X own, int at, X (&of)[N]) const {
#pragma unroll
        for (int u = 0; u < N; u++) of[u] = __shfl_sync(FULL, own, at + u * count);
    }

    // Add up over the lanes of a group.
    template <typename A>
    __device__ __forceinline__ A sum_of_lanes(A x) const {
        for (int offset = 1; offset < lanes; offset *= 2) x += __shfl_xor_sync(FULL, x, offset);
        return x;
    }

    // Add up over the groups.
    template <typename A>
    __device__ __forceinline__ A sum_of_groups(A x) const {
        for (int offset = lanes; offset < 32; offset *= 2) x += __shfl_xor_sync(FULL, x, offset);
        return x;
    }
};

// One warp works on one piece: a row of at most `chunk` edges, or a chunk of a longer row. Chunks
// come first in the grid, so that the longest work is not begun last.
struct Piece {
    int row;
    int chunk;        // its number, or -1: the piece is a whole row
    long long begin;  // the first edge
    int count;        // of edges
};

__device__ __forceinline__ bool find_piece(
    const long long* indptr, const long long* chunk_row, const long long* chunk_begin,
    const long long* chunk_end, int num_rows, int num_chunks, int chunk, Piece& piece) {
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32;
    if (warp < num_chunks) {
        const long long begin = chunk_begin[warp];
        piece = {(int)chunk_row[warp], (int)warp, begin, (int)(chunk_end[warp] - begin)};
        return piece.row >= 0;  // a plan made on the device has room to spare
    }
    if (warp - num_chunks >= num_rows) return false;
    const int row = warp - num_chunks;
    const long long begin = indptr[row], count = indptr[row + 1] - begin;
    piece = {row, -1, begin, (int)count};
    return count <= chunk;
}

// Find the row whose chunks the block merges: the one that chunk number blockIdx.x is the first of.
__device__ __forceinline__ bool first_chunk(
    const long long* indptr, const long long* chunk_row, int chunk, long long& row,
    int& num_chunks) {
    row = chunk_row[blockIdx.x];
    if (row < 0 || (blockIdx.x > 0 && chunk_row[blockIdx.x - 1] == row)) return false;
    num_chunks = (indptr[row + 1] - indptr[row] + chunk - 1) / chunk;
    return true;
}

// Scramble 64 bits (the finalizer of SplitMix64, Steele, Lea and Flood, OOPSLA 2014).
__device__ __forceinline__ unsigned long long mix(unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// DropEdge: a coin per edge, from its ends and a key; the same in every pass and on the CPU.
struct Coins {
    unsigned long long below, key;  // an edge is dropped if 32 bits of its hash are below `below`

    __device__ __forceinline__ Coins(
        unsigned long long drop_below, long long seed, const long long* device_seed)
        : below(drop_below),
          key(mix((device_seed ? *device_seed : seed) + 0x9E3779B97F4A7C15ull)) {}

    __device__ __forceinline__ bool keep(unsigned src, unsigned dst) const {
        const unsigned long long edge = (unsigned long long)src << 32 | dst;
        return mix(edge ^ key) >> 32 >= below;
    }
};

// Return the position of bit number n (from 0) that is set in a mask with more than n such bits.
__device__ __forceinline__ int nth_set_bit(unsigned mask, int n) {
    int position = 0;
#pragma unroll
    for (int step = 16; step > 0; step /= 2) {
        const int below = __popc(mask & ((1u << (position + step)) - 1));
        if (below <= n) position += step;
    }
    return position;
}

// Give the lanes of a warp the columns of the next `count` edges, 32 at most, those that DropEdge
// keeps first, and return how many there are.
template <bool DROP, bool ROW_IS_DST>
__device__ __forceinline__ int next_columns(
    const int* __restrict__ next, int row, int count, const Coins& coins, int lane, int& column) {
    if (count > 32) count = 32;
    column = lane < count ? next[lane] : 0;
    if (!DROP) return count;
    const bool keep = ROW_IS_DST ? coins.keep(column, row) : coins.keep(row, column);
    const unsigned kept = __ballot_sync(FULL, lane < count && keep);
    column = __shfl_sync(FULL, column, nth_set_bit(kept, lane));
    return __popc(kept);
}
