# The ablation study: config/ablation.yaml makes variants of the methods out of settings. All variants that stand on one
# noise predictor are fitted, scored and evaluated by one job per dataset and seed, which keeps what it has finished.

STUDIES = ABLATION_CONFIG["studies"]
LITERAL = configuration.variant_method(KNOWN_METHODS["radar"])
GROUPS = {(one["group"], one["dataset"]) for one in VARIANTS}
PLAN = f"{RUN}/ablation/variants.json"


rule ablation_plan:
    output:
        PLAN,
    log:
        f"{RUN}/ablation/variants.log",
    localrule: True
    params:
        plan=dict(
            seeds=ABLATION_CONFIG["seeds"],
            literal=next((one["variant"] for one in VARIANTS if one["method"] == LITERAL), ""),
            studies={
                name: {key: study.get(key) for key in ("title", "x", "log", "metrics", "kind", "compare")}
                for name, study in STUDIES.items()
            },
            variants=VARIANTS,
        ),
    run:
        write_json(Path(output[0]), params.plan)


rule ablate:
    input:
        lambda wildcards: predictor_files([wildcards.group] if wildcards.group in PREDICTORS else [], wildcards),
        plan=PLAN,
        manifest=MANIFEST,
    output:
        f"{RUN}/ablation/{{dataset}}/{{category}}/seed{{seed}}/{{group}}.json",
    log:
        f"{RUN}/ablation/{{dataset}}/{{category}}/seed{{seed}}/{{group}}.log",
    wildcard_constraints:
        group="|".join(sorted({re.escape(group) for group, _ in GROUPS})),
    priority: lambda wildcards: 8 if wildcards.group.startswith("pixels") else 5
    conda:
        "../../environment.yml"
    resources:
        gpu=GPU,
        mem_mb=2000,
    params:
        code=lambda wildcards: code(
            "workflow/scripts/ablate.py",
            *{one["method"]["class"] for one in VARIANTS if one["group"] == wildcards.group},
        ),
        job=lambda wildcards: job(
            wildcards,
            group=wildcards.group,
            predictor=predictor_folder(wildcards.group),
            protocol=config["protocol"] | {"bootstrap_draws": ABLATION_CONFIG["bootstrap_draws"]},
            false_positive_rate=config["protocol"]["false_positive_rate"],
            training=config["training"],
        ),
    message:
        "{wildcards.dataset}/{wildcards.category} seed {wildcards.seed}: ablation, variants on {wildcards.group}"
    shell:
        "python workflow/scripts/ablate.py {params.job:q} --threads {threads} --manifest {input.manifest} "
        "--plan {input.plan} --stamp {output} "
        "--out results/ablation/{wildcards.dataset}/{wildcards.category} 2>&1 | tee {log}"


use rule compare as ablation with:
    input:
        [
            f"{RUN}/ablation/{name}/seed{seed}/{group}.json"
            for group, name in sorted(GROUPS)
            for seed in ABLATION_CONFIG["seeds"]
        ],
        run=f"{RUN}/run.json",
        plan=PLAN,
    output:
        report(
            expand(f"{TABLES}/ablation{{end}}", end=[".csv", "_differences.csv", "_counts.csv", ".md", ".tex"]),
            category="Ablation",
            caption="../report/tables.rst",
        ),
        expand(f"{RUN}/figures/ablation_{{study}}.{{suffix}}", study=STUDIES, suffix=["png", "pdf"]),
    log:
        f"{TABLES}/ablation.log",
    params:
        step="ablation_report",
        code=code("workflow/scripts/ablation_report.py"),
