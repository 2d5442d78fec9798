"""Small trees of /sys and /proc with known truths, written below a folder of a test.

A tree is a dictionary from path to content; a `Link` is a symbolic link. They are written by code,
since the devices of a node differ in a few numbers and colons in file names do not travel well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NARROW_NIC = 3
"""The card of the GPU node that has 8 of its 16 lanes."""
DOWN_PORT = 5
"""The card of the GPU node whose port is down."""

CONNECTX = "MT2910 Family [ConnectX-7]"
MI300X = "Aqua Vanjaram [Instinct MI300X]"
PCI_IDS = f"""# A comment
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t1478  Navi 10 XL Upstream Port of PCI Express Switch
\t74a1  {MI300X}
\t\t1002 74a1  A subsystem
10de  NVIDIA Corporation
\t2330  GH100 [H100 SXM5 80GB]
15b3  Mellanox Technologies
\t101d  MT2892 Family [ConnectX-6 Dx]
\t1021  {CONNECTX}
8086  Intel Corporation
\t1572  Ethernet Controller X710 for 10GbE SFP+
"""


@dataclass(frozen=True)
class Link:
    """A symbolic link, its target relative to the root of the tree."""

    target: str


Tree = dict[str, str | bytes | Link]


def write_tree(root: Path, tree: Tree) -> Path:
    """Write a tree below `root` and return `root`."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(Path(*[".."] * name.count("/")) / content.target)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def cpu_files(cpu: int, core: int, socket: int, siblings: str) -> Tree:
    """Return where a logical CPU belongs."""
    folder = f"sys/devices/system/cpu/cpu{cpu}/topology"
    return {
        f"{folder}/physical_package_id": f"{socket}\n",
        f"{folder}/core_id": f"{core}\n",
        f"{folder}/thread_siblings_list": f"{siblings}\n",
    }


def frequency_files(cpu: int, governor: str, khz_min: int, khz_max: int) -> Tree:
    """Return how the clock of a logical CPU is governed."""
    folder = f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
    return {
        f"{folder}/scaling_governor": f"{governor}\n",
        f"{folder}/cpuinfo_min_freq": f"{khz_min}\n",
        f"{folder}/cpuinfo_max_freq": f"{khz_max}\n",
    }


def cache_files(cpu: int, index: int, name: tuple[int, str], size: str, shared: str) -> Tree:
    """Return one cache of a logical CPU; `name` is its level and its type."""
    folder = f"sys/devices/system/cpu/cpu{cpu}/cache/index{index}"
    return {
        f"{folder}/level": f"{name[0]}\n",
        f"{folder}/type": f"{name[1]}\n",
        f"{folder}/size": f"{size}\n",
        f"{folder}/shared_cpu_list": f"{shared}\n",
    }


def meminfo(total_kib: int, available_kib: int) -> str:
    """Return the head of /proc/meminfo."""
    return f"MemTotal: {total_kib:>14} kB\nMemFree: 1 kB\nMemAvailable: {available_kib:>10} kB\n"


def numa_files(node: int, cpus: str, kib: int) -> Tree:
    """Return one NUMA node."""
    folder = f"sys/devices/system/node/node{node}"
    text = f"Node {node} MemTotal:       {kib} kB\nNode {node} MemFree:        5 kB\n"
    return {f"{folder}/cpulist": f"{cpus}\n", f"{folder}/meminfo": text}


def host_files(name: str, allowed: str, cgroup: str = "0::/\n") -> Tree:
    """Return the names of a host, and what this process may use there."""
    return {
        "proc/sys/kernel/hostname": f"{name}\n",
        "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
        "proc/sys/kernel/arch": "x86_64\n",
        "proc/self/status": f"Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t{allowed}\n",
        "proc/self/cgroup": cgroup,
        "proc/loadavg": "0.25 0.20 0.15 1/900 4242\n",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 24.04.1 LTS"\n',
    }


def pci_files(folder: str, ids: tuple[str, str], kind: str, numa: int, link: list[str]) -> Tree:
    """Return a PCI device; `link` is speed and width now, then speed and width at most."""
    names = ("current_link_speed", "current_link_width", "max_link_speed", "max_link_width")
    return {
        f"{folder}/vendor": f"0x{ids[0]}\n",
        f"{folder}/device": f"0x{ids[1]}\n",
        f"{folder}/class": f"{kind}\n",
        f"{folder}/numa_node": f"{numa}\n",
        **{f"{folder}/{name}": f"{value}\n" for name, value in zip(names, link, strict=True)},
        f"sys/bus/pci/devices/{folder.rsplit('/', 1)[1]}": Link(folder),
    }


