"""A NodeAllocate of one's own decides about each node, and changes what its setup gets."""

import sys

import gdispy as dispy


class Wanted(dispy.NodeAllocate):
    def allocate(self, cluster, ip_addr, name, cpus, avail_info=None, platform=""):
        asked.append((cluster.name, ip_addr, name, cpus, platform.startswith("linux")))
        if name != "two":
            return 0
        self.setup_args = (name, cpus)
        return cpus - 1


def setup(name, cpus):
    global told
    told = (name, cpus)
    return 0


def compute():
    return (told, dispy_node_name)


if __name__ == "__main__":
    asked = []
    cluster = dispy.JobCluster(compute, nodes=[Wanted("127.0.0.*")], setup=setup)
    for node in sys.argv[1:]:
        host, port = node.split(":")
        cluster.discover_nodes([(host, int(port))])
    jobs = [cluster.submit() for _ in range(4)]
    print({job() for job in jobs})
    print([(node.name, node.cpus) for node in cluster.status().nodes])
    for node in sys.argv[1:]:
        cluster.discover_nodes([node])
    cluster.resetup_node("two")
    job = cluster.submit()
    print(job())
    cluster.close()
    print(sorted(set(asked)))
