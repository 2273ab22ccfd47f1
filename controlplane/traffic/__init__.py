"""Drivers: they move traffic between versions of a model.

Start at `driver.py` (the contract) and `drivers.py` (the registry). Each driver is a package of its own.
"""
