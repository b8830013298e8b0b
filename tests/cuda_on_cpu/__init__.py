"""CUDA kernels tested on a machine without a GPU: executed, checked, compiled and counted. See docs/cuda_on_cpu.md."""
