# RADAR-bench: `snakemake --cores all` trains, scores, times and writes tables, figures and report to results/runs/.
# What each key of the configuration means stands in config/config.yaml; the stages are in workflow/rules/.


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/time.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/ablation.smk"


rule all:
    default_target: True
    input:
        COMPARED,
        SHOWN,
        CLAIMS,
        rules.figures.output,
        OVERLAYS,
        PAGE,


onstart:
    with in_one_line():  # before anything is done: are the originals there?
        for name in DATASETS:
            origin(name).check()


onsuccess:
    print_summary()


onerror:
    tell_failure(log)
