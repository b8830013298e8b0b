"""What the instruments of the paper do on real-instrument sound, measured: one module an experiment.

    python -m fastddsp.benchmarks.experiments.NAME           results and pictures to where they are committed
    python -m fastddsp.benchmarks.experiments.NAME --quick --out DIR     a minute: does it run?
    python -m fastddsp.benchmarks.experiments.page           docs/experiments.md out of the committed results

`common` is the form of a result and the command of an experiment, `trainings` trains and remembers, `phrases` is a data
set that several share, `page` writes.
"""
