// Kernels for test_host.py: what host_cuda.h must compute, and mistakes that it must notice.

#include "host_cuda.h"

constexpr unsigned ALL = 0xffffffffu;

// out (4, 32): the four shuffles of `in`.
template <typename T>
__global__ void shuffles(const T* __restrict__ in, T* __restrict__ out, int by, int width) {
    const T value = in[threadIdx.x];
    out[threadIdx.x] = __shfl_sync(ALL, value, by, width);
    out[threadIdx.x + 32] = __shfl_xor_sync(ALL, value, by, width);
    out[threadIdx.x + 64] = __shfl_up_sync(ALL, value, by, width);
    out[threadIdx.x + 96] = __shfl_down_sync(ALL, value, by, width);
}

// out (3, 32): ballot, any and all of the lanes in `mask`.
__global__ void votes(unsigned* out, unsigned yes, unsigned mask) {
    if (!(mask >> threadIdx.x & 1)) return;
    out[threadIdx.x] = __ballot_sync(mask, yes >> threadIdx.x & 1 ? 2 : 0);
    out[threadIdx.x + 32] = __any_sync(mask, yes >> threadIdx.x & 1);
    out[threadIdx.x + 64] = __all_sync(mask, yes >> threadIdx.x & 1);
}

// The halves of a warp go their own ways, and the upper one ends first.
__global__ void halves(int* out) {
    const int lane = threadIdx.x;
    int sum = lane;
    if (lane < 16) {
        for (int i = 0; i < 5; i++) sum += __shfl_sync(0x0000ffffu, sum, 15 - lane);
        __syncwarp(0x0000ffffu);
    } else {
        sum = __shfl_sync(0xffff0000u, sum, 47 - lane);
    }
    sum += __shfl_xor_sync(ALL, sum, 16);
    if (lane >= 16) return;
    out[lane] = __shfl_xor_sync(0x0000ffffu, sum, 1);
}

// out (num_blocks, 12): what the last thread of each block knows about itself.
__global__ void indices(unsigned* out) {
    if (threadIdx.x != blockDim.x - 1) return;
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const GkIndex here[] = {threadIdx, blockIdx, blockDim, gridDim};
    for (int i = 0; i < 4; i++) {
        out[block * 12 + 3 * i] = here[i].x;
        out[block * 12 + 3 * i + 1] = here[i].y;
        out[block * 12 + 3 * i + 2] = here[i].z;
    }
}

__global__ void bits(const float* x, int* out) {
    const int i[] = {
        __popc(0xf00fu), __popcll(0xf00000000000000full), __ffs(0), __ffs(40), __clz(0), __clz(1),
        max(-1, 2), min(-1, 2), (int)(max(-1ll, 1ll << 40) >> 40), (int)max(1u, 0xffffffffu),
        __float_as_int(x[0]), (int)__float_as_uint(x[0]), (int)__int_as_float(0x40400000),
        (int)__uint_as_float(0x40400000u), (int)__ldg(x), (int)max(__uint_as_float(~0u), 5.0f),
        (int)fminf(2.5f, x[0]), (int)__expf(3.0f), (int)__logf(8.0f), (int)exp(3.0), (int)log(8.0),
    };
    for (unsigned k = threadIdx.x; k < sizeof i / sizeof i[0]; k += 32) out[k] = i[k];
}

// Every block reports what it finds in shared memory, and leaves something else there.
__global__ void finds(unsigned* out) {
    __shared__ unsigned left[3][32];
    out[blockIdx.x * 32 + threadIdx.x] = left[2][threadIdx.x];
    left[2][threadIdx.x] = 1;
}

template <typename T, int SIZE>
__global__ void finds_of(T* out) {
    __shared__ T left[SIZE];
    out[blockIdx.x * SIZE + threadIdx.x] = left[threadIdx.x];
    left[threadIdx.x] = 1;
}

// Turn a block's numbers round, and those of every warp.
template <bool BARRIER>
__global__ void reverse(const int* in, int* out) {
    __shared__ int numbers[256];
    const int last = blockDim.x - 1;
    for (int round = 0; round < 2; round++) {
        numbers[threadIdx.x] = in[threadIdx.x] + round;
        if (BARRIER) __syncthreads();
        out[threadIdx.x] = numbers[last - threadIdx.x];
        if (BARRIER) __syncthreads();
    }
}

template <bool BARRIER>
__global__ void rotate(int* numbers) {
    const int next = numbers[(threadIdx.x + 1) % 32];
    if (BARRIER) __syncwarp();
    numbers[threadIdx.x] = next;
}

__global__ void to_half(const float* in, unsigned short* out, int count) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = gk_float_to_half(in[i]);
}

__global__ void from_half(const unsigned short* in, float* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    out[i] = gk_half_to_float(in[i]);
}

struct Pair {
    float at[2];
};

__global__ void takes(
    const float* a, const long long* b, const Pair* c, int d, long long e, unsigned long long f,
    float g, double h, double* out) {
    if (threadIdx.x == 0) *out = (a ? *a : 0) + *b + c->at[1] + d + e + f + g + h;
}

// Mistakes

__global__ void shuffles_in_a_branch() {
    if (threadIdx.x % 32 < 16) __shfl_sync(ALL, 1, 0);
    __syncwarp();
}

__global__ void shuffles_after_an_exit() {
    if (threadIdx.x == 40) return;
    __shfl_xor_sync(ALL, 1, 1);
}

__global__ void is_not_in_its_mask() { __ballot_sync(0x0000ffffu, 1); }

__global__ void reads_a_lane_outside() {
    if (threadIdx.x < 16) __shfl_sync(0x0000ffffu, 1, 16);
}

__global__ void gives_two_masks() { __syncwarp(threadIdx.x % 32 < 16 ? ALL : 0xffff0001u); }

__global__ void does_two_things() {
    if (threadIdx.x % 2 == 0)
        __any_sync(ALL, 1);
    else
        __all_sync(ALL, 1);
}

__global__ void gives_a_wrong_width() { __shfl_sync(ALL, 1, 0, 12); }

__global__ void has_a_barrier_in_a_branch() {
    if (threadIdx.x < 32) __syncthreads();
}

__global__ void has_two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void waits_for_a_lane_at_a_barrier() {
    if (threadIdx.x == 7) __syncthreads();
    __syncwarp();
}

// Mistakes that only the sanitizers see, if `count` is too large or does not fit a vector

__global__ void reads_past_the_end(const float* in, float* out, int count) {
    out[threadIdx.x] = in[threadIdx.x + count];
}

__global__ void indexes_past_the_end(const float* in, float* out, int count) {
    __shared__ float rows[2][33];
    rows[0][threadIdx.x + count] = in[threadIdx.x];
    out[threadIdx.x] = rows[0][threadIdx.x];
}

__global__ void loads_a_vector_beside(const float* in, float* out, int count) {
    struct alignas(16) Vector {
        float at[4];
    };
    out[threadIdx.x] = reinterpret_cast<const Vector*>(in + count)->at[0];
}

__global__ void overflows(const float* in, float* out, int count) {
    out[threadIdx.x] = in[0] + count * count;
}
