// Every access of the kernel to memory: bounds, alignment, uninitialised reads, races.
//
// Two accesses to a word, one of them a write, are a race unless one thread made both, a block barrier lies between
// them, or a __syncwarp of the warp that made both. Blocks are never ordered.
#pragma once
#include "scheduler.h"

extern "C" {
extern char cs_dynamic_smem[];
extern const size_t cs_dynamic_smem_size;  // from the generated file
}

static Region* last_region;

static bool ordered(const Access& a, const Fiber* f) {
    if (a.block != block_number) return false;
    if (a.linear == f->linear || a.barriers != f->barriers) return true;
    return (a.linear >> 5) == f->warp && a.epoch != warps[f->warp].epoch;
}

static void race(const char* what, const Access& a, const Region* r, const char* p, void* pc) {
    report(4, a.pc, pc,
           "RACE %s in %s arg/region %d offset %zu: block %d thread %d @pc:%zx then block %d thread %d @pc:%zx", what,
           r->shared ? "shared" : "global", r->id, (size_t)(p - r->low), a.block, a.linear, PC(a.pc), block_number,
           current()->linear, PC(pc));
}

static void out_of_bounds(const char* p, int size, int write, void* pc) {
    size_t best = ~0ull;
    const Region* nearest = nullptr;
    for (const Region& r : regions) {
        size_t distance = p < r.low ? r.low - p : p - r.high;
        if (distance < best) best = distance, nearest = &r;
    }
    report(5, pc, nullptr,
           "OUT-OF-BOUNDS %s of %d bytes, nearest %s arg/region %d (size %zu) offset %ld, block %d thread (%u,%u,%u) "
           "@pc:%zx",
           write ? "write" : "read", size, nearest && nearest->shared ? "shared" : "global", nearest ? nearest->id : -1,
           nearest ? (size_t)(nearest->high - nearest->low) : 0, nearest ? (long)(p - nearest->low) : 0, WHO(current()),
           PC(pc));
    die();
}

// The region that holds [p, p + size), or null for memory that is not checked: constants and our own state.
static Region* find_region(const char* p, int size, int write, void* pc) {
    if (!last_region || p < last_region->low || p >= last_region->high) {
        last_region = nullptr;
        for (Region& r : regions)
            if (p >= r.low && p < r.high) last_region = &r;
    }
    if (last_region && p + size <= last_region->high) return last_region;
    bool is_dynamic_shared = p >= cs_dynamic_smem && p < cs_dynamic_smem + cs_dynamic_smem_size;
    if (!last_region && !write && p >= module_low && p < module_high && !is_dynamic_shared) return nullptr;
    out_of_bounds(p, size, write, pc);
    return nullptr;
}

static void check_word(Cell& c, const Region* r, const char* p, uint8_t bytes, int write, int atomic, void* pc) {
    const Fiber* f = current();
    const uint32_t epoch = warps[f->warp].epoch;
    const bool same_epoch = c.read.block == block_number && c.read.barriers == f->barriers && c.read.epoch == epoch;
    if (c.write.block >= 0 && (c.write.bytes & bytes) && !ordered(c.write, f) && !(c.write.atomic && atomic))
        race(write ? "write-write" : "read-after-write", c.write, r, p, pc);
    if (write && c.read.block >= 0 && (c.read.bytes & bytes) && !(c.read.atomic && atomic) &&
        (!ordered(c.read, f) || c.read.many_blocks || (c.read.many_threads && same_epoch)))
        race("write-after-read", c.read, r, p, pc);
    if ((!write || atomic == 2) && (c.initialised & bytes) != bytes)
        report(7, pc, nullptr, "UNINITIALISED read in %s arg/region %d offset %zu, block %d thread (%u,%u,%u) @pc:%zx",
               r->shared ? "shared" : "global", r->id, (size_t)(p - r->low), WHO(f), PC(pc));
    Access now;
    now.block = block_number;
    now.linear = f->linear;
    now.barriers = f->barriers;
    now.epoch = epoch;
    now.pc = pc;
    now.bytes = bytes;
    now.atomic = atomic;
    if (write) {
        c.write = now;
        c.initialised |= bytes;
        return;
    }
    now.many_threads = same_epoch && (c.read.linear != f->linear || c.read.many_threads);
    now.many_blocks = c.read.many_blocks || (c.read.block >= 0 && c.read.block != block_number);
    c.read = now;
}

// atomic: 0 plain, 1 volatile (taken as a relaxed atomic), 2 atomic
static void access(char* p, int size, int write, int atomic, void* pc) {
    Fiber* f = current();
    if (!f || !config.check || (p >= f->stack && p < f->stack + STACK)) return;
    Region* r = find_region(p, size, write, pc);
    if (!r) return;
    if ((size_t)p & (size - 1)) report(6, pc, nullptr, "MISALIGNED %d-byte access @pc:%zx", size, PC(pc));
    counts[atomic == 2 ? 4 : (r->shared ? 2 : 0) + write] += (size + 3) / 4;
    uint8_t bytes = size >= 4 ? 15 : (uint8_t)(((1 << size) - 1) << ((p - r->low) & 3));
    for (int o = 0; o < size; o += 4)
        check_word(cells[r->first_cell + ((p + o - r->low) >> 2)], r, p + o, bytes, write, atomic, pc);
    if (config.preempt && random_number() % config.preempt == 0) cs_yield();
}

// ---- what GCC's instrumentation calls

#define RA __builtin_return_address(0)
#define HOOK(N)                                                                \
    void __tsan_read##N(void* p) { access((char*)p, N, 0, 0, RA); }            \
    void __tsan_write##N(void* p) { access((char*)p, N, 1, 0, RA); }           \
    void __tsan_unaligned_read##N(void* p) { access((char*)p, N, 0, 0, RA); }  \
    void __tsan_unaligned_write##N(void* p) { access((char*)p, N, 1, 0, RA); } \
    void __tsan_volatile_read##N(void* p) { access((char*)p, N, 0, 1, RA); }   \
    void __tsan_volatile_write##N(void* p) { access((char*)p, N, 1, 1, RA); }

extern "C" {
HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)
void cs_atomic(const void* p, int size, void* pc) { access((char*)p, size, 1, 2, pc); }
void __tsan_read_range(void* p, size_t n) {
    for (size_t i = 0; i < n; i += 4) access((char*)p + i, 4, 0, 0, RA);
}
void __tsan_write_range(void* p, size_t n) {
    for (size_t i = 0; i < n; i += 4) access((char*)p + i, 4, 1, 0, RA);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void*, void*) {}

struct Location {
    const char* file;
    uint32_t line, column;
};
#define UB(NAME, TEXT)                                                                                                 \
    void __ubsan_handle_##NAME(Location* at, uint64_t a, uint64_t b) {                                                 \
        report(8, at, nullptr, "UB %s at %s:%u:%u (%lld, %lld), block %d thread (%u,%u,%u)", TEXT, at->file, at->line, \
               at->column, (long long)a, (long long)b, WHO(current()));                                                \
    }
UB(out_of_bounds, "array index out of bounds")
UB(shift_out_of_bounds, "shift")
UB(add_overflow, "signed +")
UB(sub_overflow, "signed -")
UB(mul_overflow, "signed *")
UB(divrem_overflow, "division")
UB(float_cast_overflow, "float to int")
UB(negate_overflow, "negate")
UB(type_mismatch_v1, "MISALIGNED address")
}
