"""A whole fleet on one machine: a real Triton, simulated vLLM servers and GPUs, load, and faults on demand.

Start at `supervise.py`.
"""
