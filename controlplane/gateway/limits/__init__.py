"""Keys, and the limits of key, tenant and model, in memory that all workers of a gateway share.

Start at `shared.py`: the face that a worker asks. `gauge.py` has the arithmetic of one limit, `memory.py` the places of
its numbers, `locks.py` the agreement of workers, `keeper.py` the supervisor's side, `shares.py` the division of a limit
over several gateways.
"""
