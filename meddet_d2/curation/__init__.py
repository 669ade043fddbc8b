"""Getting data in (preparation) and looking at it (checking)."""
