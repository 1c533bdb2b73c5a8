"""Greenlets, the loop that drives a rules object, and what a daemon does to its own process."""
