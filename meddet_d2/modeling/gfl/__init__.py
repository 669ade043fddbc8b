"""GFL: its head, losses, assignment and decoding."""
