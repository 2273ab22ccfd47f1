"""Planning of rollouts: what is checked before anything moves. Start reading at plan.py."""
