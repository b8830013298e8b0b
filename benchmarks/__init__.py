"""Measured comparisons: a kernel whose answer is wrong gets no figure."""
