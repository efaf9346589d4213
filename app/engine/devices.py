"""What a machine can compute on, present or absent with the reason. Imports no torch and touches no
accelerator.

That is on purpose: model processes are forked, and nothing may be forked after CUDA was initialised. NVIDIA's
NVML, Linux's /sys and the names of installed packages say enough. Knows nothing of models and workers.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from app.engine import memory

# Best first; `auto` takes the first that is present. OpenVINO and QNN run models only through runtimes made
# for them.
AUTOMATIC = ("cuda", "rocm", "mps", "cpu")
KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
DRM_CARDS = Path("/sys/class/drm")
QNN_LIBRARIES = ("libQnnHtp.so", "libQnnCpu.so")
QNN_FOLDERS = (Path("/usr/lib"), Path("/usr/lib/aarch64-linux-gnu"), Path("/opt/qcom/aistack"))
# Accelerators with memory of their own, of which a machine may have several.
OWN_MEMORY = ("cuda", "rocm")


@dataclass(frozen=True, slots=True)
class Device:
    """One device, or with `present` false the absence of its class and the `reason`.

    `kind` is cuda, rocm, mps, openvino, qnn or cpu; memory in bytes; `capability` as the maker writes it
    (8.0, gfx942). `busy`: of its time just now, 0 to 1, the share that it computed; None where it does not
    tell.
    """

    kind: str
    index: int = 0
    name: str = ""
    present: bool = True
    reason: str = ""
    total_bytes: int = 0
    free_bytes: int = 0
    capability: str = ""
    driver: str = ""
    busy: float | None = None

    @property
    def id(self) -> str:
        """As in settings and queue names: cuda:0, cpu."""
        return f"{self.kind}:{self.index}" if self.kind in OWN_MEMORY else self.kind

    @property
    def torch_device(self) -> str:
        """torch's name; its ROCm builds say cuda."""
        return f"cuda:{self.index}" if self.kind in OWN_MEMORY else self.kind


def detect() -> list[Device]:
    """Every class has at least one entry; the CPU's is always present and last."""
    devices: list[Device] = []
    for kind, detect_kind in DETECTORS.items():
        try:
            devices += detect_kind() or [absent(kind, "none found")]
        except Exception as error:  # noqa: BLE001 - a broken driver must not keep a worker from using the CPU
            devices.append(absent(kind, f"detection failed: {error}"))
    return devices


def resolve(name: str, devices: Sequence[Device] | None = None) -> Device:
    """`auto`, `gpu` (an accelerator), a class (`cuda`) or a device (`cuda:1`). Raises ValueError with a
    sentence when it is not there."""
    devices = detect() if devices is None else devices
    present = [device for device in devices if device.present]
    if name in ("", "auto"):
        return min(
            (device for device in present if device.kind in AUTOMATIC), key=lambda d: AUTOMATIC.index(d.kind)
        )
    accelerators = [device for device in present if device.kind in AUTOMATIC and device.kind != "cpu"]
    if name == "gpu":
        if not accelerators:
            raise ValueError("There is no accelerator on this machine; `lovage hardware` says why.")
        return min(accelerators, key=lambda d: AUTOMATIC.index(d.kind))
    for device in present:
        if name in (device.id, device.kind) or (name == f"{device.kind}:{device.index}"):
            return device
    reasons = [device.reason for device in devices if device.kind == name.partition(":")[0] and device.reason]
    ids = ", ".join(device.id for device in present)
    raise ValueError(f"There is no device '{name}'{': ' + reasons[0] if reasons else ''}; present are {ids}.")


def absent(kind: str, reason: str) -> Device:
    return Device(kind, present=False, reason=reason)


def torch_build(package: Path | None = None) -> dict[str, str]:
    """What torch was built for (`cuda`, `hip`: version or ""), read from its version file without importing
    it.

    Empty when torch is not installed.
    """
    if package is None:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return {}
        package = Path(spec.origin).parent
    text = (package / "version.py").read_text()
    pattern = r"^{}\s*(?::[^=\n]*)?=\s*['\"]([^'\"]*)['\"]"
    matches = {name: re.search(pattern.format(name), text, re.MULTILINE) for name in ("cuda", "hip")}
    return {name: match[1] if match else "" for name, match in matches.items()}


def detect_cuda(nvml: ModuleType | Any = None, build: dict[str, str] | None = None) -> list[Device]:
    """NVIDIA's devices as torch will number them."""
    build = torch_build() if build is None else build
    if nvml is None:
        if importlib.util.find_spec("pynvml") is None:
            return [absent("cuda", "nvidia-ml-py is not installed")]
        nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [absent("cuda", f"no NVIDIA driver ({error})")]
    try:
        if not build.get("cuda"):
            return [
                absent("cuda", "an NVIDIA driver is there, but the installed torch is not built for CUDA")
            ]
        return [_nvidia(nvml, index, handle) for index, handle in enumerate(_visible(nvml))]
    finally:
        nvml.nvmlShutdown()


