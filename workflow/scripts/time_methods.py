"""Time the trained detectors of one dataset in turns, on its test images of the most frequent size.

First their cold starts, each in a process of its own, while this one has computed nothing yet.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import pandas as pd
import torch

from radar.data import manifest
from radar.devices import choose_device, prepare_torch
from radar.evaluation.timing import cold_starts, cores_of_others, device_name, time_detectors
from radar.files import provenance, write_json
from radar.images.image_set import image_set
from radar.method.detector import MethodError, load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("detectors", type=Path, nargs="+", help="detector.json files of one dataset and seed")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True, help="the timing of the config, as JSON")
    parser.add_argument("--longest-side", type=int, required=True, help="0 = images keep their size")
    parser.add_argument("--device", required=True)
    parser.add_argument("--out", type=Path, required=True, help="results/runs/<run>/timing/<dataset>/<category>.json")
    arguments = parser.parse_args()
    settings, folders = arguments.settings, [path.parent for path in arguments.detectors]
    threads = min(settings["threads"], os.cpu_count() or 1)
    try:
        test = image_set(manifest.read(arguments.manifest), arguments.data, "test", arguments.longest_side or None)
        some = [test.uint8(i) for i in range(min(len(test), 64))]
        shape = pd.Series([tuple(image.shape) for image in some]).mode().iloc[0]
        alike = [image for image in some if image.shape == shape][:32]
        cold = cold_starts(folders, arguments.device, threads, alike[0][None].numpy())

        device = choose_device(arguments.device)
        prepare_torch(threads)
        loaded = [load(folder, device) for folder in folders]
        cores_of_others()
        timings = time_detectors({description["name"]: detector for detector, description in loaded},
                                 torch.stack(alike), batch_sizes=settings["batch_sizes"],
                                 repeats=settings["repeats"], seconds=settings["seconds"])
        others = cores_of_others()
    except (MethodError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    for (name, timing), (_, description), started in zip(timings.items(), loaded, cold, strict=True):
        trained = description["training"] or {}
        timing |= {"cold_start_s": started, "training_images": trained.get("images"),
                   "training_s": trained.get("seconds")}
        print(f"{name}: {timing['latency_ms_median']:.1f} ms an image alone, {timing['images_per_s']:.1f} images/s in "
              f"batches of {timing['batch_size']}")
    write_json(arguments.out, {
        "device": device, "device_name": device_name(device), "threads": torch.get_num_threads(),
        "cores_of_others": others, "image_shape": list(shape), "methods": timings,
        "provenance": provenance(settings, manifest=arguments.manifest)})
