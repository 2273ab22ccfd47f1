"""What a request asks: the fields of its body, and its body with the engine's name of the model. Start at `ask.py`."""
