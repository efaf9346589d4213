"""Detection from stand-in drivers and folders, and on this machine."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine import devices, memory
from app.engine.devices import Device

CUDA_BUILD = {"cuda": "12.8", "hip": ""}


class Nvml:
    """A driver with some devices, as NVML's Python module shows it."""

    class NVMLError(Exception):
        pass

    def __init__(self, count: int = 2, broken: bool = False) -> None:
        self.count, self.broken = count, broken

    def nvmlInit(self) -> None:
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}abc"

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return f"NVIDIA Test {handle}".encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=80_000, free=70_000)

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        return 9, 0

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=30, memory=5)

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"


@pytest.fixture(autouse=True)
def visible(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


def test_nvidias_devices_are_described() -> None:
    [first, second] = devices.detect_cuda(Nvml(), CUDA_BUILD)
    assert first == Device("cuda", 0, "NVIDIA Test 0", True, "", 80_000, 70_000, "9.0", "570.1", 0.3)
    assert second.busy is None, "a part of a device does not tell"
    assert (second.id, second.torch_device) == ("cuda:1", "cuda:1")


@pytest.mark.parametrize(
    ("value", "names"), [("1,0", ["1", "0"]), ("GPU-1", ["1"]), ("", []), ("0,-1,1", ["0"])]
)
def test_what_cuda_hides_is_hidden(visible: pytest.MonkeyPatch, value: str, names: list[str]) -> None:
    visible.setenv("CUDA_VISIBLE_DEVICES", value)
    assert [device.name[-1] for device in devices.detect_cuda(Nvml(), CUDA_BUILD)] == names


def test_absence_has_a_reason() -> None:
    assert "Driver Not Loaded" in devices.detect_cuda(Nvml(broken=True), CUDA_BUILD)[0].reason
    assert "not built for CUDA" in devices.detect_cuda(Nvml(), {})[0].reason
    assert "only on macOS" in devices.detect_mps("Linux", "x86_64")[0].reason
    assert "Apple silicon" in devices.detect_mps("Darwin", "x86_64")[0].reason
    assert devices.detect_mps("Darwin", "arm64")[0].present


def amd(folder: Path) -> tuple[Path, Path]:
    for index, text in enumerate(
        ["simd_count 0\n", "simd_count 304\ngfx_target_version 90402\ndrm_render_minor 128\n"]
    ):
        (folder / "nodes" / str(index)).mkdir(parents=True)
        (folder / "nodes" / str(index) / "properties").write_text(text)
    card = folder / "drm" / "renderD128" / "device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text("1000")
    (card / "mem_info_vram_used").write_text("400")
    (card / "gpu_busy_percent").write_text("75")
    return folder / "nodes", folder / "drm"


def test_amds_devices_come_from_the_kernel(tmp_path: Path) -> None:
    nodes, cards = amd(tmp_path)
    [device] = devices.detect_rocm(nodes, cards, {"hip": "6.4"})
    assert (device.capability, device.total_bytes, device.free_bytes) == ("gfx942", 1000, 600)
    assert (device.id, device.torch_device, device.busy) == ("rocm:0", "cuda:0", 0.75)
    assert "not built for ROCm" in devices.detect_rocm(nodes, cards, {})[0].reason


def test_qualcomms_libraries_are_found(tmp_path: Path) -> None:
    assert not devices.detect_qnn([tmp_path])[0].present
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libQnnHtp.so").touch()
    assert devices.detect_qnn([tmp_path])[0].present


def test_torchs_build_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text(
        "from typing import Optional\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"
    )
    assert devices.torch_build(tmp_path) == CUDA_BUILD
    assert set(devices.torch_build()) == {"cuda", "hip"}


def test_auto_takes_the_best_and_a_wish_is_granted_or_refused_with_the_reason() -> None:
    cpu = Device("cpu")
    present = [
        Device("cuda", 0),
        Device("cuda", 1),
        devices.absent("mps", "only on macOS"),
        Device("openvino"),
        cpu,
    ]
    assert devices.resolve("auto", present).id == "cuda:0"
    assert devices.resolve("auto", [*present[2:]]) is cpu
    assert devices.resolve("cuda:1", present).index == 1
    assert devices.resolve("cuda", present).index == 0
    with pytest.raises(ValueError, match="only on macOS; present are cuda:0"):
        devices.resolve("mps", present)
    with pytest.raises(ValueError, match="no device 'cuda:7'"):
        devices.resolve("cuda:7", present)


def test_every_class_is_reported_on_this_machine_and_torch_is_not_imported() -> None:
    program = (
        "import sys; from app.engine import devices\n"
        "print(*[d.kind for d in devices.detect()], devices.resolve('cpu').present, 'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"cuda", "rocm", "mps", "openvino", "qnn", "cpu"} <= set(out)
    assert out[-2:] == ["True", "False"]


def test_a_broken_driver_does_not_keep_a_worker_from_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Device]:
        raise OSError("bus error")

    monkeypatch.setitem(devices.DETECTORS, "cuda", broken)
    assert "bus error" in devices.detect()[0].reason
    assert devices.resolve("cpu").capability.endswith("cores")


def test_what_is_free_is_the_accelerators_own_memory_and_the_machines_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        devices.DETECTORS, "cuda", lambda: [Device("cuda", 0, free_bytes=7), Device("cuda", 1, free_bytes=8)]
    )
    assert devices.free_bytes(Device("cuda", 1)) == 8
    assert devices.free_bytes(Device("cpu")) > 1_000_000
    assert devices.free_bytes(Device("cuda", 2)) > 1_000_000  # gone since: the machine's


def test_memory_is_measured_and_expected(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "README.md").write_text("not a weight")
    assert memory.expected_bytes(str(tmp_path)) == memory.PROCESS_BYTES + 1000
    assert memory.expected_bytes("") == memory.PROCESS_BYTES
    assert memory.pss(2**22 - 1) == 0
    assert memory.free_bytes() > 0


def test_in_a_container_files_that_were_read_do_not_count_as_used(tmp_path: Path) -> None:
    """The page cache of a model that was just downloaded is the container's too, and the kernel gives it up
    when asked."""
    for name, text in (
        ("max", "100000000"),
        ("current", "90000000"),
        ("stat", "anon 20000000\ninactive_file 65000000\n"),
    ):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert memory.free_bytes(tmp_path) == 75_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(tmp_path) > 75_000_000
