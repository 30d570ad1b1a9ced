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


@dataclass
class Training:
    """training(network, loss, batches): one training with a fixed budget, the loss curve is kept in `curve`.

    settings: images (the budget: how many go through the network in all), batch_size, learning_rate, warm_up (share of
        the steps), ema_decay, clip (gradient norm), checkpoint_seconds, precision ("float32", or "bfloat16" for what
        torch's autocast computes with half the bits; weights and optimizer stay in float32).
    identity: whatever the result depends on besides (data hashes, network settings): a checkpoint found in `folder`
        is taken up only if it belongs to the same identity, settings and seed; another one is discarded.
    The curve has a row per ten steps: step, images, seconds (of training, interruptions left out), loss (mean of
    these steps). AdamW; the learning rate warms up linearly and falls to zero on a cosine [ours].
    """

    settings: dict
    seed: int
    folder: Path
    identity: dict = field(default_factory=dict)
    description: str = "train"
    curve: list[dict] = field(default_factory=list)

    def __call__(self, network: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor],
                 batches: Batches) -> list[dict]:
        """Train `network` in place and leave the EMA weights in it. Returns the loss curve."""
        settings, device = self.settings, next(network.parameters()).device.type
        steps = math.ceil(settings["images"] / settings["batch_size"])
        checkpoint, mark = Path(self.folder) / "checkpoint.pt", fingerprint(settings, self.seed, self.identity)
        state = _State(network.train().requires_grad_(True), settings)
        if (saved := _read_checkpoint(checkpoint, mark)) is not None:
            state.load(saved)
            print(f"{self.description}: goes on after step {state.step} of {steps}", file=sys.stderr)
        self.curve = state.curve

        window: list[Tensor] = []
        before, started = state.seconds, time.monotonic()
        saved_at = started
        with progress(steps, self.description, "step", initial=state.step) as bar:
            for step in range(state.step, steps):
                generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
                with torch.autocast(device, torch.bfloat16, enabled=settings["precision"] == "bfloat16"):
                    value = loss(batches(generator), generator)
                state.descend(value, steps)
                window.append(value.detach())
                bar.update()
                if state.step % 10 and state.step < steps:
                    continue
                state.seconds = before + time.monotonic() - started
                state.record(torch.stack(window).mean().item(), self.description)
                window.clear()
                bar.set_postfix(loss=f"{state.curve[-1]['loss']:.4f}", refresh=False)
                if time.monotonic() - saved_at > settings["checkpoint_seconds"]:
                    with atomic(checkpoint) as temporary:
                        torch.save({"fingerprint": mark} | state.save(), temporary)
                    saved_at = time.monotonic()
        network.load_state_dict(state.average)
        network.eval().requires_grad_(False)
        return self.curve


class _State:
    """All that a training changes: the weights, their average, the optimizer, how far it is, and the loss curve."""

    def __init__(self, network: nn.Module, settings: dict):
        self.network, self.settings = network, settings
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=settings["learning_rate"], fused=True)
        self.average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self._weights = list(network.state_dict().values())  # trained in place, these see it
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict] = []

    def descend(self, loss: Tensor, steps: int) -> None:
        """One step, of so many in all, down the gradient of `loss`; the average follows the weights."""
        warm_up = max(1, round(self.settings["warm_up"] * steps))
        rate = min((self.step + 1) / warm_up, 1) * 0.5 * (1 + math.cos(math.pi * self.step / steps))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings["learning_rate"] * rate
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["clip"], foreach=True)
        self.optimizer.step()
        decay = min(self.settings["ema_decay"], (1 + self.step) / (10 + self.step))  # early weights are soon forgotten
        torch._foreach_lerp_(list(self.average.values()), self._weights, 1 - decay)
        self.step += 1

    def record(self, loss: float, description: str) -> None:
        """A row of the curve. Raises FloatingPointError if the loss is not finite."""
        if not math.isfinite(loss):
            raise FloatingPointError(f"{description}: the loss is {loss} at step {self.step}; "
                                     "lower the learning rate in the config")
        self.curve.append({"step": self.step, "images": self.step * self.settings["batch_size"],
                           "seconds": round(self.seconds, 2), "loss": loss})

    def save(self) -> dict:
        return {"step": self.step, "seconds": self.seconds, "curve": self.curve, "average": self.average,
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, saved: dict) -> None:
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.seconds, self.curve, self.average = (
            saved[name] for name in ("step", "seconds", "curve", "average"))


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