def _visible(nvml: Any) -> list[Any]:
    """CUDA_VISIBLE_DEVICES hides and reorders devices for CUDA, not for NVML. Not a setting of ours, so read
    here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    if visible is None:
        return handles
    chosen = []
    for part in filter(None, (part.strip() for part in visible.split(","))):
        if part.isdecimal() and int(part) < len(handles):
            chosen.append(handles[int(part)])
        elif part.startswith("GPU-"):
            chosen += [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(part)]
        else:
            break  # as CUDA does: what follows an invalid entry is invisible
    return chosen


def _nvidia(nvml: Any, index: int, handle: Any) -> Device:
    space = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        kind="cuda",
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        total_bytes=int(space.total),
        free_bytes=int(space.free),
        capability=f"{major}.{minor}",
        driver=_text(nvml.nvmlSystemGetDriverVersion()),
        busy=_nvidia_busy(nvml, handle),
    )


def _nvidia_busy(nvml: Any, handle: Any) -> float | None:
    """Parts of a device (MIG) do not tell."""
    try:
        return float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
    except nvml.NVMLError:
        return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def detect_rocm(
    nodes: Path = KFD_NODES, cards: Path = DRM_CARDS, build: dict[str, str] | None = None
) -> list[Device]:
    """AMD's compute devices from the kernel driver's own list."""
    build = torch_build() if build is None else build
    if not nodes.is_dir():
        return [absent("rocm", "no AMD compute driver (amdkfd)")]
    all_nodes = [_properties(node) for node in _numbered(nodes)]
    accelerators = [properties for properties in all_nodes if int(properties.get("simd_count", 0))]
    if accelerators and not build.get("hip"):
        return [absent("rocm", "an AMD driver is there, but the installed torch is not built for ROCm")]
    return [_amd(index, properties, cards) for index, properties in enumerate(accelerators)]


def _numbered(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name)
    )


def _properties(node: Path) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in (node / "properties").read_text().splitlines())
    return {parts[0]: parts[1] for parts in lines if len(parts) == 2}


def _amd(index: int, properties: dict[str, str], cards: Path) -> Device:
    version = int(properties.get("gfx_target_version", 0))
    total = used = 0
    busy: float | None = None
    card = cards / f"renderD{properties.get('drm_render_minor', '')}" / "device"
    with contextlib.suppress(OSError, ValueError):
        total = int((card / "mem_info_vram_total").read_text())
        used = int((card / "mem_info_vram_used").read_text())
        busy = int((card / "gpu_busy_percent").read_text()) / 100
    return Device(
        kind="rocm",
        index=index,
        name=f"AMD {properties.get('device_id', '')}".strip(),
        total_bytes=total,
        free_bytes=max(0, total - used),
        # gfx_target_version is decimal major * 10000 + minor * 100 + stepping; the stepping is written in
        # hexadecimal
        capability=f"gfx{version // 10000}{version // 100 % 100}{version % 100:x}",
        busy=busy,
    )


def detect_mps(system: str | None = None, machine: str | None = None) -> list[Device]:
    """Apple's GPU shares the machine's memory."""
    system, machine = system or platform.system(), machine or platform.machine()
    if system != "Darwin":
        return [absent("mps", f"only on macOS, this is {system}")]
    if machine != "arm64":
        return [absent("mps", "only on Apple silicon")]
    total = psutil.virtual_memory().total
    return [
        Device(
            "mps",
            name="Apple GPU",
            total_bytes=total,
            free_bytes=memory.free_bytes(),
            driver=platform.mac_ver()[0],
        )
    ]


def detect_openvino() -> list[Device]:
    """Intel's runtime is enough: it runs on the CPU, too."""
    if importlib.util.find_spec("openvino") is None:
        return [absent("openvino", "the package openvino is not installed")]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return [Device("openvino", name="OpenVINO", driver=importlib.metadata.version("openvino"))]
    return [Device("openvino", name="OpenVINO")]


def detect_qnn(folders: Sequence[Path] = QNN_FOLDERS) -> list[Device]:
    """Qualcomm's neural processing SDK, by onnxruntime's package for it or by its libraries."""
    if importlib.util.find_spec("onnxruntime_qnn") is not None:
        return [Device("qnn", name="Qualcomm QNN (onnxruntime)")]
    for folder in folders:
        for library in QNN_LIBRARIES:
            if (folder / library).exists() or (folder / "lib" / library).exists():
                return [Device("qnn", name="Qualcomm QNN", driver=str(folder))]
    return [absent("qnn", "no Qualcomm QNN libraries found")]


def detect_cpu() -> list[Device]:
    """The processor and the memory that this container may use."""
    total = psutil.virtual_memory().total
    return [
        Device(
            "cpu", name=_processor(), total_bytes=total, free_bytes=memory.free_bytes(), capability=_cores()
        )
    ]


def free_bytes(device: Device) -> int:
    """Memory that is free now where this device's models live: its own, or the machine's where it has none or
    does not tell."""
    current = _current(device)
    return (current and current.free_bytes) or memory.free_bytes()


def busy_share(device: Device) -> float | None:
    """Of its time, 0 to 1, that the device computed just now; a processor: of the whole machine, since the
    last call. None where it does not tell."""
    if device.kind == "cpu":
        return float(psutil.cpu_percent()) / 100
    current = _current(device)
    return current.busy if current else None


def _current(device: Device) -> Device | None:
    """As it is now, of a device with memory of its own."""
    if device.kind not in OWN_MEMORY:
        return None
    present = (each for each in DETECTORS[device.kind]() if each.present)
    return next((each for each in present if each.index == device.index), None)


def _cores() -> str:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{count} cores"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


DETECTORS: dict[str, Callable[[], list[Device]]] = {
    "cuda": detect_cuda,
    "rocm": detect_rocm,
    "mps": detect_mps,
    "openvino": detect_openvino,
    "qnn": detect_qnn,
    "cpu": detect_cpu,
}
