# Each noise predictor once per dataset and seed; the methods that stand on it share it.


rule train_noise_predictor:
    input:
        manifest=MANIFEST,
    output:
        weights=f"{PREDICTOR}/noise_predictor.safetensors",
        description=f"{PREDICTOR}/noise_predictor.json",
        loss=f"{PREDICTOR}/loss.csv",
    log:
        f"{PREDICTOR}/train.log",
    benchmark:
        f"{PREDICTOR}/benchmark.jsonl"
    priority: 10  # the longest jobs first
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        gpu=GPU,
        mem_mb=1500,
    params:
        code=code("workflow/scripts/train.py"),
        data=data_folder,
        settings=lambda wildcards: as_json(PREDICTORS[PREDICTOR_OF[wildcards.predictor]]),
        fraction=config["protocol"]["calibration_fraction"],
        longest_side=config["longest_side"] or 0,
        device=config["device"],
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: train {wildcards.predictor}"
    shell:
        "python workflow/scripts/train.py --manifest {input.manifest} --data {params.data} "
        "--settings {params.settings:q} --calibration-fraction {params.fraction} "
        "--longest-side {params.longest_side} --seed {wildcards.seed} --device {params.device} "
        "--threads {threads} --out $(dirname {output.weights}) 2>&1 | tee {log}"
