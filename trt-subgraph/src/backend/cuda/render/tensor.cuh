// Tensor cores: copies into shared memory that go on by themselves, and products of small matrices that a warp holds in registers.

DEVICE unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// Begins to copy 16 bytes into shared memory, or zeros where there is nothing to copy.
DEVICE void begin_copy(void* to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(exists ? 16 : 0) : "memory");
}
// The same of 4 bytes.
DEVICE void begin_word(void* to, const void* from, bool exists) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(exists ? 4 : 0) : "memory");
}
// What was begun since the last call is a group.
DEVICE void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of the latest groups are under way.
template <int N> DEVICE void wait_groups() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

struct Four { unsigned at[4]; };
// Four matrices of 8 rows of 16 bytes: lane l names row l % 8 of matrix l / 8, and gets the word l % 4 of row l / 4 of each.
DEVICE Four load_matrices(const void* row) {
    Four r;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.at[0]), "=r"(r.at[1]), "=r"(r.at[2]), "=r"(r.at[3]) : "r"(shared_address(row)) : "memory");
    return r;
}

// The other way round: what each lane has of four matrices goes to their rows.
DEVICE void store_matrices(void* row, Four v) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                 ::"r"(shared_address(row)), "r"(v.at[0]), "r"(v.at[1]), "r"(v.at[2]), "r"(v.at[3]) : "memory");
}

// The same of transposed matrices of halves: lane l gets rows l % 4 * 2 and the next of column l / 4.
DEVICE Four load_transposed(const void* row) {
    Four r;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.at[0]), "=r"(r.at[1]), "=r"(r.at[2]), "=r"(r.at[3]) : "r"(shared_address(row)) : "memory");
    return r;
}
// Is it so for any lane?
DEVICE bool any_lane(bool v) { return __any_sync(~0u, v); }
// Two neighbours as halves in a word.
DEVICE unsigned halves(f32 low, f32 high, f16) { unsigned r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r; }
DEVICE unsigned halves(f32 low, f32 high, bf16) { unsigned r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r; }

// The larger of each two halves of a word, NaN where one is.
DEVICE unsigned larger_of(unsigned a, unsigned b, f16) { unsigned r; asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }
DEVICE unsigned larger_of(unsigned a, unsigned b, bf16) { unsigned r; asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); return r; }

// sums[16, 8] += a[16, 32 bytes] * b[8, 32 bytes] transposed, in fragments.
DEVICE void multiply(f32* s, Four a, unsigned b0, unsigned b1, f16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
}
DEVICE void multiply(f32* s, Four a, unsigned b0, unsigned b1, bf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
}
// Factors are rounded to TF32.
DEVICE void multiply(f32* s, Four a, unsigned b0, unsigned b1, f32) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b0), "r"(b1));
}
DEVICE unsigned narrow(unsigned v) {
    unsigned r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(v)));
    return r;
}
// Fragments as the product takes them.
template <class T> DEVICE Four factor(Four v, T) { return v; }
DEVICE Four factor(Four v, f32) { return {narrow(v.at[0]), narrow(v.at[1]), narrow(v.at[2]), narrow(v.at[3])}; }

// The blocks of a cluster wait for each other.
DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
// The same where none relies on what others wrote: nobody leaves before all are there.
DEVICE void cluster_meeting() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}
// What the block of this rank has in its shared memory where ours has N numbers from `p` on.
template <int N> DEVICE Pack<f32, N> from_neighbour(const f32* p, int rank) {
    Pack<f32, N> r;
    unsigned at;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(at) : "r"(shared_address(p)), "r"(rank));
    if (N % 4 == 0) {
        #pragma unroll
        for (int i = 0; i < N; i += 4)
            asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                         : "=f"(r.at[i]), "=f"(r.at[i + 1]), "=f"(r.at[i + 2]), "=f"(r.at[i + 3]) : "r"(at + 4 * i) : "memory");
    } else {
        #pragma unroll
        for (int i = 0; i < N; ++i) asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(r.at[i]) : "r"(at + 4 * i) : "memory");
    }
    return r;
}

