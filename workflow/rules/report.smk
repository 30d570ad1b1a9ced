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
FIGURES = f"{RUN}/figures"
# Of photographs without labels there is no metric to report: decisions and pictures instead.
OVERLAYS = expand(
    f"results/{{name}}/{{method}}/seed{SEEDS[0]}/decisions.csv",
    name=[name for name in DATASETS if not configuration.has_labels(name)],
    method=METHOD_OF,
)
MANIFESTS = per_dataset(MANIFEST)
SCORES = per_dataset(f"{DETECTOR}/scores.csv", method=METHOD_OF, seed=SEEDS)
MAPS = per_dataset(f"{DETECTOR}/maps.npz", method=METHOD_OF, seed=SEEDS[0])


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


# The steps below do as this one.
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
        step="compare",
        code=code("workflow/scripts/compare.py"),
    message:
        "report on the run: {params.step}"
    shell:
        "python workflow/scripts/{params.step}.py --run $(dirname {input.run}) 2>&1 | tee {log}"


use rule compare as claims with:
    input:
        COMPARED,
        run=f"{RUN}/run.json",
    output:
        report(CLAIMS, category="Claims", caption="../report/claims.rst"),
    log:
        f"{TABLES}/claims.log",
    params:
        step="claims",
        code=code("workflow/scripts/claims.py", data=["config/claims.yaml", "config/published.csv"]),
        state=lambda wildcards: ablation_state(),


use rule compare as tables with:
    input:
        COMPARED,
        per_dataset(f"{PLACE}/check.json"),
        run=f"{RUN}/run.json",
    output:
        report(SHOWN, category="Tables", caption="../report/tables.rst"),
        f"{TABLES}/summary.txt",
    log:
        f"{TABLES}/tables.log",
    params:
        step="tables",
        code=code("workflow/scripts/tables.py"),


use rule compare as figures with:
    input:
        COMPARED,
        SCORES,
        MAPS,
        MANIFESTS,
        # of a method that trains it lies beside its scores
        per_dataset(f"{PREDICTOR}/loss.csv", predictor=[predictor_folder(name) for name in USED], seed=SEEDS),
        run=f"{RUN}/run.json",
    output:
        [report(f"{FIGURES}/{one}.png", category="Figures", caption=f"../report/{one}.rst") for one in OVERVIEWS],
        report(
            per_dataset(f"{FIGURES}/maps_{{dataset}}_{{category}}.png"),
            category="Figures",
            caption="../report/maps.rst",
        ),
        expand(f"{FIGURES}/{{name}}.pdf", name=OVERVIEWS),
        per_dataset(f"{FIGURES}/maps_{{dataset}}_{{category}}.pdf"),
    log:
        f"{FIGURES}/figures.log",
    params:
        step="figures",
        code=code("workflow/scripts/figures.py"),


use rule compare as page with:
    input:
        COMPARED,
        CLAIMS,
        rules.figures.output,
        OVERLAYS,
        SCORES,
        MAPS,
        MANIFESTS,
        per_dataset(f"{PLACE}/check.json"),
        per_dataset(f"{DETECTOR}/detector.json", method=METHOD_OF, seed=SEEDS[0]),
        run=f"{RUN}/run.json",
    output:
        PAGE,
    log:
        f"{RUN}/report.log",
    params:
        step="page",
        code=code(
            "workflow/scripts/page.py",
            data=[f"config/datasets/{name.partition('/')[0]}.yaml" for name in DATASETS],  # where the data are from
        ),
        words=[ast.get_docstring(parsed(module_file(method["class"]))) for method in METHODS.values()],  # are shown
        state=lambda wildcards: ablation_state(),
