"""One task a target: reads it on schedule and hands its samples on."""
