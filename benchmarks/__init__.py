"""Measured comparisons: every kernel against plain torch in its peers' ways.

`python -m pytest benchmarks` measures and checks; `fastddsp bench` shows a user the same figures on his machine.
Nothing here decides whether a test suite passes: speed is reported, only wrong answers fail.
"""
