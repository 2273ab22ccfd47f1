"""Samples on their way to another server: a queue on disk that survives `kill -9`, and what empties it.

append (event loop: remembers a reference) -> Queue.flush (a thread: one record a row) -> segments on disk
-> Queue.read (a window of rows, as finished requests) -> Sender (retries until the server takes them) -> acknowledge
"""
