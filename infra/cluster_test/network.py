"""Faults of a node's network, by its network namespace: of a container, or one that `ip netns` has made.

All other nodes see them. `iptables` and `tc` run inside the namespace, so the machine's own firewall stays as it is.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.components.errors import ServiceError

DEVICE = "eth0"
Direction = Literal["both ways", "incoming", "outgoing"]
_DEVICE_OPTIONS = {"INPUT": "--in-interface", "OUTPUT": "--out-interface"}


@dataclass(frozen=True)
class Namespace:
    """A network namespace by its file, such as /proc/PID/ns/net, whose device eth0 is one end of a pair."""

    file: Path

    def cut(self, direction: Direction) -> None:
        """Drop all packets of a direction, as the node sees it; nobody is notified, on the node neither."""
        if direction != "outgoing":
            self._drop("INPUT")
        if direction != "incoming":
            # No rule of OUTPUT: a program that sends would get an error. No packet is as small as this bucket.
            self._run(
                "tc", "qdisc", "replace", "dev", DEVICE, "root", "tbf", "rate", "8bit", "burst", "1", "limit", "1"
            )

    def lose(self, fraction: float) -> None:
        """Drop this fraction of the packets of both directions, at random: what TCP notices, and no program."""
        for chain in _DEVICE_OPTIONS:
            self._drop(chain, "-m", "statistic", "--mode", "random", "--probability", str(fraction))

    def slow(self, *, megabits_per_second: float) -> None:
        """Limit both directions, each by itself."""
        rate = f"{megabits_per_second}mbit"
        shape = ["root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms"]
        self._run("tc", "qdisc", "replace", "dev", DEVICE, *shape)
        _run("tc", "qdisc", "replace", "dev", self._peer(), *shape)

    def restore(self) -> None:
        """Take all faults back."""
        for chain in _DEVICE_OPTIONS:
            self._run("iptables", "--flush", chain)
        for run, device in ((self._run, DEVICE), (_run, self._peer())):
            if "tbf" in run("tc", "qdisc", "show", "dev", device):
                run("tc", "qdisc", "del", "dev", device, "root")

    def _drop(self, chain: str, *match: str) -> None:
        command = ("iptables", "--append", chain, _DEVICE_OPTIONS[chain], DEVICE)
        self._run(*command, *match, "--jump", "DROP")

    def _peer(self) -> str:
        """The other end of the pair, in this namespace."""
        [number] = re.findall(rf"{DEVICE}@if(\d+):", self._run("ip", "-oneline", "link", "show", DEVICE))
        [name] = re.findall(rf"^{number}: ([^:@]+)", _run("ip", "-oneline", "link", "show"), re.MULTILINE)
        return str(name)

    def _run(self, *command: str) -> str:
        return _run("nsenter", f"--net={self.file}", *command)


def _run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if ended.returncode != 0:
        raise ServiceError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stderr.strip()}")
    return ended.stdout
