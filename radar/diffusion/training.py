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

Batches = Callable[[torch.Generator], Tensor]  # draws the training images or patches of one step


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
        """Train `network` in place and leave the EMA weights in it. Returns the loss curve. Raises FloatingPointError
        if the loss is not finite."""
        settings, device = self.settings, next(network.parameters()).device.type
        steps = math.ceil(settings["images"] / settings["batch_size"])
        optimizer = torch.optim.AdamW(network.train().requires_grad_(True).parameters(), fused=True)
        average = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self._resume(network, optimizer, average)
        done, before = (self.curve[-1]["step"], self.curve[-1]["seconds"]) if self.curve else (0, 0.0)
        if done:
            print(f"{self.description}: goes on after step {done} of {steps}", file=sys.stderr)

        window: list[Tensor] = []
        started = saved = time.monotonic()
        with progress(steps, self.description, "step", initial=done) as bar:
            for step in range(done, steps):
                generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
                with torch.autocast(device, torch.bfloat16, enabled=settings["precision"] == "bfloat16"):
                    value = loss(batches(generator), generator)
                self._descend(value, step, steps, network, optimizer, average)
                window.append(value.detach())
                bar.update()
                if (step + 1) % 10 and step + 1 < steps:
                    continue
                self._record(step + 1, before + time.monotonic() - started, torch.stack(window).mean().item())
                window.clear()
                bar.set_postfix(loss=f"{self.curve[-1]['loss']:.4f}", refresh=False)
                if time.monotonic() - saved > settings["checkpoint_seconds"]:
                    self._save(network, optimizer, average)
                    saved = time.monotonic()
        network.load_state_dict(average)
        network.eval().requires_grad_(False)
        return self.curve

    def _descend(self, loss: Tensor, step: int, steps: int, network: nn.Module, optimizer: torch.optim.Optimizer,
                 average: dict[str, Tensor]) -> None:
        """One step, of so many in all, down the gradient of `loss`; the average follows the weights."""
        warm_up = max(1, round(self.settings["warm_up"] * steps))
        rate = min((step + 1) / warm_up, 1) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = self.settings["learning_rate"] * rate
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), self.settings["clip"], foreach=True)
        optimizer.step()
        decay = min(self.settings["ema_decay"], (1 + step) / (10 + step))  # early weights are soon forgotten
        torch._foreach_lerp_(list(average.values()), list(network.state_dict().values()), 1 - decay)

    def _record(self, step: int, seconds: float, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(f"{self.description}: the loss is {loss} at step {step}; "
                                     "lower the learning rate in the config")
        self.curve.append({"step": step, "images": step * self.settings["batch_size"],
                           "seconds": round(seconds, 2), "loss": loss})

    def _save(self, network: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> None:
        with atomic(self.folder / "checkpoint.pt") as temporary:
            torch.save({"fingerprint": fingerprint(self.settings, self.seed, self.identity), "curve": self.curve,
                        "average": average, "network": network.state_dict(), "optimizer": optimizer.state_dict()},
                       temporary)

    def _resume(self, network: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]) -> None:
        """Take up the checkpoint, if it belongs to this run; a foreign or damaged one is discarded with a word."""
        self.curve, path = [], self.folder / "checkpoint.pt"
        if not path.exists():
            return
        try:
            saved = torch.load(path, "cpu", weights_only=True)
        except Exception as error:  # a damaged file can raise nearly anything
            print(f"{path}: damaged checkpoint ({error}); starting over", file=sys.stderr)
            return
        if saved["fingerprint"] != fingerprint(self.settings, self.seed, self.identity):
            print(f"{path}: checkpoint of other settings or data; starting over", file=sys.stderr)
            return
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        for name, tensor in saved["average"].items():
            average[name].copy_(tensor)
        self.curve = saved["curve"]


def fingerprint(settings: dict, seed: int, identity: dict) -> str:
    """A digest of all that a training's result depends on."""
    return hashlib.sha256(json.dumps([settings, seed, identity], sort_keys=True).encode()).hexdigest()


def forget_checkpoint(folder: Path) -> None:
    """Remove the checkpoint; to be called once the result is safely written."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)


@contextmanager
def exclusive(folder: Path, description: str) -> Iterator[None]:
    """Wait until no other process trains into `folder`, as it may still do after a hard kill of the workflow; the lock
    goes with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{description}: another process is training here; waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
