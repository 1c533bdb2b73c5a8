"""Code of the processes under a node: the spawner, the templates, the workers.

Standard library, dill and msgpack only: these processes never load gevent, network code, or keys. The client uses
`pickling` as well, since one side reads what the other writes.
"""
