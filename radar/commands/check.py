"""Reading every image of a dataset, of several, or of any folder, and telling all that is wrong with them."""

import os
from pathlib import Path

from radar import config as configuration
from radar.data import check
from radar.data.manifest import DatasetError


def main(dataset: str, data_root: str, workers: int | None) -> int:
    """0 if the data can be used, else 1. Raises ConfigurationError or DatasetError if there are none."""
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    usable = True
    for name, origin in _origins(dataset, data_root).items():
        origin.check()
        listing = check.listing_of(Path(origin.folder), origin.source, origin.category, origin.settings)
        check.check(listing, workers, name)
        print(check.told(listing, name))
        usable &= not listing.of("error")
    return 0 if usable else 1


def _origins(dataset: str, data_root: str) -> dict[str, configuration.Origin]:
    if Path(dataset).is_dir():
        settings = configuration.read_dataset("folder").settings
        return {dataset: configuration.Origin(dataset, "folder", "", settings, False)}
    if "/" in dataset and not (configuration.CONFIG / f"datasets/{dataset.partition('/')[0]}.yaml").is_file():
        raise DatasetError([f"no folder {dataset}: correct the path, or name a dataset"])
    return {name: configuration.origin(name, data_root) for name in configuration.expand_datasets([dataset])}
