"""CUDA C kernels (`.cu`), compiled by NVRTC and launched through CuPy on memory that the caller allocated."""
