// Attention as it is commonly written, to compare with: a warp per destination, logits from the
// features.
//
//   logit_ij = LeakyReLU(<a_dst, h_dst[i]> + <a_src, h_src[j]>)     out_i = sum_j softmax_j h_src[j]
//
//   indptr  (num_dst + 1,) int64
//   indices (num_edges,) int32
//   h_src   (num_src, dim) float32
//   h_dst   (num_dst, dim) float32
//   a_src   (dim,) float32
//   a_dst   (dim,) float32
//   out     (num_dst, dim) float32, out; rows without edges are zero
//
// Mapping: a warp per destination, whatever its degree; three passes over its edges (the largest
// logit, the sum of the weights, the weighted rows), each with a dot product of the whole warp per
// edge. dim is at most 32 * COLUMNS.
// Oracle: gadkit.ops.gat_aggregate_reference

#ifndef __CUDACC__
#include "host_cuda.h"
#endif

constexpr int COLUMNS = 8;  // of a lane

__device__ __forceinline__ float dot(
    const float* __restrict__ row, const float* __restrict__ a, int dim, int lane) {
    float sum = 0;
    for (int d = lane; d < dim; d += 32) sum += row[d] * a[d];
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    return sum;
}

__device__ __forceinline__ float leaky(float logit, float slope) {
    return logit > 0 ? logit : slope * logit;
}

extern "C" __global__ void warp_per_node(
    const long long* __restrict__ indptr, const int* __restrict__ indices,
    const float* __restrict__ h_src, const float* __restrict__ h_dst,
    const float* __restrict__ a_src, const float* __restrict__ a_dst, float* __restrict__ out,
    long long num_dst, int dim, float slope) {
    const int lane = threadIdx.x % 32;
    const long long node = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / 32;
    if (node >= num_dst) return;
    const long long begin = indptr[node], end = indptr[node + 1];
    const float score_dst = dot(h_dst + node * dim, a_dst, dim, lane);

    float top = -3.402823466e38f;
    for (long long e = begin; e < end; e++) {
        const float* row = h_src + (long long)indices[e] * dim;
        top = fmaxf(top, leaky(score_dst + dot(row, a_src, dim, lane), slope));
    }
    float mass = 0;
    for (long long e = begin; e < end; e++) {
        const float* row = h_src + (long long)indices[e] * dim;
        mass += __expf(leaky(score_dst + dot(row, a_src, dim, lane), slope) - top);
    }
    float sum[COLUMNS] = {};
    for (long long e = begin; e < end; e++) {
        const float* row = h_src + (long long)indices[e] * dim;
        const float logit = leaky(score_dst + dot(row, a_src, dim, lane), slope);
        const float alpha = __expf(logit - top) / mass;
#pragma unroll
        for (int k = 0; k < COLUMNS; k++)
            if (lane + 32 * k < dim) sum[k] += alpha * row[lane + 32 * k];
    }
#pragma unroll
    for (int k = 0; k < COLUMNS; k++)
        if (lane + 32 * k < dim) out[node * dim + lane + 32 * k] = sum[k];
}
