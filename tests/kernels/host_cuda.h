// Runs CUDA kernels on the CPU, by CUDA's rules, so that they can be tested without a GPU.
//
// With this header in place of CUDA's, g++ compiles a .cu file; tests/kernels/host.py builds and launches.
// Every CUDA thread is a fiber. Blocks run one after the other, and a thread runs until it has to
// wait for others. A seed other than 0 changes the order of lanes and warps, an odd one reverses
// that of blocks.
//
// A launch stops with a message if
//   - a warp operation (*_sync) cannot go on: a lane that its mask names has exited, waits
//     elsewhere, or came with another mask or from another line of the source;
//   - a mask leaves out the lane that gives it, or the lane that a shuffle reads;
//   - not all threads of a block come to the same __syncthreads.
// This is stricter than the hardware, which forgives lanes that have exited and does not look at
// lines. A barrier that is missing shows as a result that depends on the seed. Shared memory is
// 0xff bytes (NaN) when a block begins. With -fsanitize=address,undefined an access out of bounds,
// a misaligned vector and an integer overflow stop the process; past the end of a shared array only
// where it is indexed by its name.
//
// Not seen: races between blocks, how __expf, __logf and fused multiply-adds round, that subnormal
// floats may become 0, registers that were never set, how fast it is.

#pragma once

#include <link.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <type_traits>
#include <utility>

#if !defined(__x86_64__) && !defined(GK_UCONTEXT)
#define GK_UCONTEXT  // fibers by the C library: anywhere, but many times as slow
#endif
#ifdef GK_UCONTEXT
#include <ucontext.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __asan_unpoison_memory_region(...) (void)0
#define __sanitizer_start_switch_fiber(...) (void)0
#define __sanitizer_finish_switch_fiber(...) (void)0
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __shared__ static thread_local  // the linker lays them out together: see find_shared

struct GkIndex {
    unsigned x, y, z;
};
static GkIndex threadIdx, blockIdx, blockDim, gridDim;

namespace gk {

// Fibers

constexpr size_t STACK = 64 << 10;  // bytes; as many below it may not be touched

#ifdef GK_UCONTEXT
using Context = ucontext_t;

__forceinline__ void swap(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    makecontext(&context, entry, 0);
}
#else
using Context = void**;  // the stack; on top of it the registers that a call must keep

extern "C" void gk_swap(Context& from, Context to);
asm(R"(
    .pushsection .text
    .type gk_swap, @function
gk_swap:
    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp
    ret
    .popsection)");

__forceinline__ void swap(Context& from, Context to) { gk_swap(from, to); }

inline void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
    context = (Context)(stack + size) - 8;
    context[6] = (void*)entry;  // where gk_swap returns to
}
#endif

// The block that runs

struct Operation {
    const char *name, *file;
    int line;
    unsigned mask;
};

struct Thread {
    Context context;
    const void* stack;                 // lowest address
    size_t stack_size;                 // bytes
    void* fake_stack;                  // AddressSanitizer's
    Operation at;                      // what it waits for
    unsigned long long value, result;  // what it brings to a warp operation and takes away
    int from;                          // the lane whose value it takes; -1: a bit of every lane's
};

struct Warp {
    Thread lanes[32];
    unsigned ready, in_operation, in_barrier;  // a bit for each lane; none: it has exited
};

static Warp warps[32];
static Warp* warp;  // that runs,
static int lane;    // its lane that runs,
static int turn;    // and the place of the lane in
static int lane_order[32];
static int warp_order[32];
static Thread scheduler;  // where gk_launch was called
static void (*kernel)(const char* args);
static const char* kernel_args;
static char message[4000];  // empty: no error
static int message_length;

__attribute__((format(printf, 1, 2))) inline void say(const char* format, ...) {
    va_list values;
    va_start(values, format);
    const int room = sizeof message - message_length;
    const int length = vsnprintf(message + message_length, room, format, values);
    message_length += length < room ? length : room - 1;
    va_end(values);
}

inline void say_where() {
    say("block (%u, %u, %u), warp %d: ", blockIdx.x, blockIdx.y, blockIdx.z, int(warp - warps));
}

