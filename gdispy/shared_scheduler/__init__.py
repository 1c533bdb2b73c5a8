"""The daemon that keeps nodes for many clients: `gdispy-scheduler`."""
