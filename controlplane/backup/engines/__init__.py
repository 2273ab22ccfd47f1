"""Engines that load what was restored. `models.py` finds the models of a restored folder, `triton.py` loads them."""
