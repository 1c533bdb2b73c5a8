"""Metadata is in pyproject.toml; the commands are here because they must patch before they import.

An entry point would import the package first. These files patch, then import (see docs/architecture.md).
"""

from setuptools import setup

setup(scripts=["scripts/gdispy", "scripts/gdispy-node", "scripts/gdispy-scheduler"])
