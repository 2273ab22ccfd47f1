"""The parts of a control plane that runs: each takes over what changes for it, and brings its own loops.

`part.py` has the protocol and the ordered list; start there, then with the part that you look for: `metrics.py`,
`scraping.py`, `alerting.py`, `accounts.py`, `rolling.py`, `access.py`, `housekeeping.py`. `../wiring.py` lists them.
"""
