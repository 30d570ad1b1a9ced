# All methods of a run on a dataset in one process, in turns, with the machine to itself.


rule time_methods:
    input:
        lambda wildcards: predictor_files(USED, wildcards),
        expand(f"{PLACE}/{{method}}/seed{SEEDS[0]}/detector.safetensors", method=METHOD_OF, allow_missing=True),
        detectors=expand(f"{PLACE}/{{method}}/seed{SEEDS[0]}/detector.json", method=METHOD_OF, allow_missing=True),
        manifest=MANIFEST,
    output:
        f"{RUN}/timing/{{dataset}}/{{category}}.json",
    log:
        f"{RUN}/timing/{{dataset}}/{{category}}.log",
    conda:
        "../../environment.yml"
    threads: workflow.cores
    resources:
        gpu=GPU,
        mem_mb=2000,
    params:
        code=code("workflow/scripts/time_methods.py", *(method["class"] for method in METHODS.values())),
        data=data_folder,
        settings=as_json(config["timing"]),
        longest_side=config["longest_side"] or 0,
        device=config["device"],
    message:
        "{wildcards.dataset}/{wildcards.category}: time the methods, alone on the machine"
    shell:
        "python workflow/scripts/time_methods.py {input.detectors} --manifest {input.manifest} "
        "--data {params.data} --settings {params.settings:q} --longest-side {params.longest_side} "
        "--device {params.device} --out {output} 2>&1 | tee {log}"
