"""Datasets. Here: the words that all of them use."""

SPLITS = ("train", "calibration", "test")
NORMAL, DEFECTIVE, UNKNOWN = 0, 1, -1  # labels
