"""Energy per image, where the device counts it: a GPU's board through NVML, the processor's packages through RAPL.

Both count all that the device uses, what it draws when idle and other processes included.
"""

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch


@dataclass(frozen=True)
class EnergyMeter:
    """The energy counters of a device. read: their joules so far; wrap: at how many joules each starts anew."""

    source: str
    read: Callable[[], list[float]]
    wrap: list[float]

    def joules(self, before: Sequence[float], after: Sequence[float]) -> float:
        """What was used between two readings, which no counter went round twice."""
        return sum((one - other) % wrap for one, other, wrap in zip(after, before, self.wrap, strict=True))


def energy_meter(device: torch.device, powercap: Path = Path("/sys/class/powercap")) -> EnergyMeter:
    """The counter of a GPU's board (NVML), or of the processor's packages (RAPL). Raises OSError: why there is none."""
    if device.type == "cuda":
        return _nvml_meter(device)
    if device.type != "cpu":
        raise OSError(f"no energy counter is known for {device.type}")
    packages = [folder for folder in sorted(powercap.glob("intel-rapl:*"))
                if (folder / "name").read_text().startswith("package")]
    if not packages:
        raise OSError(f"{powercap} has no counter of the processor's energy")

    def read(name: str) -> list[float]:
        return [int((folder / name).read_text()) / 1e6 for folder in packages]

    read("energy_uj")  # most systems let the administrator alone read it
    return EnergyMeter("the processor's packages, by RAPL", partial(read, "energy_uj"), read("max_energy_range_uj"))


def _nvml_meter(device: torch.device) -> EnergyMeter:
    nvml = ctypes.CDLL("libnvidia-ml.so.1")  # comes with the driver, needs no package

    def call(name: str, *arguments: object) -> None:
        function = getattr(nvml, name, None)
        if function is None:
            raise OSError(f"the GPU's driver has no {name}")
        if code := function(*arguments):
            raise OSError(f"{name} of the GPU's driver gives error {code}")

    handle = ctypes.c_void_p()
    call("nvmlInit_v2")
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # numbers differ where CUDA_VISIBLE_DEVICES is set
    call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(handle))

    def read() -> list[float]:
        millijoules = ctypes.c_ulonglong()
        call("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(millijoules))
        return [millijoules.value / 1000]

    read()
    return EnergyMeter("the GPU's board, by NVML", read, [math.inf])


def energy(call: Callable[[], object], device: torch.device, seconds: float) -> dict:
    """energy_j, per call, over calls that take `seconds` at least (counters are slow), and energy_note."""
    try:
        meter = energy_meter(device)
        before, start, count = meter.read(), time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            call()
            count += 1
        return {"energy_j": meter.joules(before, meter.read()) / count, "energy_note": meter.source}
    except OSError as error:
        return {"energy_j": None, "energy_note": str(error)}
