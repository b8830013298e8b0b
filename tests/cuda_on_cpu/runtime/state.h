// State of one running grid: fibers, warps, memory regions, findings. Shared by scheduler.h and checker.h, which
// executor.cpp puts into one translation unit.
#pragma once
#include <cstdarg>
#include <cstdlib>
#include <vector>

#include "cuda.h"

enum { READY, WAIT_BARRIER, WAIT_WARP, DONE };
enum { FORWARD, REVERSE, RANDOM };

struct Fiber : CsFiber {  // one CUDA thread
    void* stack_pointer;
    char* stack;
    int linear, warp, state, line;
    uint32_t barriers;  // block barriers passed so far: accesses of different epochs are ordered
};
struct Warp {  // one collective in flight; its results are double-buffered
    unsigned live, arrived, mask;
    int line, kind;
    uint32_t generation, epoch;
    uint64_t value[2][32];
    unsigned took_part[2];
};
struct Config {
    int order;
    uint32_t seed;
    int ftz, check, preempt;
};
struct Region {  // memory that the kernel may touch; id: number of the buffer, -1 static and -2 dynamic shared memory
    char *low, *high;
    int id, shared;
    size_t first_cell;
};
struct Access {
    int block = -1, linear = 0;
    uint32_t barriers = 0, epoch = 0;
    void* pc = nullptr;
    uint8_t bytes = 0, atomic = 0, many_threads = 0, many_blocks = 0;
};
struct Cell {  // what is known of one 4-byte word: its last write, its last read, which bytes have a value
    Access write, read;
    uint8_t initialised = 15;
};

static const int MAX_THREADS = 1024;
static const size_t STACK = 64 << 10;

static Fiber fibers[MAX_THREADS];
static Warp warps[32];
static int n_threads, n_live, block_number, fatal;
static Config config;
static std::vector<Region> regions;
static std::vector<Cell> cells;
static char *module_low, *module_high;
static uint64_t counts[6];  // words of global memory read and written, of shared memory likewise, atomics, switches

static Fiber* current() { return (Fiber*)cs_cur; }

static uint32_t random_state;
static uint32_t random_number() {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    return random_state ^= random_state << 5;
}

// ---- findings: each kind is told once for a pair of places, 40 in all

static char findings[1 << 16];
static size_t findings_length;
static int n_findings, n_seen;
static struct {
    int kind;
    void *a, *b;
} seen[256];

static void report(int kind, void* a, void* b, const char* format, ...) {
    for (int i = 0; i < n_seen; ++i)
        if (seen[i].kind == kind && seen[i].a == a && seen[i].b == b) return;
    if (n_seen < 256) seen[n_seen++] = {kind, a, b};
    if (++n_findings > 40) return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(findings + findings_length, sizeof findings - findings_length, format, arguments);
    va_end(arguments);
    if (length > 0 && findings_length + length < sizeof findings - 2) {
        findings_length += length;
        findings[findings_length++] = '\n';
        findings[findings_length] = 0;
    }
}
// Arguments of "@pc:%zx", which executor.py turns into a line of the source, and of "block %d thread (%u,%u,%u)".
#define PC(p) ((size_t)((char*)(p) - module_low))
#define WHO(f) block_number, (f)->tid.x, (f)->tid.y, (f)->tid.z
