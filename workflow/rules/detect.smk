# Fit a method on the normal training images, score the calibration and the test images. No label is read here.

rule fit_and_score:
    input:
        SCORING_CODE,
        lambda wildcards: CLASS_FILES[wildcards.method],
        # RADAR's forest is part of the method
        lambda wildcards: code("radar/forest.py") if METHODS[wildcards.method]["class"].startswith("radar.") else [],
        needs_predictor,
        method="config/methods/{method}.yaml",
        manifest=f"{RUN}/manifest.csv",
    output:
        f"{DETECTOR}/scores.csv",
        f"{DETECTOR}/maps.npz",
        f"{DETECTOR}/detector.json",
        f"{DETECTOR}/detector.safetensors",
    log:
        f"{DETECTOR}/detect.log",
    benchmark:
        f"{DETECTOR}/benchmark.jsonl"
    params:
        data=data_folder,
        fraction=config["protocol"]["calibration_fraction"],
        rate=config["protocol"]["false_positive_rate"],
        longest_side=config["longest_side"] or 0,
        device=config["device"],
    resources:
        gpu=lambda wildcards: GPU if needs_predictor(wildcards) else 0,
        mem_mb=1500,
    threads: 1
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: fit and score {wildcards.method}"
    shell:
        "{PYTHON} workflow/scripts/detect.py --method {input.method} --manifest {input.manifest} "
        "--data {params.data} --calibration-fraction {params.fraction} --false-positive-rate {params.rate} "
        "--longest-side {params.longest_side} --seed {wildcards.seed} --device {params.device} "
        "--threads {threads} --out $(dirname {output[0]}) 2>&1 | tee {log}"
