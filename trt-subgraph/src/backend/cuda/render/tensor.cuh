// Tensor cores: copies into shared memory that go on by themselves, and products of small matrices that a warp holds in registers.

DEVICE unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// Begins to copy 16 bytes into shared memory, or zeros where there is nothing to copy.
DEVICE void begin_copy(void* to, const void* from, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(exists ? 16 : 0) : "memory");
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

// The same of transposed matrices of halves: lane l gets rows l % 4 * 2 and the next of column l / 4.
DEVICE Four load_transposed(const void* row) {
    Four r;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.at[0]), "=r"(r.at[1]), "=r"(r.at[2]), "=r"(r.at[3]) : "r"(shared_address(row)) : "memory");
    return r;
}
// Two neighbours as halves in a word.
DEVICE unsigned halves(f32 low, f32 high, f16) { return bits_f16(low) | (unsigned)bits_f16(high) << 16; }
DEVICE unsigned halves(f32 low, f32 high, bf16) { return bits_bf16(low) | (unsigned)bits_bf16(high) << 16; }

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
