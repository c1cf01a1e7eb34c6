// What every kernel may use. Element types as they lie in memory, and the functions of scalar expressions, which compute
// as the reference backend defines them: halves in f32, integers wrapping, NaN kept by extrema.

typedef float f32;
typedef double f64;
typedef unsigned char u8;
typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned long long u64;
struct f16 { unsigned short bits; };
struct bf16 { unsigned short bits; };
struct b8 { unsigned char byte; };

// Signed, so that steps may be negative.
#define THREAD ((int)threadIdx.x)
#define BLOCK ((int)blockIdx.x)
#define DEVICE static __device__ __forceinline__

// The kernel after this one may start as soon as all blocks of this one have; what it reads is there when it has waited.
DEVICE void release_next() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
// Waits until all that kernels ahead write can be read, and nothing that they read is still needed.
DEVICE void await_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// N neighbours, loaded and stored at once.
template <class T, int N> struct alignas(sizeof(T) * N) Pack { T at[N]; };

// From memory to registers.
DEVICE f32 get(f16 v) { f32 r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(v.bits)); return r; }
DEVICE f32 get(bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }
DEVICE bool get(b8 v) { return v.byte != 0; }
// Registers of their own: NVRTC 13.0 makes vectors of bytes of what it finds side by side, and shifts them without their signs.
DEVICE i8 get(i8 v) { int r = v; asm("" : "+r"(r)); return (i8)r; }
DEVICE u8 get(u8 v) { int r = v; asm("" : "+r"(r)); return (u8)r; }
DEVICE i16 get(i16 v) { int r = v; asm("" : "+r"(r)); return (i16)r; }
template <class T> DEVICE T get(T v) { return v; }

DEVICE unsigned short bits_f16(f32 v) { unsigned short r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }
DEVICE unsigned short bits_bf16(f32 v) { unsigned short r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(v)); return r; }

// From registers to memory, rounding to nearest even.
DEVICE void put(f16& to, f32 v) { to.bits = bits_f16(v); }
DEVICE void put(bf16& to, f32 v) { to.bits = bits_bf16(v); }
DEVICE void put(f16& to, f16 v) { to = v; }
DEVICE void put(bf16& to, bf16 v) { to = v; }
DEVICE void put(b8& to, bool v) { to.byte = v; }
template <class T> DEVICE void put(T& to, T v) { to = v; }

// Conversions.
DEVICE f32 round_f16(f32 v) { f16 h; put(h, v); return get(h); }
DEVICE f32 round_bf16(f32 v) { bf16 h; put(h, v); return get(h); }

DEVICE f32 nan_of(f32) { return __int_as_float(0x7fc00000); }
DEVICE f64 nan_of(f64) { return __longlong_as_double(0x7ff8000000000000LL); }
DEVICE bool is_nan(f32 v) { return v != v; }
DEVICE bool is_nan(f64 v) { return v != v; }
template <class T> DEVICE bool is_nan(T) { return false; }
DEVICE bool is_inf(f32 v) { return fabsf(v) == __int_as_float(0x7f800000); }
DEVICE bool is_inf(f64 v) { return fabs(v) == __longlong_as_double(0x7ff0000000000000LL); }

// Extrema: NaN wins, the first among equals stays.
template <class T> DEVICE T max_of(T a, T b) { return is_nan(a) || is_nan(b) ? (is_nan(a) ? a : b) : (a < b ? b : a); }
template <class T> DEVICE T min_of(T a, T b) { return is_nan(a) || is_nan(b) ? (is_nan(a) ? a : b) : (b < a ? b : a); }
DEVICE f32 max_of(f32 a, f32 b) { f32 r; asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }
DEVICE f32 min_of(f32 a, f32 b) { f32 r; asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b)); return r; }

template <class T> DEVICE T sign_of(T v) { return (T)((v > (T)0) - (v < (T)0)); }

// Integers wrap at their width.
template <class T> DEVICE T add_wrap(T a, T b) { return (T)((u64)a + (u64)b); }
template <class T> DEVICE T sub_wrap(T a, T b) { return (T)((u64)a - (u64)b); }
template <class T> DEVICE T mul_wrap(T a, T b) { return (T)((u64)a * (u64)b); }
template <class T> DEVICE T neg_wrap(T a) { return (T)(0 - (u64)a); }
template <class T> DEVICE T abs_wrap(T a) { return a < 0 ? neg_wrap(a) : a; }