def nic_files(name: str, device: str, driver: str, up: bool, mbit_per_s: int, mtu: int) -> Tree:
    """Return a network interface on a device."""
    folder = f"{device}/net/{name}"
    return {
        f"{folder}/operstate": "up\n" if up else "down\n",
        f"{folder}/speed": f"{mbit_per_s if up else -1}\n",
        f"{folder}/mtu": f"{mtu}\n",
        f"{folder}/device": Link(device),
        f"{device}/driver": Link(f"sys/bus/pci/drivers/{driver}"),
        f"sys/class/net/{name}": Link(folder),
    }


def rdma_files(name: str, device: str, up: bool) -> Tree:
    """Return an InfiniBand device of one port at 400 Gbit/s."""
    folder = f"{device}/infiniband/{name}"
    return {
        f"{folder}/hca_type": "MT4129\n",
        f"{folder}/fw_ver": "28.39.1002\n",
        f"{folder}/device": Link(device),
        f"{folder}/ports/1/state": "4: ACTIVE\n" if up else "1: DOWN\n",
        f"{folder}/ports/1/phys_state": "5: LinkUp\n" if up else "3: Disabled\n",
        # What a port that is down prints here is the least that its kind can do.
        f"{folder}/ports/1/rate": "400 Gb/sec (4X NDR)\n" if up else "10 Gb/sec (4X SDR)\n",
        f"{folder}/ports/1/link_layer": "InfiniBand\n",
        f"sys/class/infiniband/{name}": Link(folder),
    }


def gpu_address(gpu: int) -> str:
    """Return the PCI address of a GPU of the GPU node."""
    return f"0000:{0x10 + 0x10 * gpu:02x}:00.0"


def gpu_node(vendor: str = "1002") -> Tree:
    """Return a node of 2 sockets, 16 cores, 8 GPUs and 8 ConnectX cards with two faults.

    Card `NARROW_NIC` is at x8, the port of card `DOWN_PORT` is down.
    """
    tree = host_files("gpu-node-01", "0-31")
    tree["proc/cpuinfo"] = _cpuinfo("AMD EPYC 9554 64-Core Processor", "fpu avx avx2 fma avx512f")
    tree["proc/meminfo"] = meminfo(1_056_000_000, 1_000_000_000)
    tree["sys/devices/system/cpu/online"] = "0-31\n"
    tree["sys/devices/system/cpu/smt/control"] = "on\n"
    tree["usr/share/misc/pci.ids"] = PCI_IDS
    for cpu in range(32):
        core = cpu % 16
        pair, socket = f"{core},{core + 16}", core // 8
        shared = f"{socket * 8}-{socket * 8 + 7},{socket * 8 + 16}-{socket * 8 + 23}"
        tree |= cpu_files(cpu, core % 8, socket, pair)
        tree |= frequency_files(cpu, "performance", 1_500_000, 3_100_000)
        tree |= cache_files(cpu, 0, (1, "Data"), "32K", pair)
        tree |= cache_files(cpu, 1, (1, "Instruction"), "32K", pair)
        tree |= cache_files(cpu, 2, (2, "Unified"), "1024K", pair)
        tree |= cache_files(cpu, 3, (3, "Unified"), "32768K", shared)
    tree |= numa_files(0, "0-7,16-23", 528_000_000) | numa_files(1, "8-15,24-31", 528_000_000)
    for slot in range(8):
        tree |= _gpu(slot, vendor) | _connectx(slot)
    tree["sys/class/net/lo"] = Link("sys/devices/virtual/net/lo")
    tree["sys/devices/virtual/net/lo/operstate"] = "unknown\n"
    tree["sys/class/net/docker0"] = Link("sys/devices/virtual/net/docker0")
    tree["sys/devices/virtual/net/docker0/operstate"] = "down\n"
    tree["sys/class/net/bonding_masters"] = "\n"
    return tree


def laptop() -> Tree:
    """Return a laptop: 2 cores of two threads, 4 of one, a wireless card, an unplugged cable."""
    tree = host_files("laptop", "0-7")
    tree["proc/cpuinfo"] = _cpuinfo("12th Gen Intel(R) Core(TM) i5-1235U", "fpu sse4_2 avx avx2")
    tree["proc/meminfo"] = meminfo(16_000_000, 1_500_000)
    tree["sys/devices/system/cpu/online"] = "0-7\n"
    tree["sys/devices/system/cpu/smt/control"] = "on\n"
    for cpu in range(8):
        big = cpu < 4
        own = f"{cpu // 2 * 2}-{cpu // 2 * 2 + 1}" if big else str(cpu)
        tree |= cpu_files(cpu, cpu, 0, own)
        tree |= frequency_files(cpu, "powersave", 400_000, 4_400_000 if big else 3_300_000)
        tree |= cache_files(cpu, 0, (1, "Data"), "48K" if big else "32K", own)
        tree |= cache_files(cpu, 2, (2, "Unified"), "1280K", own if big else "4-7")
        tree |= cache_files(cpu, 3, (3, "Unified"), "12288K", "0-7")
    tree |= numa_files(0, "0-7", 16_000_000)
    wireless, cable = "sys/devices/pci0000:00/0000:00:14.3", "sys/devices/pci0000:00/0000:00:1f.6"
    tree |= pci_files(wireless, ("8086", "51f0"), "0x028000", -1, ["Unknown", "0", "Unknown", "0"])
    tree |= pci_files(cable, ("8086", "1a1e"), "0x020000", -1, ["Unknown", "0", "Unknown", "0"])
    tree |= nic_files("wlp0s20f3", wireless, "iwlwifi", up=True, mbit_per_s=-1, mtu=1500)
    tree |= nic_files("enp0s31f6", cable, "e1000e", up=False, mbit_per_s=1000, mtu=1500)
    return tree


