"""`ray start` that listens on 127.0.0.1 alone.

Ray takes a node address of 127.0.0.1 for a mistake, puts the machine's own in its place, and then listens on every
interface. What it starts in turn is told so by RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: a machine that is alone.
"""

from ray._private import ray_constants, services
from ray.scripts.scripts import main

services.resolve_ip_for_localhost = lambda host: host
services.find_gcs_addresses = set  # the workers of a head that died, on this machine, are no second head
ray_constants.ENABLE_RAY_CLUSTER = True  # alone, yet with several nodes

if __name__ == "__main__":
    main()
