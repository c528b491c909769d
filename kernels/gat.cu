// Softmax attention over in-neighbors, forward and backward, one gather each; the mathematics are
// in gadkit/ops/gat.py.
//
//   logit_ij = LeakyReLU(score_dst[i] + score_src[j])     alpha_i. = softmax_j logit_ij
//   out_i    = sum_j alpha_ij h_j                         every head for itself
//
//   indptr       (num_rows + 1,) int64
//   indices      (num_edges,) int32
//   chunk_row, chunk_begin, chunk_end   (num_chunks,) int64; see gadkit.graph.RowPlan
//   h            (num_src, heads, dim) T
//   score_src    (num_src, heads) wide
//   score_dst    (num_dst, heads) wide; an edge whose logit is minus infinity takes no part, and
//                plus infinity or NaN makes a row NaN
//   slope        of the LeakyReLU below zero, in [0, 1]
//   drop_below, seed, device_seed   of DropEdge; device_seed, if not null, is read in place of seed
//
// Mapping of the two gathers: a warp per piece. `lanes` lanes hold a row of all heads, VEC numbers
// each, all of one head; what is left of the warp works on other edges at the same time, and the
// groups are merged at the end. A row wider than the warp is done in tiles. A lane computes the
// logits of its own head, so no lane waits for another.
// Launch: WARPS warps a block, a warp for each of num_chunks + num_rows.
// Traffic: 4 + heads * (dim * sizeof(T) + 4) bytes an edge forward, 16 in place of 4 backward.
// Oracle: gadkit.ops.gat_aggregate_reference and its autograd

#include "gadkit.cuh"

// Whether a logit masks its edge: whether it is minus infinity, which alone is below the lowest number.
template <typename A>
__device__ __forceinline__ bool is_masked(A logit) {
    return logit < LOWEST<A>;
}

// The running softmax of one head and VEC columns: weights are relative to the largest logit so
// far. The sums _pos are over edges with a positive logit only, for the gradient of LeakyReLU.
template <typename A, int VEC, bool TRAIN>
struct Softmax {
    A top, mass, mass_pos;
    A sum[VEC], sum_pos[TRAIN ? VEC : 1];

    static __device__ __forceinline__ Softmax of_nothing() {
        Softmax empty = {};
        empty.top = LOWEST<A>;
        return empty;
    }

    __device__ __forceinline__ void scale(A factor) {
        mass *= factor;
        mass_pos *= factor;
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            sum[i] *= factor;
            if constexpr (TRAIN) sum_pos[i] *= factor;
        }
    }

    __device__ __forceinline__ void raise(A new_top) {
        scale(fast_exp(top - new_top));
        top = new_top;
    }

    template <typename T>
    __device__ __forceinline__ void add(A logit, A weight, const Vector<T, VEC>& row) {
        const A weight_pos = logit > 0 ? weight : A(0);
        mass += weight;
        if constexpr (TRAIN) mass_pos += weight_pos;
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            sum[i] += weight * row.get(i);
            if constexpr (TRAIN) sum_pos[i] += weight_pos * row.get(i);
        }
    }

    __device__ __forceinline__ void merge(const Softmax& other) {
        raise(larger(top, other.top));
        const A factor = fast_exp(other.top - top);
        mass += factor * other.mass;
        mass_pos += factor * other.mass_pos;
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            sum[i] += factor * other.sum[i];
            if constexpr (TRAIN) sum_pos[i] += factor * other.sum_pos[i];
        }
    }

    // 1 / the sum of exp(logit - top); of no edges 0.
    __device__ __forceinline__ A one_over_mass() const { return mass == 0 ? A(0) : 1 / mass; }

    // Write what the backward needs to compute a weight again. Not the log of the sum of exp(logit):
    // where logits are large, log(mass) is lost beside top.
    __device__ __forceinline__ void write_norm(A* norm) const {
        const A pair[2] = {top, one_over_mass()};
        store<A, 2>(pair, norm);
    }

    // The same of the lane whose number differs by `offset`.
    __device__ __forceinline__ Softmax across(int offset) const {
        Softmax other = *this;
        other.top = __shfl_xor_sync(FULL, top, offset);
        other.mass = __shfl_xor_sync(FULL, mass, offset);
        if constexpr (TRAIN) other.mass_pos = __shfl_xor_sync(FULL, mass_pos, offset);
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            other.sum[i] = __shfl_xor_sync(FULL, sum[i], offset);
            if constexpr (TRAIN) other.sum_pos[i] = __shfl_xor_sync(FULL, sum_pos[i], offset);
        }
        return other;
    }

    // Write VEC columns: out, and for the backward c = sum_pos / mass - (mass_pos / mass) * out.
    template <typename T>
    __device__ __forceinline__ void write(T* out, T* c) {
        scale(one_over_mass());  // a row without edges, or masked, is zero
        store<T, VEC>(sum, out);
        if constexpr (TRAIN) {
#pragma unroll
            for (int i = 0; i < VEC; i++) sum_pos[i] -= mass_pos * sum[i];
            store<T, VEC>(sum_pos, c);
        }
    }
};

