// Fibers, block barriers and warp collectives. Every CUDA thread is a fiber that runs until it must wait for others.
#pragma once
#include "state.h"

static void* scheduler_stack;
static int queue[MAX_THREADS * 4], queue_head, queue_length;
static int n_waiting, n_true, barrier_line, barrier_kind, barrier_result;
static void (*kernel)(void**);
static void** kernel_arguments;

// ---- fibers

extern "C" void cs_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(.text
.globl cs_switch
.hidden cs_switch
.type cs_switch,@function
cs_switch: pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
 movq %rsp,(%rdi); movq %rsi,%rsp
 popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret
)");
static void* new_stack(char* base, void (*fn)()) {
    // Staggered, because equal offsets would share cache sets.
    void** p = (void**)(base + STACK - ((size_t)base / STACK % 61) * 192);
    *--p = nullptr;
    *--p = (void*)fn;
    p -= 6;
    memset(p, 0, 48);
    return p;
}
#else
#error "port cs_switch/new_stack to this CPU (10 lines), or use swapcontext"
#endif

[[noreturn]] static void die() {
    fatal = 1;
    void* dummy;
    cs_switch(&dummy, scheduler_stack);
    __builtin_unreachable();
}

extern "C" void cs_fail(const char* what, int line) {
    report(9, (void*)what, (void*)(size_t)line, "FAIL %s at line %d, block %d thread (%u,%u,%u)", what, line,
           WHO(current()));
    die();
}

// ---- the queue of threads that can run

static void push(int i) {
    int p = (queue_head + queue_length++) % (MAX_THREADS * 4);
    queue[p] = i;
    if (config.order == RANDOM) {
        int s = (queue_head + random_number() % queue_length) % (MAX_THREADS * 4);
        std::swap(queue[p], queue[s]);
    }
}

static int pop() {
    if (config.order == REVERSE) return queue[(queue_head + --queue_length) % (MAX_THREADS * 4)];
    int i = queue[queue_head];
    queue_head = (queue_head + 1) % (MAX_THREADS * 4);
    --queue_length;
    return i;
}

static void to_scheduler() {
    ++counts[5];
    cs_switch(&current()->stack_pointer, scheduler_stack);
}

extern "C" void cs_yield() {
    push(current()->linear);
    to_scheduler();
}
// ---- collectives

static void release_barrier() {
    barrier_result = barrier_kind == 1 ? n_true > 0 : barrier_kind == 2 ? n_true == n_waiting : n_true;
    if (n_live < n_threads)
        report(10, (void*)(size_t)barrier_line, nullptr,
               "EARLY-EXIT barrier at line %d is completed by %d of %d threads, the others have returned, block %d",
               barrier_line, n_live, n_threads, block_number);
    n_waiting = 0;
    n_true = 0;
    for (int i = 0; i < n_threads; ++i)
        if (fibers[i].state == WAIT_BARRIER) {
            fibers[i].state = READY;
            fibers[i].barriers++;
            push(i);
        }
}

extern "C" int cs_barrier(int kind, int pred, int line) {
    Fiber* f = current();
    if (n_waiting && (barrier_line != line || barrier_kind != kind))
        report(1, (void*)(size_t)barrier_line, (void*)(size_t)line,
               "DIVERGENT-BARRIER __syncthreads at line %d while others wait at line %d, block %d thread (%u,%u,%u)",
               line, barrier_line, WHO(f));
    barrier_line = line;
    barrier_kind = kind;
    ++n_waiting;
    n_true += !!pred;
    f->state = WAIT_BARRIER;
    f->line = line;
    if (n_waiting == n_live) release_barrier();
    to_scheduler();
    return barrier_result;
}

static void release_warp(int warp) {
    Warp& w = warps[warp];
    unsigned took_part = w.took_part[w.generation & 1] = w.arrived;
    w.arrived = 0;
    w.generation++;
    for (int l = 0; l < 32; ++l) {
        int i = warp * 32 + l;
        if (i < n_threads && fibers[i].state == WAIT_WARP && (took_part >> l & 1)) {
            fibers[i].state = READY;
            push(i);
        }
    }
}

