"""Connections: sockets, handshakes, TLS, limits for strangers, keys."""
