// One dot product per pair of rows.
//
//   out[p] = <z_src[src[p]], z_dst[dst[p]]>
//
//   z_src  (num_src, dim) T
//   z_dst  (num_dst, dim) T
//   src    (num_pairs,) int64
//   dst    (num_pairs,) int64
//   out    (num_pairs,) T, out; NaN where an id is out of range, and nothing is read there
//
// Mapping: `lanes` lanes per pair, VEC numbers each; a warp has DEPTH pairs per group in flight.
// Launch: WARPS warps a block, a warp for every DEPTH * 32 / lanes pairs.
// Traffic: 16 + 2 * dim * sizeof(T) bytes a pair.
// Oracle: gadkit.ops.edge_dot_reference. Its gradient is kernels/spmm.cu over the sorted pairs.

#include "gadkit.cuh"

template <typename T, int VEC>
__global__ void __launch_bounds__(128, BLOCKS<T, 5>) edge_dot(
    const T* __restrict__ z_src, const T* __restrict__ z_dst, const long long* __restrict__ src,
    const long long* __restrict__ dst, T* __restrict__ out, long long num_pairs,
    long long num_src, long long num_dst, int dim, int lanes) {
    using A = wide<T>;
    const Groups groups(lanes);
    const int row_bytes = dim * sizeof(T);
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32;
    const long long begin = warp * DEPTH * groups.count + groups.group;
    if (warp * DEPTH * groups.count >= num_pairs) return;

    int i[DEPTH], j[DEPTH];  // i is -1 if one is out of range
    A sum[DEPTH] = {};
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
        const long long pair = begin + u * groups.count;
        const long long from = pair < num_pairs ? src[pair] : -1;
        const long long to = pair < num_pairs ? dst[pair] : -1;
        const bool good = from >= 0 && from < num_src && to >= 0 && to < num_dst;
        i[u] = good ? (int)from : -1;
        j[u] = (int)to;
    }
#pragma unroll 1
    for (int column = groups.member * VEC; column < dim; column += lanes * VEC) {
        Vector<T, VEC> x[DEPTH], y[DEPTH];
#pragma unroll
        for (int u = 0; u < DEPTH; u++)
            if (i[u] >= 0) {
                x[u] = load<VEC>(row_at(z_src + column, i[u], row_bytes));
                y[u] = load<VEC>(row_at(z_dst + column, j[u], row_bytes));
            }
#pragma unroll
        for (int u = 0; u < DEPTH; u++)
            if (i[u] >= 0)
#pragma unroll
                for (int k = 0; k < VEC; k++) sum[u] += x[u].get(k) * y[u].get(k);
    }
#pragma unroll
    for (int u = 0; u < DEPTH; u++) {
        const A total = groups.sum_of_lanes(sum[u]), nothing = __int_as_float(0x7fffffff);  // NaN
        const long long pair = begin + u * groups.count;
        if (groups.member == 0 && pair < num_pairs)
            out[pair] = narrow<T>(i[u] >= 0 ? total : nothing);
    }
}
