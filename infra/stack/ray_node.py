"""`ray start` of several nodes on one machine that listen on 127.0.0.1 alone."""

from functools import cache

from ray._private import ray_constants, services
from ray.scripts.scripts import main

from headrace.pipelines.compatibility.ray_internals import accept_loopback

accept_loopback()
services.find_gcs_addresses = cache(set)  # the workers of a head that died, on this machine, are no second head
ray_constants.ENABLE_RAY_CLUSTER = True  # several nodes, although VARIABLES says that the machine is alone

if __name__ == "__main__":
    main()
