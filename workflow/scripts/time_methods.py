"""Time the trained detectors of one dataset in turns, on its test images of the most frequent size.

First their cold starts, each in a process of its own, while this one has computed nothing yet.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from radar.data import manifest
from radar.devices import choose_device, prepare_torch
from radar.evaluation.cold_start import cold_start, import_networks
from radar.evaluation.timing import cores_of_others, device_name, processor_seconds, time_detectors
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
    settings = arguments.settings
    threads = min(settings["threads"], os.cpu_count() or 1)
    try:
        table = manifest.read(arguments.manifest)
        test = image_set(table, arguments.data, "test", arguments.longest_side or None)
        shapes = pd.Series([tuple(test.uint8(i).shape) for i in range(min(len(test), 64))])
        shape = shapes.mode().iloc[0]
        import_networks(path.parent for path in arguments.detectors)
        first = test.uint8(shapes.index[shapes == shape][0])[None].numpy()
        cold = {path: cold_start(path.parent, arguments.device, threads, first) for path in arguments.detectors}

        device = choose_device(arguments.device)
        prepare_torch(threads)
        images = torch.stack([test.uint8(i) for i in shapes.index[shapes == shape][:32]])
        loaded = [load(path.parent, device) for path in arguments.detectors]
        detectors = {description["name"]: detector for detector, description in loaded}
        before, started = processor_seconds(), time.monotonic()
        timings = time_detectors(detectors, images, batch_sizes=settings["batch_sizes"], repeats=settings["repeats"],
                                 seconds=settings["seconds"])
        others = cores_of_others(before, processor_seconds(), time.monotonic() - started)
    except (MethodError, OSError, RuntimeError) as error:
        sys.exit(str(error))
    methods = {}
    for path, (_, description) in zip(arguments.detectors, loaded, strict=True):
        name, trained = description["name"], description["training"] or {}
        methods[name] = timings[name] | {"cold_start_s": cold[path], "training_images": trained.get("images"),
                                         "training_s": trained.get("seconds")}
        print(f"{name}: {timings[name]['latency_ms_median']:.1f} ms an image alone, "
              f"{timings[name]['images_per_s']:.1f} images/s in batches of {timings[name]['batch_size']}")
    write_json(arguments.out, {
        "device": device, "device_name": device_name(device), "threads": torch.get_num_threads(),
        "cores_of_others": others,  # on average, while the methods took turns
        "image_shape": list(shape), "methods": methods,
        "provenance": provenance(settings, manifest=arguments.manifest)})
