// Sparse matrix times dense matrix: a sum of rows of x for every row of a CSR.
//
//   out[i] = scale_dst[i] * sum over edges e of row i of edge_weight[e] * scale_src[j] * x[j],
//   j = indices[e]
//
//   indptr       (num_rows + 1,) int64
//   indices      (num_edges,) int32
//   chunk_row, chunk_begin, chunk_end   (num_chunks,) int64; see gadkit.graph.RowPlan
//   x            (num_src, columns) T
//   edge_weight  (num_edges,) wide; null stands for ones, as it does for the scales
//   scale_src    (num_src,) wide
//   scale_dst    (num_rows,) wide
//   out          (num_rows, columns) T, out; a row without edges is zero
//   partial      (num_chunks, columns) wide, out; summed by sum_chunks
//
// Mapping: a warp per piece. `lanes` lanes hold a row, VEC numbers each; what is left of the warp
// works on other edges at the same time, and the groups are added at the end. A row wider than the
// warp is done in tiles. Lanes load 32 columns and weights at once and hand them round by shuffle.
// Launch: WARPS warps a block, a warp for each of num_chunks + num_rows.
// Traffic: 4 + columns * sizeof(T) bytes an edge.
// Oracle: gadkit.ops.spmm_reference

#include "gadkit.cuh"

template <typename T, int VEC>
__global__ void __launch_bounds__(128, BLOCKS<T, 7>) spmm(
    const long long* __restrict__ indptr, const int* __restrict__ indices,
    const long long* __restrict__ chunk_row, const long long* __restrict__ chunk_begin,
    const long long* __restrict__ chunk_end, const T* __restrict__ x,
    const wide<T>* __restrict__ edge_weight, const wide<T>* __restrict__ scale_dst,
    const wide<T>* __restrict__ scale_src, T* __restrict__ out, wide<T>* __restrict__ partial,
    int num_rows, int num_chunks, int chunk, int columns, int lanes) {
    using A = wide<T>;
    Piece piece;
    if (!find_piece(
            indptr, chunk_row, chunk_begin, chunk_end, num_rows, num_chunks, chunk, piece))
        return;
    const Groups groups(lanes);
    const int lane = threadIdx.x % 32, row_bytes = columns * sizeof(T);
    for (int first = 0; first < columns; first += lanes * VEC) {
        const int column = first + groups.member * VEC;
        const bool inside = column < columns;
        const T* const x_column = x + (inside ? column : 0);
        A sum[VEC] = {};
#pragma unroll 1
        for (int done = 0; done < piece.count; done += 32) {
            const int count = piece.count - done < 32 ? piece.count - done : 32;
            const long long next = piece.begin + done + lane;
            const int own = lane < count ? indices[next] : 0;
            A own_weight = lane < count;
            if (lane < count && edge_weight) own_weight *= edge_weight[next];
            if (lane < count && scale_src) own_weight *= scale_src[own];
#pragma unroll 1
            for (int k = groups.group; k - groups.group < count; k += DEPTH * groups.count) {
                int from[DEPTH];
                A weight[DEPTH];
                groups.take_turns(own, k, from);
                Vector<T, VEC> row[DEPTH];
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count)
                        row[u] = load<VEC>(row_at(x_column, from[u], row_bytes));
                groups.take_turns(own_weight, k, weight);
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count)
#pragma unroll
                        for (int i = 0; i < VEC; i++) sum[i] += weight[u] * row[u].get(i);
            }
        }
#pragma unroll
        for (int i = 0; i < VEC; i++) sum[i] = groups.sum_of_groups(sum[i]);
        const bool writes = inside && groups.group == 0;
        if (writes && piece.chunk >= 0)
            store<A, VEC>(sum, partial + (long long)piece.chunk * columns + column);
        if (writes && piece.chunk < 0) {
            // Without edges 0, also where the scale is 1 / degree and so infinite.
            const A scale = piece.count == 0 ? A(0) : scale_dst ? scale_dst[piece.row] : A(1);
#pragma unroll
            for (int i = 0; i < VEC; i++) sum[i] *= scale;
            store<T, VEC>(sum, out + (long long)piece.row * columns + column);
        }
    }
}

// Add up the chunks of each long row:
//
//   out[i] = scale_dst[i] * sum over the chunks k of row i of partial[k]
//
// Mapping: a block per chunk and 32 columns; that of a row's first chunk works, the others return.
// Its warps take turns at the chunks, so the order of the sum is fixed.
// Launch: (num_chunks, columns / 32 rounded up) blocks of 256 threads.
template <typename T>
__global__ void __launch_bounds__(256) sum_chunks(
    const long long* __restrict__ indptr, const long long* __restrict__ chunk_row,
    const wide<T>* __restrict__ partial, const wide<T>* __restrict__ scale_dst,
    T* __restrict__ out, int chunk, int columns) {
    using A = wide<T>;
    __shared__ A sums[MERGERS][32];
    long long row;
    int num_chunks;
    if (!first_chunk(indptr, chunk_row, chunk, row, num_chunks)) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int column = blockIdx.y * 32 + lane;
    A sum = 0;
    if (column < columns)
        for (int k = warp; k < num_chunks; k += MERGERS)
            sum += partial[(long long)(blockIdx.x + k) * columns + column];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= columns) return;
    for (int other = 1; other < MERGERS; other++) sum += sums[other][lane];
    out[row * columns + column] = narrow<T>(scale_dst ? scale_dst[row] * sum : sum);
}