// All live lanes of `mask` meet; returns which buffer holds their values.
static int meet(unsigned mask, uint64_t bits, int kind, int line) {
    Fiber* f = current();
    Warp& w = warps[f->warp];
    unsigned me = 1u << f->lane;
    if (!(mask & me)) cs_fail("warp collective: mask lacks the calling lane", line);
    if (w.arrived && (w.line != line || w.kind != kind || w.mask != mask))
        report(2, (void*)(size_t)w.line, (void*)(size_t)line,
               "DIVERGENT-WARP collective at line %d (mask %08x) meets another at line %d (mask %08x), block %d thread "
               "(%u,%u,%u)",
               line, mask, w.line, w.mask, WHO(f));
    int b = w.generation & 1;
    w.line = line;
    w.kind = kind;
    w.mask = mask;
    w.value[b][f->lane] = bits;
    w.arrived |= me;
    if ((w.arrived & w.live) == (mask & w.live)) {
        release_warp(f->warp);
    } else {
        f->state = WAIT_WARP;
        f->line = line;
        to_scheduler();
    }
    return b;
}

extern "C" void cs_syncwarp(unsigned mask, int line) {
    Warp& w = warps[current()->warp];
    uint32_t g = w.generation;
    meet(mask, 0, 5, line);
    if (w.generation == g + 1 && (mask & w.live) == w.live && w.epoch != g + 1) w.epoch = g + 1;
}

// kind: 0 index, 1 up, 2 down, 3 xor
extern "C" uint64_t cs_shfl(int kind, unsigned mask, uint64_t bits, int arg, int width, int line) {
    int lane = current()->lane, base = lane & ~(width - 1), src = lane;
    if (kind == 0) src = base + (arg & (width - 1));
    if (kind == 1) src = lane - arg < base ? lane : lane - arg;
    if (kind == 2) src = lane + arg >= base + width ? lane : lane + arg;
    if (kind == 3) src = (lane ^ arg) >= base + width ? lane : lane ^ arg;
    Warp& w = warps[current()->warp];
    int b = meet(mask, bits, 10 + kind, line);
    if (!(w.took_part[b] >> src & 1)) {
        report(3, (void*)(size_t)line, nullptr,
               "SHFL-INACTIVE line %d: lane %d reads lane %d which did not take part, block %d", line, lane, src,
               block_number);
        return ~0ull;
    }
    return w.value[b][src];
}

extern "C" unsigned cs_vote(unsigned mask, int pred, int line) {
    Warp& w = warps[current()->warp];
    int b = meet(mask, pred, 20, line);
    unsigned r = 0;
    for (int l = 0; l < 32; ++l)
        if (w.took_part[b] >> l & 1 && w.value[b][l]) r |= 1u << l;
    return r;
}

extern "C" unsigned cs_match(unsigned mask, uint64_t bits, int line) {
    Warp& w = warps[current()->warp];
    int b = meet(mask, bits, 21, line);
    unsigned r = 0;
    for (int l = 0; l < 32; ++l)
        if (w.took_part[b] >> l & 1 && w.value[b][l] == bits) r |= 1u << l;
    return r;
}

extern "C" unsigned cs_activemask() { return warps[current()->warp].live; }
static void fiber_main() {
    kernel(kernel_arguments);
    Fiber* f = current();
    f->state = DONE;
    --n_live;
    Warp& w = warps[f->warp];
    w.live &= ~(1u << f->lane);
    if (n_live && n_waiting == n_live) release_barrier();
    if (w.arrived && (w.arrived & w.live) == (w.mask & w.live)) {  // the rest of the warp can go on
        report(11, (void*)(size_t)w.line, nullptr,
               "EARLY-EXIT warp collective at line %d (mask %08x): named lanes returned instead of joining, block %d "
               "warp %d",
               w.line, w.mask, block_number, f->warp);
        release_warp(f->warp);
    }
    for (;;) to_scheduler();
}