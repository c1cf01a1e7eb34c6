// The tensor-core functions of the kernels, lane by lane. Copies are done when they are begun.

DEVICE void begin_copy(void* to, const void* from, bool exists) {
    if (exists) std::memcpy(to, from, 16); else std::memset(to, 0, 16);
}
DEVICE void end_group() {}
template <int N> DEVICE void wait_groups() {}

struct Four { unsigned at[4]; };
namespace device {
// What each lane of the warp shows; it stays there until all have seen it.
inline const void* shown(size_t lane) { return (const void*)fibers[running / 32 * 32 + lane].word; }
inline void show(const void* p) { fibers[running].word = (uint64_t)p; yield(WARP); }
inline void seen() { yield(WARP); }
inline float at(const unsigned* words, int i, f16) { return from_f16(words[i / 2] >> i % 2 * 16); }
inline float at(const unsigned* words, int i, bf16) { return bits<float>(words[i / 2] >> i % 2 * 16 << 16); }
inline float at(const unsigned* words, int i, f32) { return bits<float>(words[i] + 0x1000 & 0xffffe000u); }
}
static Four load_matrices(const void* row) {
    Four r;
    device::show(row);
    const int lane = device::running % 32;
    for (int m = 0; m < 4; ++m) std::memcpy(&r.at[m], (const char*)device::shown(m * 8 + lane / 4) + lane % 4 * 4, 4);
    device::seen();
    return r;
}
static Four load_transposed(const void* row) {
    Four r;
    device::show(row);
    const int lane = device::running % 32;
    for (int m = 0; m < 4; ++m) {
        unsigned short two[2];
        for (int i = 0; i < 2; ++i)
            std::memcpy(&two[i], (const char*)device::shown(m * 8 + lane % 4 * 2 + i) + lane / 4 * 2, 2);
        std::memcpy(&r.at[m], two, 4);
    }
    device::seen();
    return r;
}
DEVICE unsigned halves(f32 low, f32 high, f16) { return device::to_f16(low) | (unsigned)device::to_f16(high) << 16; }
DEVICE unsigned halves(f32 low, f32 high, bf16) { return device::to_bf16(low) | (unsigned)device::to_bf16(high) << 16; }
template <class T> void multiply(f32* s, Four a, unsigned b0, unsigned b1, T type) {
    const unsigned own[6] = {a.at[0], a.at[1], a.at[2], a.at[3], b0, b1};
    device::show(own);
    const int lane = device::running % 32, each = 4 / sizeof(T);
    for (int c = 0; c < 4; ++c) {
        const int row = lane / 4, column = lane % 4 * 2 + c % 2;
        for (int half = 0; half < 2; ++half)
            for (int t = 0; t < 4; ++t)
                for (int i = 0; i < each; ++i) {
                    const unsigned* left = (const unsigned*)device::shown(row * 4 + t) + half * 2 + c / 2;
                    const unsigned* right = (const unsigned*)device::shown(column * 4 + t) + 4 + half;
                    s[c] += device::at(left, i, type) * device::at(right, i, type);
                }
    }
    device::seen();
}
template <class T> DEVICE Four factor(Four v, T) { return v; }

#define DYNAMIC_SHARED(name, bytes) alignas(1024) static unsigned char name[bytes]
DEVICE void show_copies() {}
template <int N> DEVICE void begin_products(f32 (*)[4]) {}
template <int P, int N> DEVICE void wait_products(f32 (*)[4]) {}
template <int N, class T> void multiply_tiles(f32 (*s)[4], const unsigned char* a, const unsigned char* b, T type) {
    const int lane = device::running % 32, warp = device::running / 32 % 4;
    auto word = [](const unsigned char* rows, int row, int k) {
        unsigned w;
        std::memcpy(&w, rows + row * 128 + ((k / 8 ^ row & 7) * 16) + k % 8 * 2, 4);
        return w;
    };
    for (int j = 0; j < N; ++j)
        for (int c = 0; c < 4; ++c)
            for (int k = 0; k < 64; k += 2) {
                const unsigned left = word(a, warp * 16 + lane / 4 + c / 2 * 8, k), right = word(b, j * 8 + lane % 4 * 2 + c % 2, k);
                for (int i = 0; i < 2; ++i) s[j][c] += device::at(&left, i, type) * device::at(&right, i, type);
            }
}
