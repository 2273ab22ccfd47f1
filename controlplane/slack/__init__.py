"""Slack's way back: buttons in messages that act here, over HTTP requests or a WebSocket that this process opens.

Start at `interactions.py`.
`rollouts.py` has the actions of rollouts. Another kind of button is another list of actions.
"""