// What asynchronous copies wrote is there for warpgroups too.
DEVICE void show_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }
// Registers may not be moved across this.
template <int N> DEVICE void keep(f32 (*s)[4]) {
    #pragma unroll
    for (int j = 0; j < N; ++j)
        #pragma unroll
        for (int c = 0; c < 4; ++c) asm volatile("" : "+f"(s[j][c])::"memory");
}
template <int N> DEVICE void begin_products(f32 (*s)[4]) {
    keep<N>(s);
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
// Waits until at most P of the latest steps' products are under way.
template <int P, int N> DEVICE void wait_products(f32 (*s)[4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(P) : "memory");
    if (P == 0) keep<N>(s);
}
// Where rows of 128 bytes lie, groups of eight after each other, units of 16 bytes in each in the order of its number.
DEVICE u64 described(const void* rows) { return (u64)(shared_address(rows) >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
// sums[64, 8 * N] += a[64, 32 bytes] * b[8 * N, 32 bytes] transposed, by four warps.
template <int N> struct Width {};
#define SUMS(s) "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
#define WARPGROUP_PRODUCT_OF(type, N, width, list, left, right, ...) \
    DEVICE void multiply_tile(f32 (*s)[4], u64 a, u64 b, type, Width<N>) { \
        asm volatile("wgmma.mma_async.sync.aligned.m64" width "k16.f32." #type "." #type " {" list "}, " left ", " right ", 1, 1, 1, 0, 0;" \
                     : __VA_ARGS__ : "l"(a), "l"(b)); \
    }
#define WARPGROUP_PRODUCT(N, ...) \
    WARPGROUP_PRODUCT_OF(f16, N, __VA_ARGS__) WARPGROUP_PRODUCT_OF(bf16, N, __VA_ARGS__)
WARPGROUP_PRODUCT(4, "n32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]))
WARPGROUP_PRODUCT(8, "n64", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31", "%32", "%33", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]))
WARPGROUP_PRODUCT(12, "n96", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47", "%48", "%49", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]), SUMS(s[8]), SUMS(s[9]), SUMS(s[10]), SUMS(s[11]))
WARPGROUP_PRODUCT(16, "n128", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
            "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
            "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
            "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63", "%64", "%65", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]), SUMS(s[8]), SUMS(s[9]), SUMS(s[10]), SUMS(s[11]), SUMS(s[12]), SUMS(s[13]), SUMS(s[14]), SUMS(s[15]))
WARPGROUP_PRODUCT(20, "n160", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79", "%80", "%81", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]), SUMS(s[8]), SUMS(s[9]), SUMS(s[10]), SUMS(s[11]), SUMS(s[12]), SUMS(s[13]), SUMS(s[14]), SUMS(s[15]), SUMS(s[16]), SUMS(s[17]), SUMS(s[18]), SUMS(s[19]))
// The same of 128 bytes, or the first quarters of them, begun.
template <int N, int QUARTERS = 4, class T> DEVICE void multiply_tiles(f32 (*s)[4], const void* a, const void* b, T type) {
    const u64 left = described(a), right = described(b);
    #pragma unroll
    for (int part = 0; part < QUARTERS; ++part) multiply_tile(s, left + 2 * part, right + 2 * part, type, Width<N>());
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// The same where eight rows of `a` after each other start at any one, and the next eight STEP rows after them; units lie in the order of
// the number that their row has in shared memory.
template <int N, int QUARTERS, int STEP, class T> DEVICE void multiply_area(f32 (*s)[4], const void* a, const void* b, T type) {
    const u64 left = (u64)(shared_address(a) >> 4 & 0x3fff) | 1ull << 16 | (u64)(STEP * 8) << 32 | 1ull << 62, right = described(b);
    #pragma unroll
    for (int part = 0; part < QUARTERS; ++part) multiply_tile(s, left + 2 * part, right + 2 * part, type, Width<N>());
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// The same where `a` is 32 bytes of each row in registers, as `multiply` has them; sums begin at zero unless `more`.
#define REGISTER_PRODUCT(N, width, list, a0, a1, a2, a3, right, more, ...) \
    DEVICE void multiply_registers(f32 (*s)[4], const unsigned* a, u64 b, int from, Width<N>) { \
        asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, " more ", 0;\n" \
                     "wgmma.mma_async.sync.aligned.m64" width "k16.f32.bf16.bf16 {" list "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " right ", more, 1, 1, 0;\n}" \
                     : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(from)); \
    }
REGISTER_PRODUCT(4, "n32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17", "%18", "%19", "%20", "%21", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]))
REGISTER_PRODUCT(8, "n64", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31", "%32", "%33", "%34", "%35", "%36", "%37", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]))
REGISTER_PRODUCT(12, "n96", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47", "%48", "%49", "%50", "%51", "%52", "%53", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]), SUMS(s[8]), SUMS(s[9]), SUMS(s[10]), SUMS(s[11]))
REGISTER_PRODUCT(16, "n128", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63", "%64", "%65", "%66", "%67", "%68", "%69", SUMS(s[0]), SUMS(s[1]), SUMS(s[2]), SUMS(s[3]), SUMS(s[4]), SUMS(s[5]), SUMS(s[6]), SUMS(s[7]), SUMS(s[8]), SUMS(s[9]), SUMS(s[10]), SUMS(s[11]), SUMS(s[12]), SUMS(s[13]), SUMS(s[14]), SUMS(s[15]))
// Warpgroups leave registers to others, or take those that are left, until each of their threads has so many.
template <int N> DEVICE void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEVICE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
// The three parts of two neighbours, each what the ones before leave, rounded to bf16.
DEVICE void in_parts(f32 low, f32 high, unsigned (*parts)[4], int at) {
    #pragma unroll
    for (int i = 0; i < 3; ++i) {
        const unsigned two = halves(low, high, bf16());
        parts[i][at] = two;
        low -= __uint_as_float(two << 16);
        high -= __uint_as_float(two & 0xffff0000u);
    }
}
// s[64, 8 * N] = a[64, 64] * b[8 * N, 64] transposed, or of the first quarters: `a` is f32 in two boxes so many bytes apart, `b` three parts
// of bf16, with those of 32 neighbours in the order in which lanes have those of `a`.
template <int N, int QUARTERS> DEVICE void multiply_parts(f32 (*s)[4], const unsigned char* a, int box, const unsigned char* b, int part_bytes) {
    const int lane = THREAD % 32, row = THREAD / 32 % 4 * 16 + lane / 4;
    const u64 right = described(b), step = part_bytes >> 4;
    unsigned parts[QUARTERS][3][4];
    #pragma unroll
    for (int q = 0; q < QUARTERS; ++q) {
        const unsigned char* const from = a + q / 2 * box + row * 128 + ((lane % 4 * 2 + q % 2) ^ (row & 7)) * 16;
        const Pack<f32, 4> upper = *(const Pack<f32, 4>*)from, lower = *(const Pack<f32, 4>*)(from + 8 * 128);
        in_parts(upper.at[0], upper.at[1], parts[q], 0);
        in_parts(lower.at[0], lower.at[1], parts[q], 1);
        in_parts(upper.at[2], upper.at[3], parts[q], 2);
        in_parts(lower.at[2], lower.at[3], parts[q], 3);
        if (q == 0) keep<N>(s);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        // The small ones first.
        multiply_registers(s, parts[q][2], right + 2 * q, q, Width<N>());
        multiply_registers(s, parts[q][0], right + 2 * q + 2 * step, 1, Width<N>());
        multiply_registers(s, parts[q][1], right + 2 * q + step, 1, Width<N>());
        multiply_registers(s, parts[q][1], right + 2 * q, 1, Width<N>());
        multiply_registers(s, parts[q][0], right + 2 * q + step, 1, Width<N>());
        multiply_registers(s, parts[q][0], right + 2 * q, 1, Width<N>());
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    }
    wait_products<0, N>(s);
}
// Shared memory of a size that is said at the launch.
#define DYNAMIC_SHARED(name, bytes) extern __shared__ __align__(1024) unsigned char name[]

// Four neighbouring lanes have two of every eight numbers, columns 2 * l and the next of each of four units: lane l gets the eight of unit
// l. Of each lane's four numbers of a unit, `half` says which two.
DEVICE void gather_eights(f32* to, const f32 (*s)[4], int half) {
    const bool odd = THREAD & 1, high = THREAD & 2;
    f32 two[4][2];
    #pragma unroll
    for (int k = 0; k < 4; k += 2)
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
            f32 left = s[k][half * 2 + e], right = s[k + 1][half * 2 + e];
            // Registers, not places in memory to choose from.
            asm("" : "+f"(left), "+f"(right));
            const f32 got = across_lanes(odd ? left : right, 1);
            two[k][e] = odd ? got : left;
            two[k + 1][e] = odd ? right : got;
        }
    #pragma unroll
    for (int b = 0; b < 2; ++b)
        #pragma unroll
        for (int e = 0; e < 2; ++e) {
            f32 low = two[b][e], upper = two[2 + b][e];
            asm("" : "+f"(low), "+f"(upper));
            const f32 got = across_lanes(high ? low : upper, 2);
            to[b * 2 + e] = high ? got : low;
            to[4 + b * 2 + e] = high ? upper : got;
        }
}

// Where a byte of rows of so many bytes, 64 or 128, lies that bulk copies bring or take: units of 16 bytes in the order of their number.
template <int ROW> DEVICE int swizzled(int at) { return at ^ (at >> 3 & (ROW - 16)); }
// How bulk copies see a tensor; the driver made it.
struct alignas(64) Boxes { unsigned char at[128]; };
// A barrier that so many arrive at, and bytes. It is passed, again and again, when all have.
DEVICE void begin_barrier(u64* b, int arrivals) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory"); }
// Barriers that were begun are there for the cluster and for copies, once threads have met.
DEVICE void show_barriers() { asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory"); }
// Arrives, and has the barrier wait for so many bytes.
DEVICE void expect_bytes(u64* b, int bytes) {
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared.b64 state, [%0], %1;\n}" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
DEVICE void arrive(u64* b) { asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(shared_address(b)) : "memory"); }
// Arrives at the barrier that the block of this rank has where ours is.
DEVICE void arrive_at(u64* b, int rank) {
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\nmbarrier.arrive.shared::cluster.b64 _, [at];\n}"
                 ::"r"(shared_address(b)), "r"(rank) : "memory");
}
// Waits until the barrier has been passed an odd number of times, or with `again` an even one.
DEVICE void await_bytes(u64* b, int again) {
    asm volatile("{\n.reg .pred passed;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 passed, [%0], %1;\n@passed bra DONE;\nbra AGAIN;\nDONE:\n}"
                 ::"r"(shared_address(b)), "r"(again) : "memory");
}
// Begins to copy the box that starts at these elements, innermost axis first, and counts its bytes at the barrier `done`: into our shared
// memory, or to the same place in those of all blocks whose bits `blocks` has.
DEVICE void begin_box(void* to, const Boxes& from, u64* done, unsigned blocks, int i, int j) {
    if (blocks)
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4}], [%2], %5;"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(i), "r"(j), "h"((unsigned short)blocks) : "memory");
    else
        asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(i), "r"(j) : "memory");
}
DEVICE void begin_box(void* to, const Boxes& from, u64* done, unsigned blocks, int i, int j, int k) {
    if (blocks)
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4, %5}], [%2], %6;"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(i), "r"(j), "r"(k), "h"((unsigned short)blocks) : "memory");
    else
        asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(i), "r"(j), "r"(k) : "memory");
}
// The same of four axes, into our shared memory alone.
DEVICE void begin_area(void* to, const Boxes& from, u64* done, int i, int j, int k, int l) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(i), "r"(j), "r"(k), "r"(l) : "memory");
}
// Begins to copy a box out of shared memory to these elements on, as far as they exist; what was begun since the last `end_boxes` is a group.
DEVICE void send_box(const void* from, const Boxes& to, int i, int j) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];"
                 ::"l"(&to), "r"(shared_address(from)), "r"(i), "r"(j) : "memory");
}
DEVICE void send_area(const void* from, const Boxes& to, int i, int j, int k, int l) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];"
                 ::"l"(&to), "r"(shared_address(from)), "r"(i), "r"(j), "r"(k), "r"(l) : "memory");
}
DEVICE void end_boxes() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until all that this thread sent has been read, or written.
DEVICE void await_boxes_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
DEVICE void await_boxes_written() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// The threads of a warpgroup wait for each other.
DEVICE void warpgroup_barrier() { asm volatile("bar.sync %0, 128;" ::"r"(1 + THREAD / 128) : "memory"); }
// Two warpgroups take turns: each waits until the other has passed the turn to it.
DEVICE void await_turn(int team) { asm volatile("bar.sync %0, 256;" ::"r"(3 + team) : "memory"); }
DEVICE void pass_turn(int team) { asm volatile("bar.arrive %0, 256;" ::"r"(3 + team) : "memory"); }
// The same of places of an image, from the window on that begins at this column and row of an image, each `right` and `down` of where
// its window begins.
DEVICE void begin_windows(void* to, const Boxes& from, u64* done, unsigned blocks, int channel, int column, int row, int image, int right, int down) {
    if (blocks)
        asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8}, %9;"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(channel), "r"(column), "r"(row), "r"(image),
                     "h"((unsigned short)right), "h"((unsigned short)down), "h"((unsigned short)blocks) : "memory");
    else
        asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};"
                     ::"r"(shared_address(to)), "l"(&from), "r"(shared_address(done)), "r"(channel), "r"(column), "r"(row), "r"(image),
                     "h"((unsigned short)right), "h"((unsigned short)down) : "memory");
}

