"""Every differentiable function of tensors, one file per family; imports `kernels` only."""
