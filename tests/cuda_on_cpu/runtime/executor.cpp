// Runs a grid of CUDA threads on the CPU: block after block, each thread a fiber, under a checker.
//
// This file is compiled without sanitizers. The kernel is compiled with GCC's -fsanitize=thread, which makes it call
// __tsan_read4(...) and its kin for every access: they are in checker.h, so no libtsan is needed and the CUDA source
// stays as it is. executor.py builds, loads and calls this.
#include <link.h>
#include <sys/mman.h>
#include <xmmintrin.h>

#include "checker.h"

extern "C" {
CsFiber* cs_cur;
uint3 cs_block;
dim3 cs_bdim, cs_gdim;
extern char __start_cs_shared[] __attribute__((weak)), __stop_cs_shared[] __attribute__((weak));
// Generated for PTX alone: offset and size of every shared variable, their number, where dynamic shared memory begins.
extern const unsigned cs_smem_vars[][2] __attribute__((weak)), cs_smem_nvars __attribute__((weak)),
    cs_smem_dyn __attribute__((weak));
}

static char* stacks;
static size_t n_shared_cells;
static char* dynamic_shared;  // within cs_dynamic_smem

static int find_module(struct dl_phdr_info* info, size_t, void*) {
    char *low = (char*)~0ull, *high = nullptr;
    for (int k = 0; k < info->dlpi_phnum; ++k)
        if (info->dlpi_phdr[k].p_type == PT_LOAD) {
            char* start = (char*)info->dlpi_addr + info->dlpi_phdr[k].p_vaddr;
            if (start < low) low = start;
            if (start + info->dlpi_phdr[k].p_memsz > high) high = start + info->dlpi_phdr[k].p_memsz;
        }
    if ((char*)&config < low || (char*)&config >= high) return 0;
    module_low = (char*)info->dlpi_addr;
    module_high = high;
    return 1;
}

static void make_stacks() {  // a guard page below each turns an overflow into a crash
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    stacks = (char*)mmap(nullptr, STACK * n_threads, PROT_READ | PROT_WRITE, flags, -1, 0);
    for (int i = 0; i < n_threads; ++i) mprotect(stacks + STACK * i, 4096, PROT_NONE);
}

static size_t words(const Region& r) { return (size_t)(r.high - r.low + 3) / 4; }

static void find_regions(size_t shared_bytes, const uint64_t* buffers, int n_buffers) {
    size_t n_cells = 0;
    auto add = [&](char* low, size_t size, int id, int shared) {
        if (!size) return;
        regions.push_back({low, low + size, id, shared, n_cells});
        n_cells += words(regions.back());
    };
    regions.clear();
    last_region = nullptr;
    dynamic_shared = cs_dynamic_smem;
    if (&cs_smem_nvars) {
        for (unsigned i = 0; i < cs_smem_nvars; ++i)
            add(dynamic_shared + cs_smem_vars[i][0], cs_smem_vars[i][1], -1, 1);
        dynamic_shared += cs_smem_dyn;
    }
    add(__start_cs_shared, __stop_cs_shared - __start_cs_shared, -1, 1);
    add(dynamic_shared, shared_bytes, -2, 1);
    n_shared_cells = n_cells;
    for (int i = 0; i < n_buffers; ++i) add((char*)buffers[3 * i], buffers[3 * i + 1], i, 0);
    if (!config.check) return;
    cells.assign(n_cells, Cell());
    for (Region& r : regions)
        if (!r.shared && buffers[3 * r.id + 2])
            for (size_t k = 0; k < words(r); ++k) cells[r.first_cell + k].initialised = 0;
}

static std::vector<uint32_t> block_order(size_t n) {
    std::vector<uint32_t> order(n);
    for (size_t i = 0; i < n; ++i) order[i] = config.order == REVERSE ? n - 1 - i : i;
    if (config.order == RANDOM)
        for (size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random_number() % i]);
    return order;
}

