"""Attacks on daemons that this package itself starts: `python -m tests.attack --seconds 60`, see `__main__.py`."""
