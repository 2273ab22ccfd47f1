"""The driver `exec`: a program of the operator moves the traffic. Start at `proxy.py`; `messages.py` is the schema."""