inline void say_operation(const Operation& at) {
    const char* slash = strrchr(at.file, '/');
    say(" %s (%s:%d", at.name, slash ? slash + 1 : at.file, at.line);
    if (at.mask) say(", mask 0x%08x", at.mask);
    say("). ");
}

__forceinline__ bool same(const Operation& a, const Operation& b) {
    return a.name == b.name && a.line == b.line && a.mask == b.mask;
}

inline unsigned existing(const Warp& warp) {
    const unsigned threads = blockDim.x - (&warp - warps) * 32;
    return threads < 32 ? (1u << threads) - 1 : ~0u;
}

// Say what the lanes of a warp are waiting for.
inline void say_warp() {
    say_where();
    const unsigned waiting = warp->in_operation | warp->in_barrier;
    for (unsigned left = waiting, together; left; left &= ~together) {
        const Operation& at = warp->lanes[__builtin_ctz(left)].at;
        together = 0;
        for (int i = 0; i < 32; i++)
            if (left >> i & 1 && same(warp->lanes[i].at, at)) together |= 1u << i;
        say("lanes 0x%08x wait at", together);
        say_operation(at);
    }
    const unsigned exited = existing(*warp) & ~waiting;
    if (exited) say("lanes 0x%08x have exited. ", exited);
}

// Leave this thread, or the scheduler, for the next lane that is ready; if there is none or there
// was an error, for the scheduler.
inline void wait(Thread& self) {
    Thread* next = &scheduler;
    while (warp->ready && !message_length && next == &scheduler) {
        turn = (turn + 1) % 32;
        if (!(warp->ready >> lane_order[turn] & 1)) continue;
        lane = lane_order[turn];
        threadIdx.x = (warp - warps) * 32 + lane;
        warp->ready &= ~(1u << lane);
        next = &warp->lanes[lane];
    }
    if (next == &self) return;
    __sanitizer_start_switch_fiber(&self.fake_stack, next->stack, next->stack_size);
    swap(self.context, next->context);
    __sanitizer_finish_switch_fiber(self.fake_stack, nullptr, nullptr);
}

// Give every lane its result, if all of them have come to the same operation.
inline void complete(const Operation& at) {
    unsigned ballot = 0;
    for (unsigned left = at.mask; left; left &= left - 1) {
        const int i = __builtin_ctz(left);
        if (!same(warp->lanes[i].at, at)) return;
        ballot |= unsigned(warp->lanes[i].value != 0) << i;
    }
    for (unsigned left = at.mask; left; left &= left - 1) {
        Thread& thread = warp->lanes[__builtin_ctz(left)];
        thread.result = thread.from < 0 ? ballot : warp->lanes[thread.from].value;
        if (thread.from < 0 || at.mask >> thread.from & 1) continue;
        say_where();
        say("lane %d reads lane %d, which is not in", __builtin_ctz(left), thread.from);
        return say_operation(at);
    }
    warp->in_operation &= ~at.mask;
    warp->ready |= at.mask;
}

inline unsigned long long operate(unsigned long long value, int from, const Operation& at) {
    Thread& self = warp->lanes[lane];
    self.at = at;
    self.value = value;
    self.from = from;
    warp->in_operation |= 1u << lane;
    if (!(at.mask >> lane & 1)) {
        say_where();
        say("lane %d is not in its own mask at", lane);
        say_operation(at);
    } else if ((warp->in_operation & at.mask) == at.mask) {
        complete(at);
    }
    wait(self);
    return self.result;
}

template <typename T>
T shuffle(T value, int from, int width, const Operation& at) {
    if (width < 1 || width > 32 || width & (width - 1)) {
        say_where();
        say("lane %d gives a width of %d to", lane, width);
        say_operation(at);
        wait(warp->lanes[lane]);
    }
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = operate(bits, from, at);
    memcpy(&value, &bits, sizeof value);
    return value;
}

// The scheduler

inline void thread_main() {
    if (!scheduler.stack)  // the first thread comes from there, and so can ask where it is
        __sanitizer_finish_switch_fiber(nullptr, &scheduler.stack, &scheduler.stack_size);
    else
        __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
    kernel(kernel_args);
    wait(warp->lanes[lane]);
}

