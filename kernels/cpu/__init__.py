"""Kernels for the CPU, compiled by Numba: in one thread each, without the interpreter's lock."""
