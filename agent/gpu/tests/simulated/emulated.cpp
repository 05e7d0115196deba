// The tensor paths of the products, as they are for a GPU, with their instructions emulated by what PTX ISA 8.0 says of
// them: fragments of mma.sync and ldmatrix, groups of cp.async, swizzled boxes of TMA, mbarriers of a cluster, matrix
// descriptors of wgmma. Fetched bytes come as late as a wait allows (cp.async) or as early as they can (TMA), products
// read shared memory as late as a wait allows: a missing wait, or a stage that is given back too early, shows. Threads
// are fibers that take turns; when none can go on, it is a deadlock and said so. A launch for each line of standard
// input as in launch.cpp, the tiles' records on standard output.

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#define RACKMARK_EMULATED
#include "prelude.cu"

thread_local Position threadIdx, blockIdx, blockDim, gridDim;

u32 simulated_sm() { return blockIdx.x; }
u64 simulated_product(u64 bits, u32, u32, u32) { return bits; }

namespace {

[[noreturn]] void broken(const char* what, u32 where) {
    fprintf(stderr, "block %u, thread %u: %s (%u)\n", blockIdx.x, threadIdx.x, what, where);
    exit(4);
}

// --- threads ---------------------------------------------------------------------------------------------------------

struct Barrier {
    u32 arrived = 0, generation = 0;
};

typedef std::vector<std::pair<u32, const u8*>> Fetches;
typedef std::vector<std::function<void()>> Steps;

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    Position thread, block;
    bool ended = false;
    Fetches open;                // of cp.async, and the groups that were closed
    std::deque<Fetches> fetched;
    Steps issued;                // of wgmma, and the groups that were closed
    std::deque<Steps> stepped;
};

struct Block {
    std::vector<u8> memory;
    Barrier all, warps[16];
    u64 scratch[16][32][6];
};

ucontext_t scheduler;
std::vector<std::unique_ptr<Fiber>> fibers;
std::map<u32, Block> running;  // blocks of the cluster
Barrier cluster_barrier;
Fiber* current;
bool moved;  // since the scheduler began its round
std::function<void()> body;

void enter() {
    body();
    current->ended = true;
    swapcontext(&current->context, &scheduler);
}

template <class Condition>
void wait_until(Condition holds) {
    while (!holds()) swapcontext(&current->context, &scheduler);
    moved = true;
}

void meet(Barrier& barrier, u32 threads) {
    u32 generation = barrier.generation;
    if (++barrier.arrived == threads) {
        barrier.arrived = 0;
        ++barrier.generation;
    }
    wait_until([&] { return barrier.generation != generation; });
}

Block& block() { return running.at(blockIdx.x); }
u32 warp() { return threadIdx.x / 32; }
u32 lane() { return threadIdx.x % 32; }
void warp_meets() { meet(block().warps[warp()], 32); }

std::unique_ptr<Fiber> fiber_of(u32 of_block, u32 thread) {
    auto fiber = std::make_unique<Fiber>();
    fiber->block.x = of_block;
    fiber->thread.x = thread;
    fiber->stack.resize(128 << 10);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.data();
    fiber->context.uc_stack.ss_size = fiber->stack.size();
    makecontext(&fiber->context, enter, 0);
    return fiber;
}

// Blocks of a cluster run together, clusters one after the other.
void run(u32 blocks, u32 cluster, u32 threads, std::function<void()> kernel) {
    body = std::move(kernel);
    gridDim.x = blocks;
    blockDim.x = threads;
    for (u32 first = 0; first < blocks; first += cluster) {
        fibers.clear();
        running.clear();
        cluster_barrier = {};
        for (u32 n = 0; n < cluster * threads; ++n) fibers.push_back(fiber_of(first + n / threads, n % threads));
        for (u32 n = first; n < first + cluster; ++n) running[n].memory.assign(232448, 0x5a);
        for (size_t left = fibers.size(); left;) {
            moved = false;
            for (auto& fiber : fibers) {
                if (fiber->ended) continue;
                current = fiber.get();
                threadIdx = fiber->thread;
                blockIdx = fiber->block;
                swapcontext(&scheduler, &fiber->context);
                if (fiber->ended) {
                    --left;
                    moved = true;
                }
            }
            if (left && !moved) broken("deadlock, threads left", (u32)left);
        }
    }
}

