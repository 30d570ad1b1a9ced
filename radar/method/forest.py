"""Isolation Forest as tensors: fitted by scikit-learn, stored without pickle, evaluated without a loop over trees.

Liu, Ting, Zhou, "Isolation Forest", ICDM 2008: s(x) = 2^(-E[h(x)] / c(psi)), h the path length in a tree (depth plus
c(size) of the leaf), c(psi) the mean path length of an unsuccessful search among psi samples. scikit-learn's
`score_samples` is -s. Its predict costs about ten milliseconds a call, as much as the network on a small image.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Forest:
    """An Isolation Forest on features [N, D]; `state` names its tensors."""

    def __init__(self, state: dict[str, Tensor]):
        self.state_ = state

    @classmethod
    def fit(cls, features: Tensor, contamination: float, seed: int) -> "Forest":
        """Fit on features [N, D] of normal images; contamination: the share of them that the decision calls anomalous.

        scikit-learn's other defaults: 100 trees, 256 samples a tree (or N, if that is less).
        """
        from sklearn.ensemble import IsolationForest  # a second to import, and not needed to predict

        forest = IsolationForest(contamination=contamination, random_state=seed)
        forest.fit(features.double().cpu().numpy())
        trees = [tree.tree_ for tree in forest.estimators_]
        nodes: dict[str, list] = {name: [] for name in ("feature", "threshold", "left", "right", "length")}
        for tree in trees:
            leaf, itself, depth = tree.children_left == -1, np.arange(tree.node_count), np.zeros(tree.node_count)
            for node in np.flatnonzero(~leaf):  # parents come before their children
                depth[tree.children_left[node]] = depth[tree.children_right[node]] = depth[node] + 1
            nodes["feature"].append(np.where(leaf, 0, tree.feature))
            nodes["threshold"].append(tree.threshold)
            nodes["left"].append(np.where(leaf, itself, tree.children_left))  # a leaf leads to itself
            nodes["right"].append(np.where(leaf, itself, tree.children_right))
            nodes["length"].append(depth + average_path_length(tree.n_node_samples))
        return cls({name: pad_sequence([torch.from_numpy(one) for one in values], batch_first=True)
                    for name, values in nodes.items()} | {
            "normaliser": torch.tensor(average_path_length(np.array([forest.max_samples_]))[0], dtype=torch.float64),
            "depth": torch.tensor(max(tree.max_depth for tree in trees)),
            "decision_threshold": torch.tensor(-forest.offset_, dtype=torch.float64),
        })

    def to(self, device: torch.device) -> "Forest":
        """The same forest with its tensors on `device`."""
        return Forest({name: tensor.to(device) for name, tensor in self.state_.items()})

    def score(self, features: Tensor) -> Tensor:
        """s(x) of features [N, D]: float64 [N] in (0, 1], higher = more anomalous."""
        s = self.state_
        # scikit-learn's trees compare float32 features
        x = features.float().double()
        trees = torch.arange(len(s["feature"]), device=x.device)
        node = torch.zeros(len(x), len(trees), dtype=torch.int64, device=x.device)
        for _ in range(int(s["depth"])):
            value = x.gather(1, s["feature"][trees, node])
            node = torch.where(value <= s["threshold"][trees, node], s["left"][trees, node], s["right"][trees, node])
        return 2 ** (-s["length"][trees, node].mean(1) / s["normaliser"])

    def decide(self, score: Tensor) -> Tensor:
        """bool [N]: whether the forest itself, by its contamination, calls these scores anomalous."""
        return score > self.state_["decision_threshold"]


def average_path_length(n: np.ndarray) -> np.ndarray:
    """c(n) = 2 H(n - 1) - 2 (n - 1) / n, with c(1) = 0 and c(2) = 1; H(i) = ln(i) + Euler's constant."""
    n = np.asarray(n, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, value))