// Division by zero gives 0; the least integer by -1 wraps.
template <class T> DEVICE T div_trunc(T a, T b) { return b == 0 ? 0 : b == (T)-1 ? (T)(0 - (u64)a * (u64)((T)-1 < 0 ? 1 : -1)) : (T)(a / b); }
DEVICE u8 div_trunc(u8 a, u8 b) { return b == 0 ? 0 : a / b; }
template <class T> DEVICE T rem_trunc(T a, T b) { return b == 0 || b == (T)-1 ? 0 : (T)(a % b); }
DEVICE u8 rem_trunc(u8 a, u8 b) { return b == 0 ? 0 : a % b; }
template <class T> DEVICE T div_floor(T a, T b) {
    T q = div_trunc(a, b);
    return (T)(q - (rem_trunc(a, b) != 0 && (a < 0) != (b < 0)));
}
template <class T> DEVICE T rem_floor(T a, T b) {
    T r = rem_trunc(a, b);
    return r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;
}
DEVICE f32 fmod_of(f32 a, f32 b) { return fmodf(a, b); }
DEVICE f64 fmod_of(f64 a, f64 b) { return fmod(a, b); }
DEVICE f32 floor_of(f32 a) { return floorf(a); }
DEVICE f64 floor_of(f64 a) { return floor(a); }
DEVICE f32 copysign_of(f32 a, f32 b) { return copysignf(a, b); }
DEVICE f64 copysign_of(f64 a, f64 b) { return copysign(a, b); }
template <class T> DEVICE T rem_float(T a, T b) {
    T r = fmod_of(a, b);
    return r != (T)0 && (r < (T)0) != (b < (T)0) ? r + b : r;
}
// Python's //: the quotient of the exact remainder's division.
template <class T> DEVICE T div_floor_float(T a, T b) {
    if (b == (T)0) return a / b;
    T rest = fmod_of(a, b);
    T quotient = (a - rest) / b;
    if (rest != (T)0 && (b < (T)0) != (rest < (T)0)) quotient -= (T)1;
    if (quotient == (T)0) return copysign_of((T)0, a / b);
    T floor = floor_of(quotient);
    return quotient - floor > (T)0.5 ? floor + (T)1 : floor;
}
template <class T> DEVICE T pow_int(T base, T exponent) {
    if (exponent < 0) return base == 1 ? (T)1 : base == (T)-1 ? (exponent % 2 == 0 ? (T)1 : (T)-1) : (T)0;
    u64 out = 1, square = (u64)base;
    for (u64 rest = (u64)exponent; rest; rest >>= 1) {
        if (rest & 1) out *= square;
        square *= square;
    }
    return (T)out;
}
template <class T> DEVICE T shift_left(T a, T b) { return b >= 0 && b < (T)(8 * sizeof(T)) ? (T)((u64)a << b) : (T)0; }
template <class T> DEVICE T shift_right(T a, T b) {
    return a >> (b >= 0 && b < (T)(8 * sizeof(T) - 1) ? b : (T)(8 * sizeof(T) - 1));
}
DEVICE u8 shift_right(u8 a, u8 b) { return b < 8 ? a >> b : 0; }

// Multiply and add in one rounding; integers wrap.
DEVICE f32 fused(f32 a, f32 b, f32 c) { return fmaf(a, b, c); }
DEVICE f64 fused(f64 a, f64 b, f64 c) { return fma(a, b, c); }
DEVICE i64 fused(i64 a, i64 b, i64 c) { return (i64)((u64)a * (u64)b + (u64)c); }

// Exchange within a warp, of any type of whole words.
template <class V> DEVICE V across_lanes(V v, int distance) {
    static_assert(sizeof(V) % 4 == 0, "whole words");
    union { V v; int words[sizeof(V) / 4]; } from, to;
    from.v = v;
    #pragma unroll
    for (int i = 0; i < (int)(sizeof(V) / 4); ++i) to.words[i] = __shfl_xor_sync(0xffffffffu, from.words[i], distance);
    return to.v;
}