void __syncthreads() { meet(block().all, blockDim.x); }

// --- shared memory ---------------------------------------------------------------------------------------------------

// Its first address, which is not aligned to more than the language asks for.
enum : u32 { SHARED_BEGINS = 128 };
#define shared_memory (block().memory.data())

u32 shared_address(const void* at) { return (u32)((const u8*)at - block().memory.data()) + SHARED_BEGINS; }
u8* shared(u32 of_block, u32 address, u32 bytes) {
    std::vector<u8>& memory = running.at(of_block).memory;
    if (address < SHARED_BEGINS || address - SHARED_BEGINS + bytes > memory.size()) broken("not shared memory", address);
    return memory.data() + (address - SHARED_BEGINS);
}

// --- cp.async, ldmatrix, mma.sync ------------------------------------------------------------------------------------

void fetch_16(u32 to, const u8* from) {
    if (to % 16 || (u64)from % 16) broken("fetch is not aligned", to);
    current->open.push_back({to, from});
}
void fetch_group_ends() { current->fetched.push_back(std::move(current->open)); }
template <int PENDING>
void wait_for_groups() {
    for (; current->fetched.size() > PENDING; current->fetched.pop_front()) {
        for (auto& [to, from] : current->fetched.front()) memcpy(shared(blockIdx.x, to, 16), from, 16);
    }
}

// What every lane of the warp has, to every lane.
template <class T>
void lanes_give(const T& mine, T (&all)[32]) {
    static_assert(sizeof(T) <= sizeof(block().scratch[0][0]));
    memcpy(block().scratch[warp()][lane()], &mine, sizeof(T));
    warp_meets();
    for (u32 n = 0; n < 32; ++n) memcpy((void*)&all[n], block().scratch[warp()][n], sizeof(T));
    warp_meets();
}

void load_matrices(u32 (&to)[4], u32 from) {
    u32 rows[32];
    lanes_give(from, rows);
    for (u32 matrix = 0; matrix < 4; ++matrix) {
        memcpy(&to[matrix], shared(blockIdx.x, rows[8 * matrix + lane() / 4] + 4 * (lane() % 4), 4), 4);
    }
}

double shared_double(u32 from) {
    double value;
    memcpy(&value, shared(blockIdx.x, from, 8), 8);
    return value;
}

struct Fragments {
    u32 a[4], b[2];
};