// Forward.
//
//   out      (num_rows, heads, dim) T, out
//   norms    (num_rows, heads, 2) wide, out: top, and 1 / mass or 0 without edges; with TRAIN
//   c        (num_rows, heads, dim) T, out; with TRAIN
//   partial  (num_chunks, 2 if TRAIN else 1, heads * dim) wide, out; merged by gat_merge
//   state    (num_chunks, heads, 3) wide, out: top, mass, mass_pos
template <typename T, int VEC, bool TRAIN, bool DROP>
__global__ void __launch_bounds__(128, BLOCKS<T, TRAIN ? 6 : 8>) gat_forward(
    const long long* __restrict__ indptr, const int* __restrict__ indices,
    const long long* __restrict__ chunk_row, const long long* __restrict__ chunk_begin,
    const long long* __restrict__ chunk_end, const T* __restrict__ h,
    const wide<T>* __restrict__ score_src, const wide<T>* __restrict__ score_dst,
    T* __restrict__ out, wide<T>* __restrict__ norms, T* __restrict__ c,
    wide<T>* __restrict__ partial, wide<T>* __restrict__ state, int num_rows,
    int num_chunks, int chunk, int heads, int dim, int lanes, wide<T> slope,
    unsigned long long drop_below, long long seed, const long long* __restrict__ device_seed) {
    using A = wide<T>;
    Piece piece;
    if (!find_piece(
            indptr, chunk_row, chunk_begin, chunk_end, num_rows, num_chunks, chunk, piece))
        return;
    const Coins coins(drop_below, seed, device_seed);
    const Groups groups(lanes);
    const int lane = threadIdx.x % 32, columns = heads * dim;
    for (int first = 0; first < columns; first += lanes * VEC) {
        const int column = first + groups.member * VEC;
        const bool inside = column < columns;
        const int head = inside && heads > 1 ? column / dim : 0;
        const A own_score = score_dst[(long long)piece.row * heads + head];
        const T* const h_column = h + (inside ? column : 0);
        auto softmax = Softmax<A, VEC, TRAIN>::of_nothing();
#pragma unroll 1
        for (int done = 0; done < piece.count; done += 32) {
            int own;
            const int count = next_columns<DROP, true>(
                indices + piece.begin + done, piece.row, piece.count - done, coins, lane, own);
#pragma unroll 1
            for (int k = groups.group; k - groups.group < count; k += DEPTH * groups.count) {
                int from[DEPTH];
                groups.take_turns(own, k, from);
                Vector<T, VEC> row[DEPTH];
                A logit[DEPTH], top = softmax.top;
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count) {
                        row[u] = load<VEC>(row_at(h_column, from[u], columns * sizeof(T)));
                        logit[u] = *row_at(score_src + head, from[u], heads * sizeof(A));
                    }
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count) {
                        logit[u] = leaky_relu(own_score + logit[u], slope);
                        top = larger(top, logit[u]);
                    }
                softmax.raise(top);
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count && !is_masked(logit[u]))
                        softmax.add(logit[u], fast_exp(logit[u] - top), row[u]);
            }
        }
        for (int offset = lanes; offset < 32; offset *= 2) softmax.merge(softmax.across(offset));

        const bool writes = inside && groups.group == 0, first_of_head = column == head * dim;
        if (writes && piece.chunk >= 0) {
            A* const to = partial + (long long)piece.chunk * (TRAIN ? 2 : 1) * columns + column;
            store<A, VEC>(softmax.sum, to);
            if constexpr (TRAIN) store<A, VEC>(softmax.sum_pos, to + columns);
            if (first_of_head) {
                A* const of = state + ((long long)piece.chunk * heads + head) * 3;
                of[0] = softmax.top;
                of[1] = softmax.mass;
                of[2] = softmax.mass_pos;
            }
        }
        if (writes && piece.chunk < 0) {
            if (TRAIN && first_of_head)
                softmax.write_norm(norms + ((long long)piece.row * heads + head) * 2);
            const long long to = (long long)piece.row * columns + column;
            softmax.template write<T>(out + to, TRAIN ? c + to : nullptr);
        }
    }
}

