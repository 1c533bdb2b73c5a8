"""How peers find and reach each other: UDP packets, named addresses, connections that are kept up, relays."""
