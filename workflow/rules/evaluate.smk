# The only place where labels and masks of test images are read.


rule evaluate:
    input:
        scores=f"{DETECTOR}/scores.csv",
        maps=f"{DETECTOR}/maps.npz",
        manifest=MANIFEST,
    output:
        metrics=f"{DETECTOR}/metrics.json",
        bootstrap=f"{DETECTOR}/bootstrap.npz",
    log:
        f"{DETECTOR}/evaluate.log",
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
    params:
        code=code("workflow/scripts/evaluate.py"),
        data=data_folder,
        name=lambda wildcards: METHOD_OF[wildcards.method],
        protocol=as_json(config["protocol"]),
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: evaluate {wildcards.method}"
    shell:
        "python workflow/scripts/evaluate.py --name {params.name} --manifest {input.manifest} --data {params.data} "
        "--protocol {params.protocol:q} --out $(dirname {output.metrics}) 2>&1 | tee {log}"


# Photographs without labels have no metrics; their user looks at the pictures.
rule overlays:
    input:
        f"{DETECTOR}/scores.csv",
        f"{DETECTOR}/maps.npz",
        f"{DETECTOR}/detector.json",
    output:
        decisions=f"{DETECTOR}/decisions.csv",
        pictures=directory(f"{DETECTOR}/overlays"),
    log:
        f"{DETECTOR}/overlays.log",
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/overlays.py"),
        data=data_folder,
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: decisions and overlays of {wildcards.method}"
    shell:
        "python workflow/scripts/overlays.py --run $(dirname {output.decisions}) --data {params.data} 2>&1 | tee {log}"
