# Fit a method on the normal training images, score the calibration and the test images. No label is read here.


rule fit_and_score:
    input:
        lambda wildcards: predictor_files([method_of(wildcards).get("noise_predictor")], wildcards),
        manifest=MANIFEST,
    output:
        scores=f"{DETECTOR}/scores.csv",
        maps=f"{DETECTOR}/maps.npz",
        description=f"{DETECTOR}/detector.json",
        state=f"{DETECTOR}/detector.safetensors",
    log:
        f"{DETECTOR}/detect.log",
    benchmark:
        f"{DETECTOR}/benchmark.jsonl"
    # a method that trains takes longest, and starts first
    priority: lambda wildcards: 11 if "training" in method_of(wildcards) else 0
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=1500,
    params:
        code=lambda wildcards: code("workflow/scripts/detect.py", method_of(wildcards)["class"]),
        method=lambda wildcards: as_json(configuration.variant_method(method_of(wildcards))),
        name=lambda wildcards: METHOD_OF[wildcards.method],
        predictor=lambda wildcards: predictor_folder(method_of(wildcards).get("noise_predictor")),
        data=data_folder,
        fraction=config["protocol"]["calibration_fraction"],
        rate=config["protocol"]["false_positive_rate"],
        longest_side=config["longest_side"] or 0,
        training=as_json(config["training"]),
        device=config["device"],
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: fit and score {wildcards.method}"
    shell:
        "python workflow/scripts/detect.py --method {params.method:q} --name {params.name} "
        "--predictor {params.predictor} --manifest {input.manifest} "
        "--data {params.data} --calibration-fraction {params.fraction} --false-positive-rate {params.rate} "
        "--longest-side {params.longest_side} --training {params.training:q} --seed {wildcards.seed} "
        "--device {params.device} --threads {threads} --out $(dirname {output.scores}) 2>&1 | tee {log}"
