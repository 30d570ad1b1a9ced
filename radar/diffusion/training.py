"""One training loop for every network: fixed budget, EMA weights, progress, loss curve, checkpoint and resume.

The budget is a number of steps; no checkpoint is chosen, the last EMA weights are the result. All randomness of step k
comes from a generator seeded by (seed, k), so that a run that was killed and resumed ends with the same bits as one
that was not.
"""

import fcntl
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from radar.files import atomic
from radar.progress import progress

# Batch of training images or patches for one step, drawn with the given generator.
Batches = Callable[[torch.Generator], Tensor]


def train(network: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor], batches: Batches, settings: dict,
          seed: int, folder: Path, identity: dict, description: str) -> list[dict]:
    """Train `network` in place and leave the EMA weights in it. Returns the loss curve.

    settings: images (the budget: how many go through the network in all), batch_size, learning_rate, warm_up (share of
        the steps), ema_decay, clip (gradient norm), checkpoint_seconds, precision ("float32", or "bfloat16" for what
        torch's autocast computes with half the bits; weights and optimizer stay in float32).
    identity: whatever the result depends on besides (data hashes, network settings): a checkpoint found in `folder`
        is taken up only if it belongs to the same identity, settings and seed; another one is discarded.
    The curve has a row per ten steps: step, images, seconds (of training, interruptions left out), loss (mean of
    these steps). AdamW; the learning rate warms up linearly and falls to zero on a cosine [ours].
    """
    network.train().requires_grad_(True)
    device = next(network.parameters()).device.type
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings["learning_rate"], fused=True)
    average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    steps = math.ceil(settings["images"] / settings["batch_size"])
    warm_up = max(1, round(settings["warm_up"] * steps))
    curve: list[dict] = []
    window: list[Tensor] = []
    first, seconds = 0, 0.0

    checkpoint = Path(folder) / "checkpoint.pt"
    mark = fingerprint(settings, seed, identity)
    if (saved := _read_checkpoint(checkpoint, mark)) is not None:
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        average = saved["average"]
        first, seconds, curve = saved["step"], saved["seconds"], saved["curve"]
        print(f"{description}: goes on after step {first} of {steps}", file=sys.stderr)

    averages, weights = list(average.values()), list(network.state_dict().values())  # trained in place, these see it
    started = saved_at = time.monotonic()
    with progress(steps, description, "step", initial=first) as bar:
        for step in range(first, steps):
            rate = min((step + 1) / warm_up, 1) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = settings["learning_rate"] * rate
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            with torch.autocast(device, torch.bfloat16, enabled=settings["precision"] == "bfloat16"):
                value = loss(batches(generator), generator)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), settings["clip"], foreach=True)
            optimizer.step()
            decay = min(settings["ema_decay"], (1 + step) / (10 + step))  # early weights are soon forgotten
            torch._foreach_lerp_(averages, weights, 1 - decay)
            window.append(value.detach())
            bar.update()
            if (step + 1) % 10 == 0 or step + 1 == steps:
                mean = torch.stack(window).mean().item()
                if not math.isfinite(mean):
                    raise FloatingPointError(f"{description}: the loss is {mean} at step {step + 1}; "
                                             "lower the learning rate in the config")
                elapsed = seconds + time.monotonic() - started
                curve.append({"step": step + 1, "images": (step + 1) * settings["batch_size"],
                              "seconds": round(elapsed, 2), "loss": mean})
                window.clear()
                bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
                if time.monotonic() - saved_at > settings["checkpoint_seconds"]:
                    with atomic(checkpoint) as temporary:
                        torch.save({"fingerprint": mark, "step": step + 1, "seconds": elapsed, "curve": curve,
                                    "network": network.state_dict(), "average": average,
                                    "optimizer": optimizer.state_dict()}, temporary)
                    saved_at = time.monotonic()
    network.load_state_dict(average)
    network.eval().requires_grad_(False)
    return curve


@dataclass
class Training:
    """The budget of a run's trainings, handed to whatever trains: training(network, loss, batches), see `train`.

    settings, seed, folder, identity, description: as `train` takes them. curve: of the training, once it is done.
    """

    settings: dict
    seed: int
    folder: Path
    identity: dict
    description: str
    curve: list[dict] = field(default_factory=list)

    def __call__(self, network: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor],
                 batches: Batches) -> list[dict]:
        self.curve = train(network, loss, batches, self.settings, self.seed, self.folder, self.identity,
                           self.description)
        return self.curve


def fingerprint(settings: dict, seed: int, identity: dict) -> str:
    """A digest of all that a training's result depends on."""
    return hashlib.sha256(json.dumps([settings, seed, identity], sort_keys=True).encode()).hexdigest()


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint; to be called once the result is safely written."""
    (Path(folder) / "checkpoint.pt").unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path, description: str) -> Iterator[None]:
    """Wait until no other process trains into `folder`; the lock goes with the process that holds it.

    After a hard kill of the workflow its training may still be running, and may end well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{description}: another process is training here; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_checkpoint(path: Path, mark: str) -> dict | None:
    """The checkpoint, if it belongs to this run; a foreign or damaged one is discarded with a word."""
    if not path.exists():
        return None
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        print(f"{path}: damaged checkpoint ({error}); starting over", file=sys.stderr)
        return None
    if saved["fingerprint"] != mark:
        print(f"{path}: checkpoint of other settings or data; starting over", file=sys.stderr)
        return None
    return saved
