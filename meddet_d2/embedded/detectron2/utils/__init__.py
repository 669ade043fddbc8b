"""Processes, events, logging, files and pictures."""
