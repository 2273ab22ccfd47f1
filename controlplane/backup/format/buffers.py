"""Types of bytes that the format accepts."""

from __future__ import annotations

Buffer = bytes | bytearray | memoryview
"""Bytes that are read, of any kind."""
