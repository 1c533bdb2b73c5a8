"""Greenlets, the pump that drives a rules object, and the hardening of daemon processes."""
