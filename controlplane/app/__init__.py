"""The program: this package creates, starts and stops every part of the control plane. No other package does."""
