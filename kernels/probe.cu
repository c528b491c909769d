// The ceilings: what the memory gives to loops that do nothing else.
//
// Called by copy_rate and gather_rate of gadkit/ops/timing.py; its _gather is the oracle.

#include "gadkit.cuh"

// Copy in order: to[i] = from[i], 16 bytes at a time.
extern "C" __global__ void copy(
    const float* __restrict__ from, float* __restrict__ to, long long num_vectors) {
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long i = first; i < num_vectors; i += (long long)gridDim.x * blockDim.x)
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
extern "C" __global__ void __launch_bounds__(128, BLOCKS<float>) gather(
    const float* __restrict__ x, const int* __restrict__ rows, float* __restrict__ sums,
    long long num_gathers, int row_floats, int per_warp) {
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32;
    const long long begin = warp * per_warp;
    if (begin >= num_gathers) return;
    const int all = num_gathers - begin < per_warp ? (int)(num_gathers - begin) : per_warp;
    int lanes = 32;
    while (lanes > 1 && lanes / 2 * 4 >= row_floats) lanes /= 2;
    const Groups groups(lanes);
    for (int first = 0; first < row_floats; first += lanes * 4) {
        const int column = first + groups.member * 4, lane = threadIdx.x % 32;
        const bool inside = column < row_floats;
        float sum[4] = {};
#pragma unroll 1
        for (int done = 0; done < all; done += 32) {
            const int count = all - done < 32 ? all - done : 32;
            const int own = lane < count ? rows[begin + done + lane] : 0;
#pragma unroll 1
            for (int k = groups.group; k - groups.group < count; k += DEPTH * groups.count) {
                int from[DEPTH];
                groups.take_turns(own, k, from);
                Vector<float, 4> row[DEPTH];
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count)
                        row[u] = load<4>(
                            row_at(x + (inside ? column : 0), from[u], row_floats * sizeof(float)));
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count)
#pragma unroll
                        for (int i = 0; i < 4; i++) sum[i] += row[u].get(i);
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) sum[i] = groups.sum_of_groups(sum[i]);
        if (inside && groups.group == 0)
            store<float, 4>(sum, sums + warp * row_floats + column);
    }
}
