// The tensor-core functions of the kernels, lane by lane. Copies are done when they are begun.

DEVICE void begin_copy(void* to, const void* from, bool exists) {
    if (exists) std::memcpy(to, from, 16); else std::memset(to, 0, 16);
}
DEVICE void begin_word(void* to, const void* from, bool exists) {
    if (exists) std::memcpy(to, from, 4); else std::memset(to, 0, 4);
}
DEVICE void await_turn(int) {}
DEVICE void pass_turn(int) {}
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
static bool any_lane(bool v) {
    bool any = false;
    device::show(&v);
    for (int lane = 0; lane < 32; ++lane) any |= *(const bool*)device::shown(lane);
    device::seen();
    return any;
}
static Four load_matrices(const void* row) {
    Four r;
    device::show(row);
    const int lane = device::running % 32;
    for (int m = 0; m < 4; ++m) std::memcpy(&r.at[m], (const char*)device::shown(m * 8 + lane / 4) + lane % 4 * 4, 4);
    device::seen();
    return r;
}
static void store_matrices(void* row, Four v) {
    device::show(row);
    const int lane = device::running % 32;
    for (int m = 0; m < 4; ++m) std::memcpy((char*)device::shown(m * 8 + lane / 4) + lane % 4 * 4, &v.at[m], 4);
    device::seen();
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
template <class T> unsigned larger_of(unsigned a, unsigned b, T type) {
    T two[2];
    for (int i = 0; i < 2; ++i) put(two[i], device::larger(device::at(&a, i, type), device::at(&b, i, type)));
    return two[0].bits | (unsigned)two[1].bits << 16;
}
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

// Of each block of a cluster its own.
namespace device { static size_t pool; }
#define DYNAMIC_SHARED(name, bytes) \
    alignas(1024) static unsigned char name##_of_all[16][((bytes) + 1023) / 1024 * 1024]; \
    device::pool = sizeof name##_of_all[0]; \
    unsigned char* const name = name##_of_all[device::running / device::block]
DEVICE void show_copies() {}
template <int N> DEVICE void begin_products(f32 (*)[4]) {}
template <int P, int N> DEVICE void wait_products(f32 (*)[4]) {}
template <int N, int QUARTERS = 4, class T> void multiply_tiles(f32 (*s)[4], const unsigned char* a, const unsigned char* b, T type) {
    const int lane = device::running % 32, warp = device::running % device::block / 32 % 4;
    auto word = [](const unsigned char* rows, int row, int k) {
        unsigned w;
        std::memcpy(&w, rows + row * 128 + ((k / 8 ^ row & 7) * 16) + k % 8 * 2, 4);
        return w;
    };
    for (int j = 0; j < N; ++j)
        for (int c = 0; c < 4; ++c)
            for (int k = 0; k < 16 * QUARTERS; k += 2) {
                const unsigned left = word(a, warp * 16 + lane / 4 + c / 2 * 8, k), right = word(b, j * 8 + lane % 4 * 2 + c % 2, k);
                for (int i = 0; i < 2; ++i) s[j][c] += device::at(&left, i, type) * device::at(&right, i, type);
            }
}
template <int N, int QUARTERS, int STEP, class T> void multiply_area(f32 (*s)[4], const unsigned char* a, const unsigned char* b, T type) {
    const int lane = device::running % 32, warp = device::running % device::block / 32 % 4;
    auto word = [](const unsigned char* row, int k) {
        unsigned w;
        std::memcpy(&w, row + ((k / 8 ^ (uint64_t)row / 128 % 8) * 16) + k % 8 * 2, 4);
        return w;
    };
    for (int j = 0; j < N; ++j)
        for (int c = 0; c < 4; ++c)
            for (int k = 0; k < 16 * QUARTERS; k += 2) {
                const int row = warp * 16 + lane / 4 + c / 2 * 8;
                const unsigned left = word(a + (row / 8 * STEP + row % 8) * 128, k), right = word(b + (j * 8 + lane % 4 * 2 + c % 2) * 128, k);
                for (int i = 0; i < 2; ++i) s[j][c] += device::at(&left, i, type) * device::at(&right, i, type);
            }
}

template <int N> DEVICE void give_registers() {}
template <int N> DEVICE void take_registers() {}
template <int N, int QUARTERS> void multiply_parts(f32 (*s)[4], const unsigned char* a, int box, const unsigned char* b, int part_bytes) {
    const int lane = device::running % 32, warp = device::running % device::block / 32 % 4;
    for (int j = 0; j < N; ++j)
        for (int c = 0; c < 4; ++c) {
            f32 sum = 0;
            for (int k = 0; k < 16 * QUARTERS; ++k) {
                const int row = warp * 16 + lane / 4 + c / 2 * 8, column = j * 8 + lane % 4 * 2 + c % 2, lane_of = k % 8 / 2;
                f32 x, left[3], right[3];
                std::memcpy(&x, a + k / 32 * box + row * 128 + ((lane_of * 2 + k / 16 % 2) ^ row & 7) * 16 + (k % 16 / 8 * 2 + k % 2) * 4, 4);
                for (int i = 0; i < 3; ++i) {
                    unsigned short half;
                    std::memcpy(&half, b + i * part_bytes + column * 128 + (k / 8 ^ column & 7) * 16 + k % 8 * 2, 2);
                    right[i] = device::bits<float>((unsigned)half << 16);
                    left[i] = device::bits<float>((unsigned)device::to_bf16(x) << 16);
                    x -= left[i];
                }
                for (int i = 2; i >= 0; --i)
                    for (int l = 0; l <= i; ++l) sum += left[l] * right[i - l];
            }
            s[j][c] = sum;
        }
}

DEVICE void gather_eights(f32* to, const f32 (*s)[4], int half) {
    device::show(s);
    const int lane = device::running % 32;
    for (int from = 0; from < 4; ++from)
        for (int e = 0; e < 2; ++e)
            to[from * 2 + e] = ((const f32(*)[4])device::shown(lane / 4 * 4 + from))[lane % 4][half * 2 + e];
    device::seen();
}

template <int ROW> DEVICE int swizzled(int at) { return at ^ (at >> 3 & (ROW - 16)); }
// How bulk copies see a tensor: address, axes, sizes, steps in bytes, and what one copy moves.
struct Boxes {
    const int64_t* at;
    Boxes(void* p) : at((const int64_t*)p) {}
    int64_t axes() const { return at[1]; }
    int64_t size(int axis) const { return at[2 + axis]; }
    int64_t step(int axis) const { return at[2 + axes() + axis]; }
    const int64_t* moved() const { return at + 2 + 2 * axes(); }
    // Where element `e` of a row lies.
    int place(int row, int wide, int e) const {
        return (wide * step(0) == 128 ? swizzled<128> : swizzled<64>)((row * wide + e) * step(0));
    }
    // Row `row`, of so many elements, of a place in shared memory to this element on and the next ones, as far as they exist.
    void row_back(const unsigned char* from, int row, int wide, std::vector<int64_t> to) const {
        for (int e = 0; e < wide; ++e, ++to[0]) {
            int64_t offset = 0;
            bool exists = true;
            for (int axis = 0; axis < axes(); ++axis) {
                exists = exists && to[axis] >= 0 && to[axis] < size(axis);
                offset += to[axis] * step(axis);
            }
            if (exists) std::memcpy((char*)at[0] + offset, from + place(row, wide, e), step(0));
        }
    }
    // So many elements from this one on as row `row` of a place in shared memory; zeros beyond the ends.
    void row(unsigned char* to, int row, int wide, std::vector<int64_t> from) const {
        for (int e = 0; e < wide; ++e, ++from[0]) {
            unsigned char* const element = to + place(row, wide, e);
            int64_t offset = 0;
            bool exists = true;
            for (int axis = 0; axis < axes(); ++axis) {
                exists = exists && from[axis] >= 0 && from[axis] < size(axis);
                offset += from[axis] * step(axis);
            }
            if (exists) std::memcpy(element, (const char*)at[0] + offset, step(0)); else std::memset(element, 0, step(0));
        }
    }
};
namespace device {
// A barrier: how many have to arrive yet, how many in all, and bytes that have to, twice, plus how often it was passed, modulo 2.
struct Barrier { short left, all; int rest; };
inline Barrier& barrier(u64* b) { return *(Barrier*)b; }
inline void changed(Barrier& b) {
    if (b.left == 0 && b.rest / 2 == 0) b.left = b.all, b.rest ^= 1;
}
}
DEVICE void begin_barrier(u64* b, int arrivals) { device::barrier(b) = {(short)arrivals, (short)arrivals, 0}; }
DEVICE void show_barriers() {}
DEVICE void arrive(u64* b) { --device::barrier(b).left; device::changed(device::barrier(b)); }
DEVICE void expect_bytes(u64* b, int bytes) { device::barrier(b).rest += 2 * bytes; arrive(b); }
DEVICE void await_bytes(u64* b, int again) {
    for (int turns = 0; (device::barrier(b).rest & 1) == again; ++turns) {
        if (turns > 1000000) std::fprintf(stderr, "bytes that never arrive\n"), std::abort();
        device::yield(device::READY);
    }
}
namespace device {
inline void arrived(u64* b, int bytes) { barrier(b).rest -= 2 * bytes; changed(barrier(b)); }
}
DEVICE void begin_box(unsigned char* to, const Boxes& from, u64* done, unsigned, int i, int j, int k = 0) {
    const int64_t* const extents = from.moved();
    const int deep = from.axes() > 2 ? extents[2] : 1;
    for (int z = 0; z < deep; ++z)
        for (int y = 0; y < extents[1]; ++y) from.row(to, z * extents[1] + y, extents[0], {i, j + y, k + z});
    device::arrived(done, deep * extents[1] * extents[0] * from.step(0));
}
DEVICE void begin_area(unsigned char* to, const Boxes& from, u64* done, int i, int j, int k, int l) {
    const int64_t* const extents = from.moved();
    int row = 0;
    for (int image = 0; image < extents[3]; ++image)
        for (int z = 0; z < extents[2]; ++z)
            for (int y = 0; y < extents[1]; ++y) from.row(to, row++, extents[0], {i, j + y, k + z, l + image});
    device::arrived(done, row * extents[0] * from.step(0));
}
DEVICE void send_box(const unsigned char* from, const Boxes& to, int i, int j) {
    const int64_t* const extents = to.moved();
    for (int y = 0; y < extents[1]; ++y) to.row_back(from, y, extents[0], {i, j + y});
}
DEVICE void send_area(const unsigned char* from, const Boxes& to, int i, int j, int k, int l) {
    const int64_t* const extents = to.moved();
    int row = 0;
    for (int image = 0; image < extents[3]; ++image)
        for (int z = 0; z < extents[2]; ++z)
            for (int y = 0; y < extents[1]; ++y) to.row_back(from, row++, extents[0], {i, j + y, k + z, l + image});
}
DEVICE void end_boxes() {}
DEVICE void await_boxes_read() {}
DEVICE void await_boxes_written() {}
DEVICE void warpgroup_barrier() { device::yield(device::GROUP); }
DEVICE void begin_windows(unsigned char* to, const Boxes& from, u64* done, unsigned, int channel, int column, int row, int image, int right, int down) {
    const int64_t *low = from.moved(), *high = low + 2, *steps = low + 4;
    for (int place = 0; place < low[6]; ++place) {
        from.row(to, place, 64, {channel, column + right, row + down, image});
        column += steps[0];
        if (column >= from.size(1) + high[0]) column = low[0], row += steps[1];
        if (row >= from.size(2) + high[1]) row = low[1], ++image;
    }
    device::arrived(done, low[6] * 128);
}

DEVICE void begin_bytes(void* to, const void* from, int bytes, u64* done) {
    if (bytes % 16 || (uint64_t)to % 16 || (uint64_t)from % 16) std::fprintf(stderr, "a copy of no whole units\n"), std::abort();
    std::memcpy(to, from, bytes);
    device::arrived(done, bytes);
}
DEVICE void begin_meeting() { ++device::begun[device::running]; }
DEVICE void end_meeting() { device::yield(device::CLUSTER); }
DEVICE void cluster_meeting() { begin_meeting(), end_meeting(); }
DEVICE void cluster_barrier() { cluster_meeting(); }
template <int N> DEVICE Pack<f32, N> from_neighbour(const f32* p, int rank) {
    const i64 there = ((i64)rank - (i64)(device::running / device::block)) * (i64)device::pool;
    return *(const Pack<f32, N>*)((const char*)p + there);
}
template <class T> struct alignas(16) Eight { T at[8]; };
template <class T> DEVICE Eight<T> eight_of(const void* p) {
    if ((uint64_t)p % 16) std::fprintf(stderr, "eight that do not lie at a multiple of 16\n"), std::abort();
    return *(const Eight<T>*)p;
}
template <class T> DEVICE void send(void* to, int rank, u64* done, const Eight<T>& v) {
    const i64 there = ((i64)rank - (i64)(device::running / device::block)) * (i64)device::pool;
    std::memcpy((char*)to + there, &v, sizeof v);
    device::arrived((u64*)((char*)done + there), sizeof v);
}
template <int N> DEVICE void gather_units(f32* to, const f32 (*s)[4], int first) {
    f32 q[4][4] = {};
    for (int u = 0; u < 4; ++u)
        if (first + u < N)
            for (int e = 0; e < 2; ++e) q[u][e] = s[(first + u) / 2][(first + u) % 2 * 2 + e];
    gather_eights(to, q, 0);
}
