# DVC prepares the generated datasets; originals and your own photographs are read where they lie. Snakemake takes over
# from the manifest: one row per image with its sha256, written once the data have passed every check. A `dvc checkout`
# of the same bytes reruns nothing; originals and photographs are read again when a file's time has changed.


rule read_data:
    output:
        manifest=MANIFEST,
        check=f"{PLACE}/check.json",
    log:
        f"{PLACE}/manifest.log",
    priority: 100  # what is wrong with the data is told before the first training
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        make="",
        code=lambda wildcards: code("workflow/scripts/manifest.py", f"radar/data/{origin_of(wildcards).source}.py"),
        folder=data_folder,
        source=lambda wildcards: origin_of(wildcards).source,
        settings=lambda wildcards: as_json(origin_of(wildcards).settings),
        state=lambda wildcards: images_state(wildcards.dataset, wildcards.category),
    message:
        "{wildcards.dataset}/{wildcards.category}: read and check the images in {params.folder}"
    shell:
        "({params.make}python workflow/scripts/manifest.py {params.folder} {output.manifest} --source {params.source} "
        "--category {wildcards.category} --settings {params.settings:q} --workers {threads}) 2>&1 | tee {log}"


use rule read_data as prepare with:
    wildcard_constraints:
        dataset="|".join(configuration.generated_datasets()),
    localrule: True  # DVC needs this repository and its cache, which jobs elsewhere may not see
    threads: 1
    resources:
        dvc=1,
    params:
        make="python -m dvc repro --single-item data@{dataset}-{category} && ",
        code=lambda wildcards: code(
            "workflow/scripts/manifest.py", f"radar/data/{wildcards.dataset}.py", "radar/data/folder.py"
        ),
        state="",
    message:
        "{wildcards.dataset}/{wildcards.category}: prepare the data"


ruleorder: prepare > read_data
