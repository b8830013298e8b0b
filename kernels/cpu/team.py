"""Threads inside a kernel: it enters itself on all of them, and they take chunks of its rows until none is left.

    @kernel
    def rows(..., tickets, n_rows, n_chunks, n_threads, team):
        if enter_on_team(n_threads, team):    # every thread has been through the rest of this kernel
            return
        own = next_place(tickets)             # 0, 1, ...: what a thread has for itself, such as scratch
        first, last = next_chunk(tickets, n_rows, n_chunks)
        while first < last:
            ...                               # the rows from first to last
            first, last = next_chunk(tickets, n_rows, n_chunks)

`threads.enter` calls such a kernel. `team` is the address of GOMP_parallel, its last argument, and 0 where the kernel
runs on the calling thread only.

Chunks that Python hands out (threads.share) cost 5 us each, and a call 30 to 50 us, since a thread must wait for the
GIL before it begins. Here a chunk costs an atomic addition and a call 1 us, on a team that is awake.
"""

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.core.extending import intrinsic

from fastddsp.kernels.cpu.compile import helper
from fastddsp.kernels.cpu.simd import pointer

PAGE = 4096


def bytes_apart(n_bytes: int) -> int:
    """Bytes of a room for n_bytes, one beside the other.

    Where two threads write to neighbouring cache lines, each makes the other wait.
    """
    return -(-n_bytes // PAGE) * PAGE + PAGE


@intrinsic
def enter_on_team(typingctx, n_threads, team):
    """Unless team is 0: run the kernel that says this on n_threads threads, each with its arguments but team 0.

    True once they are done. To be said by the kernel itself, whose last argument must be `team`.
    """

    def codegen(context, builder, signature, args):
        kernel, anything, integer = builder.function, ir.IntType(8).as_pointer(), ir.IntType(32)
        threads = builder.trunc(context.cast(builder, args[0], signature.args[0], types.int64), integer)
        address = context.cast(builder, args[1], signature.args[1], types.int64)
        entered = cgutils.alloca_once_value(builder, cgutils.false_bit)
        with builder.if_then(cgutils.is_not_null(builder, address)):
            shared = cgutils.pack_struct(builder, [ir.Constant(integer, 0), *kernel.args])
            shared_at = cgutils.alloca_once_value(builder, shared)
            body = _body(builder.module, kernel, shared.type)
            parallel = ir.FunctionType(ir.VoidType(), [body.type, anything, integer, integer])
            run = builder.inttoptr(address, parallel.as_pointer())
            builder.call(run, [body, builder.bitcast(shared_at, anything), threads, integer(0)])
            failed = builder.load(cgutils.gep_inbounds(builder, shared_at, 0, 0))
            with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, failed)):
                context.call_conv.return_user_exc(builder, RuntimeError, ("a kernel failed on a thread of its team",))
            builder.store(cgutils.true_bit, entered)
        return builder.load(entered)

    return types.boolean(n_threads, team), codegen


def _body(module: ir.Module, kernel: ir.Function, shared: ir.Type) -> ir.Function:
    """What GOMP_parallel calls on every thread: the kernel, on (failed, its arguments), `team` 0."""
    anything = ir.IntType(8).as_pointer()
    body = ir.Function(module, ir.FunctionType(ir.VoidType(), [anything]), module.get_unique_name("on_team"))
    body.linkage = "internal"
    builder = ir.IRBuilder(body.append_basic_block())
    at = builder.bitcast(body.args[0], shared.as_pointer())
    arguments = [builder.extract_value(builder.load(at), i + 1) for i in range(len(kernel.args))]
    # Numba's first two arguments point to the result, here None, and to the exception; both belong to the thread.
    arguments[:2] = [builder.bitcast(builder.alloca(anything), argument.type) for argument in kernel.args[:2]]
    arguments[-1] = kernel.args[-1].type(0)
    status = builder.call(kernel, arguments)
    with builder.if_then(builder.icmp_signed(">", status, status.type(0))):  # an exception
        builder.store(ir.IntType(32)(1), cgutils.gep_inbounds(builder, at, 0, 0))
    builder.ret_void()
    return body


@intrinsic
def _draw(typingctx, at):
    """The int64 that `at` points to, which is one more from now on: no two threads get the same."""

    def codegen(context, builder, signature, args):
        return builder.atomic_rmw("add", args[0], ir.IntType(64)(1), "monotonic")

    return types.int64(at), codegen


@helper(forceinline=True)
def next_place(tickets):
    """The calling thread's number among those of the call; tickets: two zeros, int64, before the call."""
    return _draw(pointer(tickets, 1))


@helper(forceinline=True)
def next_chunk(tickets, n_rows, n_chunks):
    """First row and end of a chunk that nobody has taken yet; two equal numbers when there is none."""
    chunk = min(_draw(pointer(tickets, 0)), n_chunks)
    return n_rows * chunk // n_chunks, n_rows * min(chunk + 1, n_chunks) // n_chunks
