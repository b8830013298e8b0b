"""The CUDA kernels measured on a GPU, against plain torch, eager and compiled: `python -m fastddsp.benchmarks.gpu`."""
