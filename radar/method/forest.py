"""Isolation Forest as tensors: fitted by scikit-learn, stored without pickle, evaluated without a loop over trees.

Liu, Ting, Zhou, "Isolation Forest", ICDM 2008: s(x) = 2^(-E[h(x)] / c(psi)), h the path length in a tree (depth plus
c(size) of the leaf), c(psi) the mean path length of an unsuccessful search among psi samples. scikit-learn's
`score_samples` is -s. Its predict costs about ten milliseconds a call, as much as the network on a small image.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def fit(features: Tensor, contamination: float, seed: int) -> dict[str, Tensor]:
    """Of features [N, D] of normal images; contamination: the share of them that is to be called anomalous.

    scikit-learn's other defaults: 100 trees, 256 samples a tree (or N, if that is less).
    """
    from sklearn.ensemble import IsolationForest  # a second to import, and not needed to predict

    forest = IsolationForest(contamination=contamination, random_state=seed).fit(features.double().cpu().numpy())
    trees = [tree.tree_ for tree in forest.estimators_]

    def nodes(value: Callable[..., np.ndarray]) -> Tensor:
        return pad_sequence([torch.from_numpy(value(tree)) for tree in trees], batch_first=True)

    def child(of: np.ndarray) -> np.ndarray:
        return np.where(of == -1, np.arange(len(of)), of)  # a leaf leads to itself

    state = {
        "feature": nodes(lambda tree: tree.feature.clip(0)),
        "threshold": nodes(lambda tree: tree.threshold),
        "left": nodes(lambda tree: child(tree.children_left)),
        "right": nodes(lambda tree: child(tree.children_right)),
        "length": nodes(lambda tree: tree.compute_node_depths() - 1 + average_path_length(tree.n_node_samples)),
        "normaliser": torch.from_numpy(average_path_length(np.array(forest.max_samples_))),
        "depth": torch.tensor(max(tree.max_depth for tree in trees)),
        "decision_threshold": torch.tensor(-forest.offset_, dtype=torch.float64),
    }
    return {name: tensor.to(features.device) for name, tensor in state.items()}


def judge(forest: dict[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """Of features [N, D]: s(x), float64 [N] in (0, 1], and whether the forest itself, by its contamination, calls them
    anomalous, bool [N]."""
    x = features.float().double()  # scikit-learn's trees compare float32 features
    trees = torch.arange(len(forest["feature"]), device=x.device)
    node = torch.zeros(len(x), len(trees), dtype=torch.int64, device=x.device)
    for _ in range(int(forest["depth"])):
        left = x.gather(1, forest["feature"][trees, node]) <= forest["threshold"][trees, node]
        node = torch.where(left, forest["left"][trees, node], forest["right"][trees, node])
    score = 2 ** (-forest["length"][trees, node].mean(1) / forest["normaliser"])
    return score, score > forest["decision_threshold"]


def average_path_length(n: np.ndarray) -> np.ndarray:
    """c(n) = 2 H(n - 1) - 2 (n - 1) / n, with c(1) = 0 and c(2) = 1; H(i) = ln(i) + Euler's constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 2 * (np.log(n - 1.0) + np.euler_gamma) - 2 * (n - 1.0) / n
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, value))
