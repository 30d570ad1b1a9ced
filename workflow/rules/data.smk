# DVC prepares the data, Snakemake takes over from the manifest: one row per image with its sha256. The same bytes
# give the same manifest, so a `dvc checkout` reruns nothing and a changed image reruns what it must.

rule prepare:
    input:
        code(
            "radar/data/{dataset}.py", "radar/data/layout.py", "radar/data/defects.py", "radar/data/manifest.py",
            "config/datasets/{dataset}.yaml", "workflow/scripts/manifest.py",
        ),
    output:
        f"{RUN}/manifest.csv",
    log:
        f"{RUN}/manifest.log",
    wildcard_constraints:
        dataset=rf"(?!{configuration.USER_DATASET}/)[A-Za-z0-9_.-]+",
    params:
        folder=data_folder,
    resources:
        dvc=1,
    message:
        "{wildcards.dataset}/{wildcards.category}: prepare the data"
    shell:
        "(PATH=$(dirname {PYTHON}):$PATH {PYTHON} -m dvc repro --single-item data@{wildcards.dataset}-{wildcards.category} && "
        "{PYTHON} workflow/scripts/manifest.py {params.folder} {output}) 2>&1 | tee {log}"


rule read_folder:
    input:
        code("radar/data/manifest.py", "workflow/scripts/manifest.py"),
    output:
        f"{RUN}/manifest.csv",
    log:
        f"{RUN}/manifest.log",
    wildcard_constraints:
        dataset=configuration.USER_DATASET,
    params:
        folder=data_folder,
        state=lambda wildcards: folder_state(data_folder(wildcards)),
    message:
        "{wildcards.category}: read your images in {params.folder}"
    shell:
        "{PYTHON} workflow/scripts/manifest.py {params.folder} {output} 2>&1 | tee {log}"
