"""Landmarks as the peaks of heat maps."""
