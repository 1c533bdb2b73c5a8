"""Directories and files that are safe to use although others write beside them."""
