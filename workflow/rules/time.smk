# All methods of a dataset in one process, in turns, with the machine to itself.

rule time_methods:
    input:
        detectors=expand(f"{RUN}/{{method}}/seed{SEEDS[0]}/detector.json", method=METHODS, allow_missing=True),
        files=detectors_of,
        manifest=f"{RUN}/manifest.csv",
    output:
        expand(f"{RUN}/{{method}}/seed{SEEDS[0]}/timing.json", method=METHODS, allow_missing=True),
    log:
        f"{RUN}/timing.log",
    params:
        code=code("workflow/scripts/time_methods.py"),
        data=data_folder,
        settings=as_json(config["timing"]),
        longest_side=config["longest_side"] or 0,
        device=config["device"],
    resources:
        gpu=GPU,
        mem_mb=2000,
    threads: workflow.cores
    message:
        "{wildcards.dataset}/{wildcards.category}: time the methods, alone on the machine"
    shell:
        "{PYTHON} workflow/scripts/time_methods.py {input.detectors} --manifest {input.manifest} "
        "--data {params.data} --settings {params.settings:q} --longest-side {params.longest_side} "
        "--device {params.device} 2>&1 | tee {log}"
