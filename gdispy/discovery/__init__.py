"""Discovery of peers: UDP packets, named addresses, dialers that keep connections, relays."""
