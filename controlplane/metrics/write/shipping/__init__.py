"""Samples on their way to another server: a queue on disk that survives `kill -9`, and a sender that empties it.

append (event loop: keeps a reference) -> Queue.flush (a thread: one record a row) -> segments on disk
-> Queue.read (a window of rows, as finished requests) -> Sender (retries until the server accepts them) -> acknowledge
"""
