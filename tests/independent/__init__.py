"""Another implementation of docs/protocol.md, which imports nothing of gdispy; tests compare the two.

It was written from the document: hashlib, msgpack, PyNaCl and plain blocking sockets. `keys` has the secrets and the
handshake, `frames` what goes over a connection, `messages` reads the document's own table, `payloads` has what users'
bytes hold, `link` a connection, `node` a node.
"""