def vm() -> Tree:
    """Return a virtual machine of 2 cores without cpufreq, in a container with a CPU quota."""
    group = "kubepods.slice/pod7.slice"
    tree = host_files("vm", "0-1", cgroup=f"0::/{group}\n")
    tree[f"sys/fs/cgroup/{group}/cpu.max"] = "400000 100000\n"
    tree["sys/fs/cgroup/kubepods.slice/cpu.max"] = "150000 100000\n"
    tree[f"sys/fs/cgroup/{group}/memory.max"] = f"{4 * 2**30}\n"
    tree["sys/fs/cgroup/kubepods.slice/memory.max"] = "max\n"
    tree["proc/cpuinfo"] = _cpuinfo("Intel Xeon Processor (Icelake)", "fpu avx512f hypervisor")
    tree["proc/meminfo"] = meminfo(8_000_000, 7_000_000)
    tree["sys/class/dmi/id/sys_vendor"] = "QEMU\n"
    tree["sys/class/dmi/id/product_name"] = "Standard PC (Q35 + ICH9, 2009)\n"
    tree["sys/devices/system/cpu/online"] = "0-1\n"
    for cpu in range(2):
        tree |= cpu_files(cpu, cpu, 0, str(cpu))
    device = "sys/devices/pci0000:00/0000:00:03.0"
    tree |= pci_files(device, ("1af4", "1041"), "0x020000", -1, ["Unknown", "0", "Unknown", "0"])
    tree |= nic_files("eth0", device, "virtio-pci", up=True, mbit_per_s=-1, mtu=1500)
    # A virtio NIC sits on a device that itself sits on the PCI device.
    tree["sys/devices/pci0000:00/0000:00:03.0/virtio1/driver"] = Link("sys/bus/virtio/virtio_net")
    tree["sys/devices/pci0000:00/0000:00:03.0/net/eth0/device"] = Link(f"{device}/virtio1")
    return tree


def spoil(tree: Tree, content: bytes) -> Tree:
    """Return a tree whose every file holds `content`, its links as they were."""
    return {name: old if isinstance(old, Link) else content for name, old in tree.items()}


def texts(tree: Tree) -> Iterator[str]:
    """Yield the names of the files of a tree that are no links."""
    return (name for name, content in tree.items() if not isinstance(content, Link))


def _cpuinfo(model: str, flags: str) -> str:
    block = f"processor\t: 0\nmodel name\t: {model}\nflags\t\t: {flags}\n"
    return f"{block}\n{block.replace(': 0', ': 1')}\n"


def _gpu(slot: int, vendor: str) -> Tree:
    folder = f"sys/devices/pci0000:{slot:02x}/{gpu_address(slot)}"
    device = "74a1" if vendor == "1002" else "2330"
    link = ["32.0 GT/s PCIe", "16", "32.0 GT/s PCIe", "16"]
    tree = pci_files(folder, (vendor, device), "0x030200", slot // 4, link)
    if vendor == "1002":
        tree[f"{folder}/unique_id"] = f"ab12cd34ef5600{slot:02x}\n"
        tree[f"{folder}/mem_info_vram_total"] = f"{192 * 2**30}\n"
        tree[f"{folder}/drm/card{slot}/device"] = Link(folder)
        tree[f"sys/class/drm/card{slot}"] = Link(f"{folder}/drm/card{slot}")
        tree[f"sys/class/drm/card{slot}-DP-1/status"] = "disconnected\n"
        tree["sys/module/amdgpu/version"] = "6.8.5\n"
    return tree


def _connectx(slot: int) -> Tree:
    folder = f"sys/devices/pci0000:{slot:02x}/0000:{0x18 + 0x10 * slot:02x}:00.0"
    width = "8" if slot == NARROW_NIC else "16"
    link = ["32.0 GT/s PCIe", width, "32.0 GT/s PCIe", "16"]
    up = slot != DOWN_PORT
    return (
        pci_files(folder, ("15b3", "1021"), "0x020700", slot // 4, link)
        | nic_files(f"ibp{slot}", folder, "mlx5_core", up=up, mbit_per_s=400_000, mtu=4092)
        | rdma_files(f"mlx5_{slot}", folder, up=up)
    )
