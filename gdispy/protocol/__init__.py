"""The protocol between peers, as types and as bytes: messages, their fields, the handshake, framing, discovery.

Pure: no I/O, no clock, no source of randomness. Imports only msgpack, libsodium and the package's errors.
"""