// Merge the chunks of each long row; the arrays as above.
//
// Mapping: a block per chunk and 32 columns; that of a row's first chunk works, the others return.
// Its warps take turns at the chunks and the first one folds what they have, in order.
// Launch: (num_chunks, heads * dim / 32 rounded up) blocks of 256 threads.
template <typename T, bool TRAIN>
__global__ void __launch_bounds__(256, 2) gat_merge(
    const long long* __restrict__ indptr, const long long* __restrict__ chunk_row,
    const wide<T>* __restrict__ partial, const wide<T>* __restrict__ state,
    T* __restrict__ out, wide<T>* __restrict__ norms, T* __restrict__ c, int chunk, int heads,
    int dim) {
    using A = wide<T>;
    __shared__ Softmax<A, 1, TRAIN> of_warp[MERGERS][32];
    long long row;
    int num_chunks;
    if (!first_chunk(indptr, chunk_row, chunk, row, num_chunks)) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, columns = heads * dim;
    const int column = blockIdx.y * 32 + lane;
    const int head = column < columns ? column / dim : 0;
    auto softmax = Softmax<A, 1, TRAIN>::of_nothing();
    for (int k = warp; k < num_chunks && column < columns; k += MERGERS) {
        const long long at = blockIdx.x + k;
        const A* const from = partial + at * (TRAIN ? 2 : 1) * columns + column;
        const A* const of = state + (at * heads + head) * 3;
        softmax.merge({of[0], of[1], of[2], {from[0]}, {TRAIN ? from[columns] : A(0)}});
    }
    of_warp[warp][lane] = softmax;
    __syncthreads();
    if (warp > 0 || column >= columns) return;
    for (int other = 1; other < MERGERS; other++) softmax.merge(of_warp[other][lane]);
    if (TRAIN && column == head * dim)
        softmax.write_norm(norms + (row * heads + head) * 2);
    const long long to = row * columns + column;
    softmax.template write<T>(out + to, TRAIN ? c + to : nullptr);
}

// Backward over destinations; streams, nothing is gathered.
//
//   g, out, c    (num_dst, heads, dim) T
//   norms        (num_dst, heads, 2) wide
//   facts        (num_dst, heads, 4) wide, out: score_dst, top, 1 / mass, <g, out>; one load for an
//                edge
//   d_score_dst  (num_dst, heads) wide, out: (1 - slope) <g, c>
//
// Mapping: `lanes` lanes per destination and head.
// Launch: WARPS warps a block, a warp for every 32 / lanes of num_items = num_dst * heads.
template <typename T, int VEC>
__global__ void __launch_bounds__(128, 8) gat_backward_dst(
    const T* __restrict__ g, const T* __restrict__ out, const T* __restrict__ c,
    const wide<T>* __restrict__ score_dst, const wide<T>* __restrict__ norms,
    wide<T>* __restrict__ facts, wide<T>* __restrict__ d_score_dst, long long num_items, int dim,
    int lanes, wide<T> slope) {
    using A = wide<T>;
    const Groups groups(lanes);
    const long long warp = (long long)blockIdx.x * WARPS + threadIdx.x / 32;
    const long long item = warp * groups.count + groups.group;
    A with_out = 0, with_c = 0;
    if (item < num_items)
        for (int column = groups.member * VEC; column < dim; column += lanes * VEC) {
            const long long at = item * dim + column;
            const Vector<T, VEC> x = load<VEC>(g + at);
            const Vector<T, VEC> y = load<VEC>(out + at), z = load<VEC>(c + at);
#pragma unroll
            for (int i = 0; i < VEC; i++) {
                with_out += x.get(i) * y.get(i);
                with_c += x.get(i) * z.get(i);
            }
        }
    with_out = groups.sum_of_lanes(with_out);
    with_c = groups.sum_of_lanes(with_c);
    if (item >= num_items || groups.member > 0) return;
    const A row[4] = {score_dst[item], norms[item * 2], norms[item * 2 + 1], with_out};
    store<A, 4>(row, facts + item * 4);
    d_score_dst[item] = (1 - slope) * with_c;
}

