# Fit a method on the normal training images, score the calibration and the test images. No label is read here.

rule fit_and_score:
    input:
        predictor_files,
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
        code=lambda wildcards: code("workflow/scripts/detect.py", METHODS[wildcards.method]["class"]),
        method=lambda wildcards: as_json(configuration.variant_method(METHODS[wildcards.method])),
        data=data_folder,
        fraction=config["protocol"]["calibration_fraction"],
        rate=config["protocol"]["false_positive_rate"],
        longest_side=config["longest_side"] or 0,
        training=as_json(config["training"]),
        device=config["device"],
    resources:
        gpu=GPU,
        mem_mb=1500,
    threads: 1
    # a method that trains takes longest, and starts first
    priority: lambda wildcards: 11 if "training" in METHODS[wildcards.method] else 0
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: fit and score {wildcards.method}"
    shell:
        "{PYTHON} workflow/scripts/detect.py --method {params.method:q} --manifest {input.manifest} "
        "--data {params.data} --calibration-fraction {params.fraction} --false-positive-rate {params.rate} "
        "--longest-side {params.longest_side} --training {params.training:q} --seed {wildcards.seed} --device {params.device} "
        "--threads {threads} --out $(dirname {output[0]}) 2>&1 | tee {log}"
