"""Directories and files that are safe to use even if others write to the same tree."""