// Fragments of 32 bytes of depth. PTX gives them in elements; in bytes they are the same for 8, 16 and 32 bits: a lane
// has 4 bytes of row lane / 4 at 4 (lane % 4), then of the row 8 below, then both again 16 bytes on.
template <class F>
void product_of_fragments(F format, typename F::Sum* (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    Fragments mine = {{a[0], a[1], a[2], a[3]}, {b0, b1}}, all[32];
    lanes_give(mine, all);
    u8 rows[16][32], columns[8][32];
    for (u32 n = 0; n < 32; ++n) {
        u32 group = n / 4, at = n % 4 * 4;
        for (u32 part = 0; part < 4; ++part) memcpy(&rows[group + part % 2 * 8][at + part / 2 * 16], &all[n].a[part], 4);
        for (u32 part = 0; part < 2; ++part) memcpy(&columns[group][at + part * 16], &all[n].b[part], 4);
    }
    for (u32 n = 0; n < 4; ++n) {
        const u8 *row = rows[lane() / 4 + n / 2 * 8], *column = columns[lane() % 4 * 2 + n % 2];
        decltype(element(format, row)) sum = 0;
        for (u32 at = 0; at < 32; at += F::BYTES) sum += element(format, row + at) * element(format, column + at);
        *d[n] += (typename F::Sum)sum;
    }
}
template <class F, class C>
void mma(F format, C& d0, C& d1, C& d2, C& d3, const u32 (&a)[4], u32 b0, u32 b1) {
    C* d[4] = {&d0, &d1, &d2, &d3};
    product_of_fragments(format, d, a, b0, b1);
}
void mma(double& d0, double& d1, double a, double b) {
    std::pair<double, double> mine = {a, b}, all[32];
    lanes_give(mine, all);
    for (u32 k = 0; k < 4; ++k) {
        d0 += all[lane() / 4 * 4 + k].first * all[lane() % 4 * 2 * 4 + k].second;
        d1 += all[lane() / 4 * 4 + k].first * all[(lane() % 4 * 2 + 1) * 4 + k].second;
    }
}

// --- mbarrier, TMA, wgmma --------------------------------------------------------------------------------------------

struct Arrivals {
    u32 expected = 0, pending = 0, phase = 0;
    i64 bytes = 0;
    void check() {
        if (pending || bytes) return;
        phase ^= 1;
        pending = expected;
    }
};
std::map<std::pair<u32, u32>, Arrivals> arrivals;  // by block and address

Arrivals& arrivals_at(u32 of_block, u32 barrier) {
    auto found = arrivals.find({of_block, barrier});
    if (found == arrivals.end()) broken("no barrier", barrier);
    return found->second;
}
void set_up_barrier(u32 barrier, u32 count) {
    if (barrier % 8) broken("barrier is not aligned", barrier);
    shared(blockIdx.x, barrier, 8);
    Arrivals fresh;
    fresh.expected = fresh.pending = count;
    arrivals[{blockIdx.x, barrier}] = fresh;
}
void arrive(Arrivals& at, u32 barrier) {
    if (!at.pending) broken("more arrivals than the barrier expects", barrier);
    --at.pending;
    at.check();
}
void expect_bytes(u32 barrier, u32 bytes) {
    Arrivals& at = arrivals_at(blockIdx.x, barrier);
    at.bytes += bytes;
    arrive(at, barrier);
}
void arrive_at(u32 barrier, u32 rank) { arrive(arrivals_at(blockIdx.x / 2 * 2 + rank, barrier), barrier); }
void wait_for(u32 barrier, u32 phase) {
    wait_until([&] { return arrivals_at(blockIdx.x, barrier).phase != phase; });
}
void cluster_meets() { meet(cluster_barrier, 2 * blockDim.x); }
void barriers_are_set_up() {}
void give_registers() {}
void take_registers() {}

// What stands in a tensor map here.
struct Operand {
    const u8* matrix;
    u64 rows, row_bytes, element_bytes;
};

u32 swizzled(u32 address) { return address ^ (address >> 7 & 7) << 4; }

template <class Map>
void fetch_to(const Map& map, u32 of_block, u32 to, u32 barrier, u32 column, u32 row) {
    Operand operand;
    memcpy(&operand, &map, sizeof operand);
    if (to % 1024 || row + 64 > operand.rows || column * operand.element_bytes + 128 > operand.row_bytes) {
        broken("box is out of place", to);
    }
    for (u32 r = 0; r < 64; ++r) {
        const u8* from = operand.matrix + (row + r) * operand.row_bytes + column * operand.element_bytes;
        for (u32 at = 0; at < 128; at += 16) memcpy(shared(of_block, swizzled(to + r * 128 + at), 16), from + at, 16);
    }
    Arrivals& there = arrivals_at(of_block, barrier);
    there.bytes -= 64 * 128;
    there.check();
}
template <class Map>
void fetch_box(const Map& map, u32 to, u32 barrier, u32 column, u32 row) {
    fetch_to(map, blockIdx.x, to, barrier, column, row);
}
template <class Map>
void fetch_box_for_both(const Map& map, u32 to, u32 barrier, u32 column, u32 row) {
    for (u32 rank = 0; rank < 2; ++rank) fetch_to(map, blockIdx.x / 2 * 2 + rank, to, barrier, column, row);
}

// A row's bytes by a matrix descriptor: groups of 8 rows are the stride apart, addresses are swizzled.
const u8* by_descriptor(u64 matrix, u32 row, u32 at) {
    u32 start = (u32)(matrix & 0x3fff) << 4, stride = (u32)(matrix >> 32 & 0x3fff) << 4;
    if (matrix >> 62 != 1) broken("descriptor is not of 128-byte swizzle", (u32)(matrix >> 62));
    return shared(blockIdx.x, swizzled(start + row / 8 * stride + row % 8 * 128 + at), 1);
}
template <class F, class C, u32 TILES>
void step(F format, C (&held)[TILES][2][32], u64 a, u64 b) {
    current->issued.push_back([format, a, b, to = &held] {
        u32 row = threadIdx.x % 128 / 32 * 16 + lane() / 4;
        for (u32 n = 0; n < TILES * 64; ++n) {
            u32 r = n / 32 % 2, c = n % 32;
            u32 column = n / 64 * 128 + c / 2 * 8 + lane() % 4 * 2 + c % 2;
            decltype(element(format, (const u8*)0)) sum = 0;
            for (u32 at = 0; at < 32; at += F::BYTES) {
                sum += element(format, by_descriptor(a, row + 8 * r, at)) * element(format, by_descriptor(b, column, at));
            }
            (*to)[n / 64][r][c] += (C)sum;
        }
    });
}
void steps_begin() {}
void steps_end() { current->stepped.push_back(std::move(current->issued)); }
template <int UNDER_WAY>
void wait_for_steps() {
    for (; current->stepped.size() > UNDER_WAY; current->stepped.pop_front()) {
        for (auto& each : current->stepped.front()) each();
    }
    warp_meets();
}

}  // namespace

