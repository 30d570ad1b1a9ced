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
    # a method that trains takes longest, and starts first
    priority: lambda wildcards: 11 if "training" in method_of(wildcards) else 0
    conda:
        "../../environment.yml"
    resources:
        gpu=GPU,
        mem_mb=1500,
    params:
        code=lambda wildcards: code("workflow/scripts/detect.py", method_of(wildcards)["class"]),
        job=lambda wildcards: job(
            wildcards,
            method=configuration.variant_method(method_of(wildcards)),
            name=METHOD_OF[wildcards.method],
            predictor=predictor_folder(method_of(wildcards).get("noise_predictor")),
            false_positive_rate=config["protocol"]["false_positive_rate"],
            training=config["training"],
        ),
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: fit and score {wildcards.method}"
    shell:
        "python workflow/scripts/detect.py {params.job:q} --threads {threads} --manifest {input.manifest} "
        "--out $(dirname {output.scores}) 2>&1 | tee {log}"
