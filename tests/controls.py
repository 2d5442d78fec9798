"""What this machine can do at this moment, for tests that measure: others may use it too.

What a shaped link of the lab carries depends on the CPUs, whose timers serve it. A slow one is
therefore compared at the same moment with a second link between the same hosts, made without the
lab's code: where both are slow, the machine is.
"""

import os
import subprocess
import sys
from pathlib import Path

SPIN = """
import time
begin, used = time.monotonic(), time.process_time()
while time.monotonic() < begin + 0.5: pass
print((time.process_time() - used) / (time.monotonic() - begin))
"""
STATE = Path(os.environ["CLUSTERBENCH_LAB"])
ADDRESSES = {"h1": "10.79.0.1", "h2": "10.79.0.2"}

CABLE = """
set -eu
inside() { name=$1; shift; nsenter --net="$STATE/$name/net" --mount="$STATE/$name/mnt" "$@"; }
shape() { inside "$1" tc qdisc add dev "$2" root tbf rate "$RATE" burst "$BURST" limit "$LIMIT" \
    overhead 24; }
steer() { inside "$1" sh -c "echo $CPUS > /sys/class/net/$2/queues/rx-0/rps_cpus"; }
inside switch ip link add name ref mtu "$MTU" type bridge mcast_snooping 0
inside switch ip link set ref addrgenmode none up
for host in h1 h2; do
    inside $host ip link add name ref mtu "$MTU" type veth \
        peer name ref.$host mtu "$MTU" netns "$STATE/switch/net"
    inside switch ip link set ref.$host master ref addrgenmode none up
    inside $host ip link set ref gso_max_segs 1 addrgenmode none up
    inside $host ip address add 10.79.0.${host#h}/24 dev ref noprefixroute
    inside $host ip route add 10.79.0.0/24 dev ref src 10.79.0.${host#h} congctl cubic
    shape $host ref; shape switch ref.$host
    steer $host ref; steer switch ref.$host
done
"""
"""As docs/lab.md describes its links: shaped where the host sends and where the switch does."""


def free_share() -> float:
    """Return the share of all CPUs that one gets who wants them all: 1 where nobody else does."""
    count = len(os.sched_getaffinity(0))
    spinning = [
        subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return sum(float(process.communicate()[0]) for process in spinning) / count


def join_by_reference(rate_bits_per_s: float, mtu_bytes: int, cpus: int) -> None:
    """Join h1 and h2 of the lab that is up; the link goes with the lab."""
    burst = 9038 + rate_bits_per_s / 8 * 75e-6
    settings = {
        "STATE": str(STATE / "namespaces"),
        "RATE": f"{rate_bits_per_s:.0f}bit",
        "MTU": str(mtu_bytes),
        "BURST": f"{burst:.0f}b",
        "LIMIT": f"{max(rate_bits_per_s / 8 * 0.02, 32 * (mtu_bytes + 38)):.0f}",
        "CPUS": f"{(1 << min(cpus, 32)) - 1:x}",
        "PATH": "/usr/sbin:/sbin:/usr/bin:/bin",
    }
    done = subprocess.run(
        ["sh", "-c", CABLE], env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
