"""The buttons of a message about alerts. They act on what the message shows: their value is its id."""

from __future__ import annotations

from alerts.interfaces import Button, Message

ACKNOWLEDGE, SNOOZE, SILENCE, GIVE_BACK = "alert.acknowledge", "alert.snooze", "alert.silence", "alert.unacknowledge"
"""Names of the actions. They act on the firing alerts of the message."""
SNOOZE_S, SILENCE_S = 3600.0, 7200.0
MOST_VALUE = 2000
"""Most characters of a button's value: Slack's limit. A message with a longer id has no buttons."""


def buttons_of(message: Message) -> tuple[Button, ...]:
    """Return the buttons of a message: none when nothing in it fires."""
    if not message.firing or len(message.id) > MOST_VALUE:
        return ()
    labels = ", ".join(f"{name}={value}" for name, value in message.group_labels)
    silence = Button(
        "Silence 2 h",
        SILENCE,
        message.id,
        confirm=f"Hold back every alert with {labels} for two hours, at every receiver?",
    )
    marked = {mark.fingerprint for mark in message.marks}
    if all(alert.fingerprint in marked for alert in message.firing):
        return (Button("Give back", GIVE_BACK, message.id), *((silence,) if labels else ()))
    taken = Button("Acknowledge", ACKNOWLEDGE, message.id, "primary"), Button("Snooze 1 h", SNOOZE, message.id)
    return (*taken, silence) if labels else taken
