"""What travels between peers, as types and as bytes: messages, their fields, the handshake, framing, discovery.

Pure: no I/O, no clock, no randomness of its own. Imports only msgpack, libsodium and the package's errors.
"""