inline void start_thread(Thread& thread, int lane) {
    if (!thread.stack) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        char* memory = (char*)mmap(nullptr, 2 * STACK, PROT_READ | PROT_WRITE, flags, -1, 0);
        mprotect(memory, STACK, PROT_NONE);
        thread.stack = memory + STACK;
        thread.stack_size = STACK - lane * 128;  // so that the tops do not share lines of the cache
    }
    __asan_unpoison_memory_region(thread.stack, STACK);
    prepare(thread.context, (char*)thread.stack, thread.stack_size, thread_main);
}

inline void run_block() {
    const int num_warps = (blockDim.x + 31) / 32;
    for (Warp* w = warps; w < warps + num_warps; w++) {
        w->ready = existing(*w);
        w->in_operation = w->in_barrier = 0;
        for (int i = 0; i < 32 && w->ready >> i & 1; i++) start_thread(w->lanes[i], i);
    }
    for (bool exited = false; !exited;) {
        for (int w : warp_order) {
            if (w >= num_warps) continue;
            warp = &warps[w];
            turn = 31;
            wait(scheduler);  // until the warp can do no more
            if (warp->in_operation && !message_length) say_warp();
            if (message_length) return;
        }
        exited = true;
        bool together = true;
        for (warp = warps; warp < warps + num_warps; warp++) {
            exited &= !warp->in_barrier;
            together &= warp->in_barrier == existing(*warp);
            for (unsigned left = warp->in_barrier; left; left &= left - 1)
                together &= same(warp->lanes[__builtin_ctz(left)].at, warps->lanes[0].at);
        }
        for (warp = warps; !exited && warp < warps + num_warps; warp++) {
            if (!together) say_warp();
            warp->ready = warp->in_barrier;
            warp->in_barrier = 0;
        }
    }
}

inline void shuffle_order(int* order, unsigned long long& random) {
    for (int i = 0; i < 32; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        const int j = (random >> 33) % (i + 1);
        order[i] = order[j];
        order[j] = i;
    }
}

// Shared memory is all that is thread_local in this library, so the linker has put it into one
// segment.
__shared__ char in_shared;
static char* shared;
static size_t shared_size;

inline int find_shared(dl_phdr_info* library, size_t, void* inside) {
    const auto begin = (char*)library->dlpi_tls_data;
    for (int i = 0; begin && i < library->dlpi_phnum; i++) {
        const auto& segment = library->dlpi_phdr[i];
        if (segment.p_type != PT_TLS || size_t((char*)inside - begin) >= segment.p_memsz) continue;
        shared = begin;
        shared_size = segment.p_memsz;
    }
    return shared != nullptr;  // found: no need to see more libraries
}

// What host.py calls

// A kernel that takes its arguments packed, 8 bytes each, and can say their types as a letter and
// a size: "*f4 i8" for a pointer to float and a long long; V is a class.
struct Kernel {
    void (*call)(const char* args);
    void (*say_types)();
};
extern const Kernel kernels[];  // host.py writes them behind the source

template <typename T>
void say_type() {
    if constexpr (std::is_pointer_v<T>) {
        say("*");
        say_type<std::remove_cv_t<std::remove_pointer_t<T>>>();
    } else {
        const char letter = std::is_class_v<T> ? 'V' : std::is_floating_point_v<T> ? 'f' : 'i';
        say("%c%zu ", letter, sizeof(T));
    }
}

template <typename T>
T unpack(const char* from) {
    static_assert(sizeof(T) <= 8);
    T value;
    memcpy(&value, from, sizeof value);
    return value;
}

template <auto kernel>
struct Launch;
template <typename... T, void (*kernel)(T...)>
struct Launch<kernel> {
    template <size_t... I>
    static void call_with(const char* args, std::index_sequence<I...>) {
        kernel(unpack<T>(args + 8 * I)...);
    }
    static void call(const char* args) { call_with(args, std::index_sequence_for<T...>()); }
    static void say_types() { (say_type<T>(), ...); }
};
template <auto kernel>
constexpr Kernel describe = {Launch<kernel>::call, Launch<kernel>::say_types};

extern "C" __attribute__((visibility("default"))) const char* gk_types(int which) {
    message[message_length = 0] = 0;
    kernels[which].say_types();
    return message;
}