// Backward over sources: one gather of g over the transpose, whose rows are sources.
//
//   g            (num_dst, heads, dim) T
//   h, d_h       (num_rows, heads, dim) T; d_h out
//   score_src, d_score_src   (num_rows, heads) wide; d_score_src out
//   facts        (num_dst, heads, 4) wide; from gat_backward_dst
//   partial, partial_score   (num_chunks, heads * dim) and (num_chunks, heads) wide, out; summed by
//                            sum_chunks
template <typename T, int VEC, bool DROP>
__global__ void __launch_bounds__(128, BLOCKS<T, 6>) gat_backward_src(
    const long long* __restrict__ indptr, const int* __restrict__ indices,
    const long long* __restrict__ chunk_row, const long long* __restrict__ chunk_begin,
    const long long* __restrict__ chunk_end, const T* __restrict__ g, const T* __restrict__ h,
    const wide<T>* __restrict__ score_src, const wide<T>* __restrict__ facts,
    T* __restrict__ d_h, wide<T>* __restrict__ d_score_src, wide<T>* __restrict__ partial,
    wide<T>* __restrict__ partial_score, int num_rows, int num_chunks, int chunk,
    int heads, int dim, int lanes, wide<T> slope, unsigned long long drop_below, long long seed,
    const long long* __restrict__ device_seed) {
    using A = wide<T>;
    Piece piece;
    if (!find_piece(
            indptr, chunk_row, chunk_begin, chunk_end, num_rows, num_chunks, chunk, piece))
        return;
    const Coins coins(drop_below, seed, device_seed);
    const Groups groups(lanes);
    const int lane = threadIdx.x % 32, columns = heads * dim;
    A d_score = 0;  // of the head whose number is the lane's
    for (int first = 0; first < columns; first += lanes * VEC) {
        const int column = first + groups.member * VEC;
        const bool inside = column < columns;
        const int head = inside && heads > 1 ? column / dim : 0;
        const A own_score = score_src[(long long)piece.row * heads + head];
        const T* const g_column = g + (inside ? column : 0);
        A sum[VEC] = {}, tilted[VEC] = {};  // of alpha g; and times the slope at the logit
        A dots = 0;                         // of alpha <g, out> times the slope at the logit
        int taking_part = 0;                // edges
#pragma unroll 1
        for (int done = 0; done < piece.count; done += 32) {
            int own;
            const int count = next_columns<DROP, false>(
                indices + piece.begin + done, piece.row, piece.count - done, coins, lane, own);
#pragma unroll 1
            for (int k = groups.group; k - groups.group < count; k += DEPTH * groups.count) {
                int from[DEPTH];
                groups.take_turns(own, k, from);
                Vector<T, VEC> row[DEPTH];
                Vector<A, 4> fact[DEPTH];
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count) {
                        row[u] = load<VEC>(row_at(g_column, from[u], columns * sizeof(T)));
                        fact[u] = load<4>(row_at(facts + head * 4, from[u], heads * 4 * sizeof(A)));
                    }
#pragma unroll
                for (int u = 0; u < DEPTH; u++)
                    if (k + u * groups.count < count && !is_masked(fact[u].at[0] + own_score)) {
                        const A scores = fact[u].at[0] + own_score;
                        const A steepness = scores > 0 ? A(1) : slope;
                        // Never above 1: the logit is the forward's to the last bit.
                        const A alpha =
                            fast_exp(leaky_relu(scores, slope) - fact[u].at[1]) * fact[u].at[2];
                        const A alpha_tilted = steepness * alpha;
                        taking_part++;
                        dots += alpha_tilted * fact[u].at[3];
#pragma unroll
                        for (int i = 0; i < VEC; i++) {
                            const A value = row[u].get(i);
                            sum[i] += alpha * value;
                            tilted[i] += alpha_tilted * value;
                        }
                    }
            }
        }
        dots = groups.sum_of_groups(dots);
        taking_part = groups.sum_of_groups(taking_part);
#pragma unroll
        for (int i = 0; i < VEC; i++) {
            sum[i] = groups.sum_of_groups(sum[i]);
            tilted[i] = groups.sum_of_groups(tilted[i]);
        }

        A part = 0;  // of <h, tilted> - dots; the dots count once a head
        if (inside) {
            const Vector<T, VEC> own_row = load<VEC>(h + (long long)piece.row * columns + column);
            if (column == head * dim) part = -dots;
#pragma unroll
            for (int i = 0; i < VEC; i++) part += own_row.get(i) * tilted[i];
            if (taking_part == 0) part = 0;  // also where h is NaN
            if (groups.group == 0 && piece.chunk >= 0)
                store<A, VEC>(sum, partial + (long long)piece.chunk * columns + column);
            if (groups.group == 0 && piece.chunk < 0)
                store<T, VEC>(sum, d_h + (long long)piece.row * columns + column);
        }
        const int past = first + lanes * VEC < columns ? first + lanes * VEC : columns;
        for (int of = first / dim; of <= (past - 1) / dim; of++) {  // the heads of this tile
            const A total = groups.sum_of_lanes(inside && head == of ? part : A(0));
            if (lane == of) d_score += total;
        }
    }
    if (lane < heads)
        (piece.chunk < 0 ? d_score_src + (long long)piece.row * heads
                         : partial_score + (long long)piece.chunk * heads)[lane] = d_score;
}

