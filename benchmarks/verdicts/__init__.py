"""Parts of bench_verdicts.py: the methods that are compared, and the streams of answers."""
