"""Numbers in, numbers out: kernels without torch, and their specification in `reference`."""