// Combines one value of each of T neighbouring threads; all threads of the block call it, all of a team get the result.
// `shared` has room for one V a warp.
template <int T, class V, class F> DEVICE V combine_near(V v, F f, V* shared) {
    #pragma unroll
    for (int d = (T < 32 ? T : 32) / 2; d; d >>= 1) v = f(v, across_lanes(v, d));
    if (T > 32) {
        __syncthreads();
        if (THREAD % 32 == 0) shared[THREAD / 32] = v;
        __syncthreads();
        const V* team = shared + THREAD / T * (T / 32);
        v = team[0];
        for (int i = 1; i < T / 32; ++i) v = f(v, team[i]);
    }
    return v;
}

// Combines one value of each of T threads that lie G apart; as above, `shared` has room for one V a thread.
template <int T, int G, class V, class F> DEVICE V combine_far(V v, F f, V* shared) {
    if (T > 1) {
        __syncthreads();
        shared[THREAD] = v;
        __syncthreads();
        const V* team = shared + THREAD % G;
        v = team[0];
        for (int i = 1; i < T; ++i) v = f(v, team[i * G]);
    }
    return v;
}

// A value and its position; position -1 is none.
template <class T> struct Found { T value; int pad; i64 at; };
// The better of two, where NaN wins and the lower position wins among equals.
template <bool LARGEST, class T> DEVICE bool precedes(T a, i64 at, T b, i64 bt) {
    if (is_nan(a) || is_nan(b)) return is_nan(a) && is_nan(b) ? at < bt : is_nan(a);
    return a == b ? at < bt : (LARGEST ? a > b : a < b);
}
template <bool LARGEST, class T> DEVICE Found<T> better(Found<T> a, Found<T> b) {
    if (a.at < 0) return b;
    if (b.at < 0) return a;
    return precedes<LARGEST>(a.value, a.at, b.value, b.at) ? a : b;
}
// The order of sorting, where NaN counts as largest.
template <bool LARGEST, class T> DEVICE bool sorts_before(T a, i64 at, T b, i64 bt) {
    bool an = is_nan(a), bn = is_nan(b);
    if (an || bn) return an == bn ? at < bt : LARGEST == an;
    return a == b ? at < bt : (LARGEST ? a > b : a < b);
}

// An element and its position, which sort by value and then by position: as one number, larger the sooner it sorts, where they fit.
template <bool LARGEST, class T> struct Keyed { T value; i64 at; };
template <bool LARGEST, class T> DEVICE Keyed<LARGEST, T> sort_key(T v, int at) { return {v, at}; }
template <bool LARGEST> DEVICE u64 key_of(unsigned rising, int at) { return (u64)(LARGEST ? rising : ~rising) << 32 | (unsigned)~at; }
template <bool LARGEST> DEVICE u64 sort_key(i32 v, int at) { return key_of<LARGEST>((unsigned)v ^ 0x80000000u, at); }
template <bool LARGEST> DEVICE u64 sort_key(f32 v, int at) {
    const unsigned bits = is_nan(v) ? 0x7fffffffu : (unsigned)__float_as_int(v == 0.0f ? 0.0f : v);
    return key_of<LARGEST>(bits >> 31 ? ~bits : bits | 0x80000000u, at);
}
DEVICE bool sorts_sooner(u64 a, u64 b) { return a > b; }
template <bool LARGEST, class T> DEVICE bool sorts_sooner(Keyed<LARGEST, T> a, Keyed<LARGEST, T> b) {
    return sorts_before<LARGEST>(a.value, a.at, b.value, b.at);
}

// Functions for what is stored in halves: within a few units in the last place of f32, `erf_near` within 2e-7 (Abramowitz and Stegun,
// *Handbook of Mathematical Functions*, 7.1.26).
DEVICE f32 exp2_near(f32 v) { f32 r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE f32 recip_near(f32 v) { f32 r; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v)); return r; }
DEVICE f32 exp_near(f32 v) { return exp2_near(v * 1.44269504f); }
DEVICE f32 sigmoid_near(f32 v) { return recip_near(1.0f + exp_near(-v)); }
DEVICE f32 erf_near(f32 v) {
    const f32 t = recip_near(fmaf(0.3275911f, fabsf(v), 1.0f));
    const f32 p = fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t, 0.254829592f);
    return copysignf(fmaf(-p * t, exp_near(-v * v), 1.0f), v);
}
