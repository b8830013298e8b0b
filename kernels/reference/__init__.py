"""The specification: every kernel in float64 NumPy, as plainly as it can be said."""
