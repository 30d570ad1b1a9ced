# From the results to the run's tables, figures and page: compare, then show. Nothing here imports torch.

TABLES = f"{RUN}/tables"
# what is computed of the results, and what only shows it
COMPARED = expand(
    f"{TABLES}/{{name}}.csv",
    name="results main differences timing defects records missing statistics ranks comparisons answers".split(),
)
SHOWN = expand(f"{TABLES}/{{name}}.{{suffix}}", name=["main", "compact", "timing", "statistics"], suffix=["md", "tex"])
CLAIMS = expand(f"{TABLES}/claims.{{suffix}}", suffix=["csv", "md", "tex"])
PAGE = f"{RUN}/report.html"
OVERVIEWS = ["accuracy_latency", "timing", "roc", "recall", "seeds", "ranks", "strip", *(["loss"] if NETWORKS else [])]
FIGURES = expand(
    f"{RUN}/figures/{{name}}.{{suffix}}",
    name=[*OVERVIEWS, *(f"maps_{slug(name)}" for name in DATASETS)],
    suffix=["png", "pdf"],
)
# Of photographs without labels there is no metric to report: decisions and pictures instead.
UNLABELLED = [name for name in DATASETS if not configuration.has_labels(name)]
OVERLAYS = expand(f"results/{{name}}/{{method}}/seed{SEEDS[0]}/decisions.csv", name=UNLABELLED, method=METHOD_OF)
MANIFESTS = per_dataset(MANIFEST)
SCORES = per_dataset(f"{DETECTOR}/scores.csv", method=METHOD_OF, seed=SEEDS)
MAPS = per_dataset(f"{DETECTOR}/maps.npz", method=METHOD_OF, seed=SEEDS[0])
# a method that trains writes its loss.csv beside its detector
LOSSES = per_dataset(
    f"{PREDICTOR}/loss.csv", predictor=[predictor_folder(name) for name in USED], seed=SEEDS
) + per_dataset(f"{DETECTOR}/detector.json", method=[folder for folder in NETWORKS if folder in METHOD_OF], seed=SEEDS)
FIGURE_INPUTS = {"roc": SCORES + MANIFESTS, "loss": LOSSES, "strip": MAPS + MANIFESTS}


rule describe:
    output:
        f"{RUN}/run.json",
    log:
        f"{RUN}/describe.log",
    localrule: True
    params:
        description=description(),
    run:
        write_json(Path(output[0]), params.description)


rule compare:
    input:
        run=f"{RUN}/run.json",
        metrics=per_dataset(
            f"{DETECTOR}/{{file}}", method=METHOD_OF, seed=SEEDS, file=["metrics.json", "bootstrap.npz"]
        ),
        scores=SCORES,  # are these numbers of them?
        timing=per_dataset(f"{RUN}/timing/{{dataset}}/{{category}}.json"),
    output:
        report(COMPARED, category="Tables", caption="../report/tables.rst"),
        f"{RUN}/metrics.json",
        f"{RUN}/params.json",
    log:
        f"{TABLES}/compare.log",
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/compare.py"),
    message:
        "compare the methods"
    shell:
        "python workflow/scripts/compare.py --run $(dirname {input.run}) 2>&1 | tee {log}"


rule claims:
    input:
        run=f"{RUN}/run.json",
        compared=COMPARED,
    output:
        report(CLAIMS, category="Claims", caption="../report/claims.rst"),
    log:
        f"{TABLES}/claims.log",
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/claims.py", data=["config/claims.yaml", "config/published.csv"]),
        state=lambda wildcards: ablation_state(),
    message:
        "hold the papers' claims against the results"
    shell:
        "python workflow/scripts/claims.py --run $(dirname {input.run}) 2>&1 | tee {log}"


rule tables:
    input:
        run=f"{RUN}/run.json",
        compared=COMPARED,
        checks=per_dataset(f"{PLACE}/check.json"),
    output:
        report(SHOWN, category="Tables", caption="../report/tables.rst"),
        f"{TABLES}/summary.txt",
    log:
        f"{TABLES}/tables.log",
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/tables.py"),
    message:
        "write the tables"
    shell:
        "python workflow/scripts/tables.py --run $(dirname {input.run}) 2>&1 | tee {log}"


rule figure:
    input:
        lambda wildcards: FIGURE_INPUTS.get(wildcards.figure, []),
        run=f"{RUN}/run.json",
        compared=COMPARED,
    output:
        report(f"{RUN}/figures/{{figure}}.png", category="Figures", caption="../report/figures.rst"),
        f"{RUN}/figures/{{figure}}.pdf",
    log:
        f"{RUN}/figures/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(OVERVIEWS),
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/figures.py"),
    message:
        "draw {wildcards.figure}"
    shell:
        "python workflow/scripts/figures.py --run $(dirname {input.run}) --figure {wildcards.figure} 2>&1 | tee {log}"


rule maps_figure:
    input:
        expand(f"{PLACE}/{{method}}/seed{SEEDS[0]}/maps.npz", method=METHOD_OF, allow_missing=True),
        MANIFEST,
        run=f"{RUN}/run.json",
    output:
        report(f"{RUN}/figures/maps_{{dataset}}_{{category}}.png", category="Figures", caption="../report/maps.rst"),
        f"{RUN}/figures/maps_{{dataset}}_{{category}}.pdf",
    log:
        f"{RUN}/figures/maps_{{dataset}}_{{category}}.log",
    wildcard_constraints:
        dataset="|".join({name.partition("/")[0] for name in DATASETS}),
    conda:
        "../../environment.yml"
    params:
        code=code("workflow/scripts/figures.py"),
    message:
        "{wildcards.dataset}/{wildcards.category}: draw images, truth and maps"
    shell:
        "python workflow/scripts/figures.py --run $(dirname {input.run}) --figure maps "
        "--dataset {wildcards.dataset}/{wildcards.category} 2>&1 | tee {log}"


rule page:
    input:
        SCORES,
        MANIFESTS,
        CLAIMS,
        FIGURES,
        OVERLAYS,
        per_dataset(f"{PLACE}/check.json"),
        per_dataset(f"{PLACE}/{{method}}/seed{SEEDS[0]}/{{file}}", method=METHOD_OF, file=["maps.npz", "detector.json"]),
        run=f"{RUN}/run.json",
        compared=COMPARED,
    output:
        PAGE,
    log:
        f"{RUN}/report.log",
    conda:
        "../../environment.yml"
    params:
        code=code(
            "workflow/scripts/page.py",
            data=[f"config/datasets/{name.partition('/')[0]}.yaml" for name in DATASETS],  # where the data are from
        ),
        words=[ast.get_docstring(parsed(module_file(method["class"]))) for method in METHODS.values()],  # are shown
        state=lambda wildcards: ablation_state(),
    message:
        "write the report"
    shell:
        "python workflow/scripts/page.py --run $(dirname {input.run}) 2>&1 | tee {log}"
