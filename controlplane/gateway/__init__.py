"""The gateway: the process that clients' requests to models go through.

It needs neither the control plane nor a database to go on serving. Start at `seams.py`: the life of a request, and what
each of its stages asks of the next. `process/` has the supervisor and its workers, `exchange/` one request's life.
"""
