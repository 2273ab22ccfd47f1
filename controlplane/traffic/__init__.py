"""Drivers: what moves traffic between versions of a model.

Start at `driver.py` (the contract) and `triton.py`.
"""
