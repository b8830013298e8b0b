"""The specification: what each kernel computes, in float64 NumPy, without tricks."""
