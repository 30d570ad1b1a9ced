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
    priority: 10  # the longest jobs first
    conda:
        "../../environment.yml"
    resources:
        gpu=GPU,
        mem_mb=1500,
    params:
        code=code("workflow/scripts/train.py"),
        job=lambda wildcards: job(wildcards, predictor=PREDICTORS[PREDICTOR_OF[wildcards.predictor]]),
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: train {wildcards.predictor}"
    shell:
        "python workflow/scripts/train.py {params.job:q} --threads {threads} --manifest {input.manifest} "
        "--out $(dirname {output.weights}) 2>&1 | tee {log}"
