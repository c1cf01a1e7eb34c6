// Just enough of a CUDA device to run kernels on the host: one block, or cluster of blocks, after the other, each thread of it a fiber that
// runs until it meets a barrier or an exchange within its warp. The static shared memory of a cluster's blocks is one; what its blocks have
// each lies in their dynamic shared memory.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __cluster_dims__(...)
#define __constant__
#define __shared__ static
using std::max;
using std::min;

struct Index { unsigned x; };
struct uint2 { unsigned x, y; };
static Index threadIdx, blockIdx;

namespace device {
enum State { READY, BLOCK, WARP, GROUP, CLUSTER, DONE };
struct Fiber { ucontext_t context; std::vector<char> stack; State state; uint64_t word; };
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static size_t running;
static std::function<void()> body;
// Threads of a block, and how many meetings of the cluster each thread has begun and ended.
static size_t block;
static std::vector<size_t> begun, ended;

static void yield(State state) {
    Fiber& own = fibers[running];
    own.state = state;
    swapcontext(&own.context, &scheduler);
}

static void entry() {
    body();
    yield(DONE);
}

// Lets go whoever waits at a barrier that all living threads of its block or warp have reached.
static bool release(State state, size_t from, size_t to) {
    bool any = false;
    for (size_t i = from; i < to; ++i) {
        if (fibers[i].state == DONE) continue;
        if (fibers[i].state != state) return false;
        any = true;
    }
    for (size_t i = from; i < to; ++i)
        if (fibers[i].state == state) fibers[i].state = READY;
    return any;
}

static void run_cluster(size_t first, size_t blocks, size_t each) {
    const size_t threads = blocks * each;
    block = each;
    begun.assign(threads, 0);
    ended.assign(threads, 0);
    fibers.resize(std::max(fibers.size(), threads));
    for (size_t i = 0; i < threads; ++i) {
        Fiber& f = fibers[i];
        f.stack.resize(256 << 10);
        f.state = READY;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.data();
        f.context.uc_stack.ss_size = f.stack.size();
        makecontext(&f.context, entry, 0);
    }
    for (;;) {
        bool moved = false, alive = false;
        for (size_t i = 0; i < threads; ++i) {
            if (fibers[i].state == DONE) continue;
            alive = true;
            if (fibers[i].state != READY) continue;
            moved = true;
            running = i;
            threadIdx.x = i % each;
            blockIdx.x = first + i / each;
            swapcontext(&scheduler, &fibers[i].context);
        }
        if (!alive) return;
        for (size_t b = 0; b < threads; b += each) {
            for (size_t w = b; w < b + each; w += 32) moved |= release(WARP, w, std::min(w + 32, b + each));
            for (size_t w = b; w < b + each; w += 128) moved |= release(GROUP, w, std::min(w + 128, b + each));
            moved |= release(BLOCK, b, b + each);
        }
        // Whoever waits for a meeting goes on when all who are there have begun it.
        for (size_t i = 0; i < threads; ++i) {
            if (fibers[i].state != CLUSTER) continue;
            bool all = true;
            for (size_t j = 0; j < threads; ++j) all &= fibers[j].state == DONE || begun[j] > ended[i];
            if (all) fibers[i].state = READY, ++ended[i], moved = true;
        }
        if (!moved) {
            std::fprintf(stderr, "threads wait for each other at different places\n");
            std::abort();
        }
    }
}

template <class T> T exchange(T value, size_t from) {
    static_assert(sizeof(T) <= 8, "a word or two");
    std::memcpy(&fibers[running].word, &value, sizeof(T));
    yield(WARP);
    T out;
    std::memcpy(&out, &fibers[from].word, sizeof(T));
    yield(WARP);
    return out;
}

template <class... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel((P)arguments[I]...);
}

template <class... P> void launch(void (*kernel)(P...), void** arguments, unsigned blocks, unsigned threads, unsigned cluster) {
    body = [=] { call(kernel, arguments, std::index_sequence_for<P...>{}); };
    for (unsigned b = 0; b < blocks; b += cluster) run_cluster(b, cluster, threads);
}

template <class To, class From> To bits(From v) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To out;
    std::memcpy(&out, &v, sizeof(To));
    return out;
}
template <class F> long long saturating(F v) {
    return v >= (F)9223372036854775808.0 ? INT64_MAX : v <= (F)-9223372036854775808.0 ? INT64_MIN : (long long)v;
}

inline float from_f16(unsigned short h) {
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const float sign = h >> 15 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp((float)mantissa, -24));
}
// Round to nearest, ties to even.
inline unsigned short to_f16(float v) {
    const unsigned short sign = std::signbit(v) ? 0x8000 : 0;
    v = std::fabs(v);
    if (v != v) return 0x7fff;
    if (v >= 65520.0f) return sign | 0x7c00;
    if (v < 6.103515625e-5f) return sign | (unsigned short)std::nearbyint(std::ldexp(v, 24));
    int exponent;
    const float mantissa = std::frexp(v, &exponent);
    const unsigned rounded = (unsigned)std::nearbyint(std::ldexp(mantissa, 11));
    return sign | (unsigned short)(((exponent + 13) << 10) + rounded);
}
inline unsigned short to_bf16(float v) {
    if (v != v) return 0x7fff;
    const uint32_t b = bits<uint32_t>(v);
    return (b + 0x7fff + (b >> 16 & 1)) >> 16;
}
inline float larger(float a, float b) { return a != a || b != b ? NAN : a < b ? b : a; }
inline float smaller(float a, float b) { return a != a || b != b ? NAN : b < a ? b : a; }
} // namespace device

static void __syncthreads() { device::yield(device::BLOCK); }
static void __threadfence_system() {}
static float __uint_as_float(unsigned v) { return device::bits<float>(v); }
static float __int_as_float(int v) { return device::bits<float>(v); }
static int __float_as_int(float v) { return device::bits<int>(v); }
static double __longlong_as_double(long long v) { return device::bits<double>(v); }
static long long __float2ll_rz(float v) { return device::saturating(v); }
static long long __double2ll_rz(double v) { return device::saturating(v); }
static float rsqrtf(float v) { return 1.0f / sqrtf(v); }
static double rsqrt(double v) { return 1.0 / sqrt(v); }
template <class T> T __shfl_xor_sync(unsigned, T v, int distance) { return device::exchange(v, device::running ^ distance); }
template <class T> T __shfl_up_sync(unsigned, T v, int distance) {
    const size_t lane = device::running % 32;
    return device::exchange(v, lane >= (size_t)distance ? device::running - distance : device::running);
}