namespace operands {
#include "operands.cu"
}
namespace gemm_portable {
#include "gemm_portable.cu"
}
namespace gemm_hopper {
#include "gemm_hopper.cu"
}

int main() {
    u32 format, hopper, rows, columns, depth, passes, rotation, blocks, flip_tile, flip_element;
    u64 seed_a, seed_b, flip_mask;
    while (scanf(" product %u %u %u %u %u %llu %llu %u %u %u %u %u %llu", &format, &hopper, &rows, &columns, &depth,
                 &seed_a, &seed_b, &passes, &rotation, &blocks, &flip_tile, &flip_element, &flip_mask) == 13) {
        static const u32 bytes[] = {2, 2, 4, 1, 8, 1};
        u64 row_bytes = (u64)depth * bytes[format];
        std::vector<Pair> a(rows * row_bytes / 16), b(columns * row_bytes / 16);
        operands::Operands of_a = {(u8*)a.data(), (u64)rows * depth, seed_a, 0, 0, format, 0};
        operands::Operands of_b = {(u8*)b.data(), (u64)columns * depth, seed_b, 0, 0, format, 0};
        run(1, 1, 1, [&] { operands::operands_fill(of_a); });
        run(1, 1, 1, [&] { operands::operands_fill(of_b); });
        std::vector<TileRecord> records(rows / TILE * (columns / TILE));
        Gemm p = {(u8*)a.data(), (u8*)b.data(), nullptr, records.data(), rows, columns, depth, passes, rotation, 0,
                  flip_tile, flip_element, flip_mask};
        if (hopper) {
            gemm_hopper::GemmHopper q = {{}, {}, p, {}};
            Operand maps[2] = {{p.a, rows, row_bytes, bytes[format]}, {p.b, columns, row_bytes, bytes[format]}};
            memcpy((void*)&q.a, &maps[0], sizeof maps[0]);
            memcpy((void*)&q.b, &maps[1], sizeof maps[1]);
            auto kernel = format == 0   ? gemm_hopper::gemm_hopper_bf16
                          : format == 3 ? gemm_hopper::gemm_hopper_int8
                                        : gemm_hopper::gemm_hopper_fp8;
            run(blocks, 2, 384, [&] { kernel(q); });
        } else {
            static void (*const kernels[])(Gemm) = {gemm_portable::gemm_bf16, gemm_portable::gemm_fp16,
                                                    gemm_portable::gemm_tf32, gemm_portable::gemm_int8,
                                                    gemm_portable::gemm_fp64};
            run(blocks, 1, format == 4 ? 512 : 128, [&] { kernels[format](p); });
        }
        for (const TileRecord& record : records) {
            printf("%llu %u %u ", record.sum, record.residue, record.sm_plus_one);
        }
        printf("\n");
    }
}