static void start_block(const unsigned* block, size_t shared_bytes) {
    memset(__start_cs_shared, 0xff, __stop_cs_shared - __start_cs_shared);  // shared memory starts as NaN
    memset(cs_dynamic_smem, 0xff, dynamic_shared + shared_bytes - cs_dynamic_smem);
    Cell empty;
    empty.initialised = 0;
    if (config.check) std::fill(cells.begin(), cells.begin() + n_shared_cells, empty);
    n_live = n_threads;
    n_waiting = n_true = 0;
    queue_head = queue_length = 0;
    memset(warps, 0, sizeof warps);
    for (int i = 0; i < n_threads; ++i) {
        Fiber& f = fibers[i];
        f.tid = {i % block[0], i / block[0] % block[1], i / (block[0] * block[1])};
        f.linear = i;
        f.lane = i & 31;
        f.warp = i >> 5;
        f.state = READY;
        f.barriers = 0;
        f.stack = stacks + STACK * i;
        f.stack_pointer = new_stack(f.stack, fiber_main);
        warps[f.warp].live |= 1u << f.lane;
        push(i);
    }
}

static void run_block() {
    while (queue_length && !fatal) {
        int i = pop();
        if (fibers[i].state != READY) continue;
        cs_cur = &fibers[i];
        cs_switch(&scheduler_stack, fibers[i].stack_pointer);
    }
    cs_cur = nullptr;
    if (fatal || !n_live) return;
    int at_barrier = 0, in_warp = 0, barrier = 0, collective = 0;
    for (int i = 0; i < n_threads; ++i) {
        if (fibers[i].state == WAIT_BARRIER) ++at_barrier, barrier = fibers[i].line;
        if (fibers[i].state == WAIT_WARP) ++in_warp, collective = fibers[i].line;
    }
    report(0, 0, 0,
           "DEADLOCK block %d: %d threads in __syncthreads (line %d), %d in a warp collective (line %d), %d finished",
           block_number, at_barrier, barrier, in_warp, collective, n_threads - n_live);
    fatal = 1;
}

static void find_unwritten(const uint64_t* buffers) {
    for (Region& r : regions) {
        if (r.shared || !buffers[3 * r.id + 2]) continue;
        size_t n = (r.high - r.low) / 4, missing = 0, first = 0;
        for (size_t k = 0; k < n; ++k)
            if (cells[r.first_cell + k].initialised != 15 && !missing++) first = k;
        if (missing)
            report(0, (void*)r.first_cell, 0, "NOT-WRITTEN output arg/region %d: %zu of %zu words, first at offset %zu",
                   r.id, missing, n, first * 4);
    }
}

extern "C" {
const char* cs_report() { return findings; }
const uint64_t* cs_counts() { return counts; }

// buffers: n_buffers times (pointer, bytes, whether it is an output without values); 0 fine, 1 findings, 2 aborted
int cs_launch(void (*invoke)(void**), const unsigned* grid, const unsigned* block, size_t shared_bytes,
              void** arguments, const uint64_t* buffers, int n_buffers, const Config* settings) {
    config = *settings;
    random_state = config.seed * 2654435761u + 12345;
    kernel = invoke;
    kernel_arguments = arguments;
    findings_length = n_findings = n_seen = fatal = 0;
    findings[0] = 0;
    memset(counts, 0, sizeof counts);
    n_threads = block[0] * block[1] * block[2];
    cs_bdim = {block[0], block[1], block[2]};
    cs_gdim = {grid[0], grid[1], grid[2]};
    if (n_threads < 1 || n_threads > MAX_THREADS || block[2] > 64 || grid[1] > 65535 || grid[2] > 65535) {
        report(0, 0, 0, "LAUNCH bad configuration");
        return 2;
    }
    if (shared_bytes > cs_dynamic_smem_size) {
        report(0, 0, 0, "LAUNCH %zu bytes of dynamic shared memory", shared_bytes);
        return 2;
    }
    if (!module_high) dl_iterate_phdr(find_module, nullptr);
    make_stacks();
    find_regions(shared_bytes, buffers, n_buffers);
    unsigned control = _mm_getcsr();
    if (config.ftz) _mm_setcsr(control | 0x8040);
    for (uint32_t number : block_order((size_t)grid[0] * grid[1] * grid[2])) {
        if (fatal) break;
        block_number = number;
        cs_block = {number % grid[0], number / grid[0] % grid[1], (unsigned)(number / ((size_t)grid[0] * grid[1]))};
        start_block(block, shared_bytes);
        run_block();
    }
    _mm_setcsr(control);
    munmap(stacks, STACK * n_threads);  // thousands of libraries with guard pages would use up the process's mappings
    if (config.check && !fatal) find_unwritten(buffers);
    return fatal ? 2 : n_findings ? 1 : 0;
}
}
