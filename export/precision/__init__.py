"""Graphs of less than full precision."""
