"""What runs in the processes under a node: the spawner, the templates, the workers.

Standard library, dill and msgpack only: these processes never load gevent, sockets of the
wire, or keys. The client uses `pickling` as well, since what one side writes the other reads.
"""