// Begins to copy so many bytes, a multiple of 16, and counts them at the barrier `done`.
DEVICE void begin_bytes(void* to, const void* from, int bytes, u64* done) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(done)) : "memory");
}
// The two halves of `cluster_meeting`: nobody is through the second before all have begun the first.
DEVICE void begin_meeting() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
DEVICE void end_meeting() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }
// Eight neighbours.
template <class T> struct alignas(16) Eight { T at[8]; };
template <class T> DEVICE Eight<T> eight_of(const void* p) {
    Eight<T> r;
    #pragma unroll
    for (int i = 0; i < (int)sizeof(r) / 16; ++i) ((uint4*)&r)[i] = ((const uint4*)p)[i];
    return r;
}
// Writes eight neighbours to where `to` is in the block of this rank, and counts their bytes at its barrier.
template <class T> DEVICE void send(void* to, int rank, u64* done, const Eight<T>& v) {
    unsigned place, barrier;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(place) : "r"(shared_address(to)), "r"(rank));
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(barrier) : "r"(shared_address(done)), "r"(rank));
    #pragma unroll
    for (int i = 0; i < (int)sizeof(v) / 16; ++i) {
        const uint4 q = ((const uint4*)&v)[i];
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];"
                     ::"r"(place + 16 * i), "r"(q.x), "r"(q.y), "r"(q.z), "r"(q.w), "r"(barrier) : "memory");
    }
}
// Of N units of eight columns and eight rows of a warp's sums, two for each tile, each of four neighbouring lanes gets the eight of its row in
// one of the units from `first` on.
template <int N> DEVICE void gather_units(f32* to, const f32 (*s)[4], int first) {
    f32 q[4][4] = {};
    #pragma unroll
    for (int u = 0; u < 4; ++u)
        if (first + u < N) q[u][0] = s[(first + u) / 2][(first + u) % 2 * 2], q[u][1] = s[(first + u) / 2][(first + u) % 2 * 2 + 1];
    gather_eights(to, q, 0);
}
