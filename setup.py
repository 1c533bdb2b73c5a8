"""Metadata, dependencies and commands are in pyproject.toml."""

from setuptools import setup

setup()