// Write the attention weights of every edge, for reading: give it a CSR of the rows of interest.
//
//   alpha  (num_edges, heads) wide, out
//
// Mapping: a block per row. Two passes: threads find the largest logit and the sum of their own
// edges, which are folded in order; then they write. A row of one edge costs as much as one of 128.
// Launch: num_rows blocks of 128 threads.
template <typename A>
__global__ void __launch_bounds__(128, 8) attention(
    const long long* __restrict__ indptr, const int* __restrict__ indices,
    const A* __restrict__ score_src, const A* __restrict__ score_dst, A* __restrict__ alpha,
    int heads, A slope) {
    __shared__ Softmax<A, 1, false> of_warp[WARPS];
    const long long row = blockIdx.x, begin = indptr[row], end = indptr[row + 1];
    for (int head = 0; head < heads; head++) {
        const A own_score = score_dst[row * heads + head];
        auto softmax = Softmax<A, 1, false>::of_nothing();
        for (long long e = begin + threadIdx.x; e < end; e += blockDim.x) {
            const A logit = leaky_relu(
                own_score + score_src[(long long)indices[e] * heads + head], slope);
            if (logit > softmax.top) softmax.raise(logit);
            softmax.mass += fast_exp(logit - softmax.top);
        }
        for (int offset = 1; offset < 32; offset *= 2) softmax.merge(softmax.across(offset));
        __syncthreads();  // until now the numbers of the head before were being read
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = softmax;
        __syncthreads();
        softmax = of_warp[0];
        for (int other = 1; other < WARPS; other++) softmax.merge(of_warp[other]);
        for (long long e = begin + threadIdx.x; e < end; e += blockDim.x) {
            const A logit = leaky_relu(
                own_score + score_src[(long long)indices[e] * heads + head], slope);
            const A weight = fast_exp(logit - softmax.top);
            alpha[e * heads + head] = is_masked(logit) ? A(0) : weight / softmax.mass;
        }
    }
}