// Return what went wrong, or an empty string.
extern "C" __attribute__((visibility("default"))) const char* gk_launch(
    int which, const unsigned* blocks, unsigned threads, const char* args, unsigned seed) {
    message[message_length = 0] = 0;
    kernel = kernels[which].call;
    kernel_args = args;
    gridDim = {blocks[0], blocks[1], blocks[2]};
    blockDim = {threads, 1, 1};
    scheduler.stack = nullptr;
    shared = nullptr;
    dl_iterate_phdr(find_shared, &in_shared);
    unsigned long long random = seed;
    for (int i = 0; i < 32; i++) warp_order[i] = lane_order[i] = i;
    if (seed) shuffle_order(warp_order, random), shuffle_order(lane_order, random);
    const unsigned long long num_blocks = (unsigned long long)blocks[0] * blocks[1] * blocks[2];
    for (unsigned long long b = 0; b < num_blocks && !message_length; b++) {
        const unsigned long long at = seed % 2 ? num_blocks - 1 - b : b;
        blockIdx.x = at % blocks[0];
        blockIdx.y = at / blocks[0] % blocks[1];
        blockIdx.z = at / blocks[0] / blocks[1];
        memset(shared, 0xff, shared_size);
        run_block();
    }
    return message;
}

}  // namespace gk

// What kernels call. The file and line of a call are for messages and to tell calls apart.

#define GK_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define GK_AT {__func__, file, line, mask}

inline void __syncthreads(GK_HERE) {
    gk::warp->lanes[gk::lane].at = {__func__, file, line, 0};
    gk::warp->in_barrier |= 1u << gk::lane;
    gk::wait(gk::warp->lanes[gk::lane]);
}

inline void __syncwarp(unsigned mask = ~0u, GK_HERE) { gk::operate(0, -1, GK_AT); }

inline unsigned __ballot_sync(unsigned mask, int predicate, GK_HERE) {
    return gk::operate(predicate != 0, -1, GK_AT);
}

inline int __any_sync(unsigned mask, int predicate, GK_HERE) {
    return gk::operate(predicate != 0, -1, GK_AT) != 0;
}

inline int __all_sync(unsigned mask, int predicate, GK_HERE) {
    return gk::operate(predicate != 0, -1, GK_AT) == mask;
}

// Lanes are cut into groups of `width`. Out of its group a lane reads itself, except by xor, which
// may read earlier groups.
#define GK_FOR(T)                                                                              \
    inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, GK_HERE) {        \
        return gk::shuffle(value, (gk::lane & -width) | (source & (width - 1)), width, GK_AT); \
    }                                                                                          \
    inline T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32, GK_HERE) {      \
        const int from = gk::lane ^ (flip & 31), last = gk::lane | (width - 1);                \
        return gk::shuffle(value, from > last ? gk::lane : from, width, GK_AT);                \
    }                                                                                          \
    inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, GK_HERE) {    \
        const int from = gk::lane - int(by & 31), first = gk::lane & -width;                   \
        return gk::shuffle(value, from < first ? gk::lane : from, width, GK_AT);               \
    }                                                                                          \
    inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, GK_HERE) {  \
        const int from = gk::lane + int(by & 31), last = gk::lane | (width - 1);               \
        return gk::shuffle(value, from > last ? gk::lane : from, width, GK_AT);                \
    }
GK_FOR(int)
GK_FOR(unsigned)
GK_FOR(long)
GK_FOR(unsigned long)
GK_FOR(long long)
GK_FOR(unsigned long long)
GK_FOR(float)
GK_FOR(double)
#undef GK_FOR

#define GK_FOR(T)                                    \
    inline T max(T a, T b) { return a < b ? b : a; } \
    inline T min(T a, T b) { return b < a ? b : a; }
GK_FOR(int)
GK_FOR(unsigned)
GK_FOR(long long)
GK_FOR(unsigned long long)
#undef GK_FOR
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }

#define __expf expf  // macros, because the C library declares functions of these names
#define __logf logf

template <typename T>
T __ldg(const T* address) {
    static_assert(std::is_arithmetic_v<T>);
    return *address;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }

inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }

// Half precision, which gadkit.cuh converts in PTX.
inline float gk_half_to_float(unsigned short bits) { return __builtin_bit_cast(_Float16, bits); }
inline unsigned short gk_float_to_half(float x) {
    return __builtin_bit_cast(unsigned short, _Float16(x));
}
