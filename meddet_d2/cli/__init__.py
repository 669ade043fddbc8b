"""The commands: one file for each, with its options and one call. ``meddet`` (console.py) and tools/ lead here."""
