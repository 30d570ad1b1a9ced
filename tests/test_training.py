"""The training loop: fixed budget, EMA, and a resume that ends with the same bits."""

import json

import pytest
import torch

from radar.diffusion.training import Training, forget_checkpoint
from tests.conftest import TRAINING

SETTINGS = TRAINING | {"images": 40 * 16}


class Killed(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))


def run(folder, net, killed_after: int | None = None, settings: dict = SETTINGS, identity: dict | None = None):
    """Train net on a fixed regression; optionally die when the batch after so many steps is drawn."""
    drawn = 0

    def batches(generator):
        nonlocal drawn
        if killed_after is not None and drawn == killed_after:
            raise Killed
        drawn += 1
        return torch.randn(16, 3, generator=generator)

    def loss(x, generator):
        noise = 0.1 * torch.randn(16, 1, generator=generator)
        return (net(x) - x.sum(1, keepdim=True).sin() - noise).square().mean()

    return Training(settings, 0, folder, identity or {})(net, loss, batches), drawn


@pytest.mark.parametrize("killed_after", [5, 23, 39])
def test_killed_and_resumed_equals_uninterrupted(tmp_path, killed_after):
    whole, other = network(), network()
    curve, _ = run(tmp_path / "a", whole)
    with pytest.raises(Killed):
        run(tmp_path / "b", other, killed_after)
    again = network()
    resumed, drawn = run(tmp_path / "b", again)
    assert drawn == 40 - killed_after // 10 * 10  # from the last checkpoint, one every ten steps here
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert [row["loss"] for row in curve] == [row["loss"] for row in resumed]
    assert [row["images"] for row in resumed] == [160, 320, 480, 640]


def test_a_checkpoint_of_other_data_or_settings_is_not_taken_up(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, network(), 25)
    assert run(tmp_path, network(), identity={"manifest": "another"})[1] == 40
    with pytest.raises(Killed):
        run(tmp_path, network(), 25)
    assert run(tmp_path, network(), settings=SETTINGS | {"learning_rate": 0.1})[1] == 40


def test_a_damaged_checkpoint_starts_over(tmp_path, capsys):
    with pytest.raises(Killed):
        run(tmp_path, network(), 25)
    data = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(data[: len(data) // 2])
    assert run(tmp_path, network())[1] == 40
    assert "damaged checkpoint" in capsys.readouterr().err
    forget_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_average_follows_the_stated_recursion(tmp_path):
    """EMA with decay min(d, (1 + k) / (10 + k)) of the weights after every step, recomputed from the weights alone."""
    seen, net = [], network()

    def loss(x, generator):
        seen.append({name: value.clone() for name, value in net.state_dict().items()})
        return net(x).square().mean()

    Training(SETTINGS | {"images": 3 * 16}, 0, tmp_path)(net, loss, lambda g: torch.randn(4, 3, generator=g))
    # decays of the first two steps: 1/10, 2/11; the third step's weights are not seen, solve for them
    expected = seen[0]["0.weight"] * 0.1 + seen[1]["0.weight"] * 0.9
    expected = expected * 2 / 11 + seen[2]["0.weight"] * 9 / 11
    last = (net.state_dict()["0.weight"] - expected * 3 / 12) / (9 / 12)
    step = (last - seen[2]["0.weight"]).abs().max().item()
    assert 0 < step < 2 * SETTINGS["learning_rate"]  # an Adam step is about as long as the learning rate


def test_training_lowers_the_loss_and_stops_on_nan(tmp_path):
    curve, _ = run(tmp_path / "a", network(), settings=SETTINGS | {"images": 300 * 16, "learning_rate": 0.02})
    assert curve[-1]["loss"] < 0.3 * curve[0]["loss"]
    with pytest.raises(FloatingPointError, match="learning rate"):
        net = network()
        Training(SETTINGS, 0, tmp_path / "b")(net, lambda x, g: net(x).sum() * float("nan"),
                                              lambda g: torch.randn(4, 3, generator=g))
    assert json.dumps(curve)  # plain numbers
