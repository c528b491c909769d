// The ceilings: what the memory gives to loops that do nothing else.
//
// Oracle: gadkit.timing

#include "gadkit.cuh"

// Copy in order: to[i] = from[i], 16 bytes at a time.
extern "C" __global__ void copy(
    const float* __restrict__ from, float* __restrict__ to, long long num_vectors) {
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < num_vectors; i += stride)
        *reinterpret_cast<Vector<float, 4>*>(to + 4 * i) = load<4>(from + 4 * i);
}

// Gather whole rows in the given order: a warp adds up `per_warp` of them and writes the sum, so
// that no read can be left out.
//
//   x     (num_rows, row_floats) float32; row_floats a multiple of 4
//   rows  (num_gathers,) int32
//   sums  (ceil(num_gathers / per_warp), row_floats) float32, out
//
// Mapping: lanes that a row does not need read another row at the same time.
extern "C" __global__ void __launch_bounds__(128, 8) gather(
    const float* __restrict__ x, const int* __restrict__ rows, float* __restrict__ sums,
    long long num_gathers, int row_floats, int per_warp) {
    constexpr int DEPTH = 8;
    const int lane = threadIdx.x % 32;
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32;
    const long long begin = warp * per_warp;
    if (begin >= num_gathers) return;
    const long long end = begin + per_warp < num_gathers ? begin + per_warp : num_gathers;
    int lanes = 32;
    while (lanes > 1 && lanes / 2 * 4 >= row_floats) lanes /= 2;
    const int groups = 32 / lanes;
    for (int first = 0; first < row_floats; first += lanes * 4) {
        const int column = first + lane % lanes * 4;
        const bool inside = column < row_floats;
        float sum[4] = {};
        for (long long e = begin + lane / lanes; e < end; e += DEPTH * groups) {
            Vector<float, 4> row[DEPTH];
#pragma unroll
            for (int u = 0; u < DEPTH; u++) {
                const long long at = e + u * groups;
                const bool wanted = inside && at < end;
                row[u] = load_if<float, 4>(
                    wanted, x + (wanted ? (long long)rows[at] * row_floats + column : 0));
            }
#pragma unroll
            for (int u = 0; u < DEPTH; u++)
#pragma unroll
                for (int i = 0; i < 4; i++) sum[i] += row[u].get(i);
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
            for (int offset = lanes; offset < 32; offset *= 2)
                sum[i] += __shfl_xor_sync(FULL, sum[i], offset);
        if (inside && lane < lanes) store<float, 4>(sum, sums + warp * row_floats + column);
    }
}
