# Tables and figures; they import no torch.

TABLES = [f"results/tables/{name}" for name in (
    "main.csv", "main.md", "main.tex", "differences.csv", "timing.csv", "timing.md", "timing.tex", "summary.txt", "metrics.json",
)]
CLAIMS = [f"results/tables/claims.{suffix}" for suffix in ("csv", "md", "tex")]
SIGNIFICANCE = [f"results/tables/{name}" for name in (
    "statistics.csv", "statistics.md", "statistics.tex", "seeds.csv", "ranks.csv", "comparisons.csv",
)]
PAGE = "results/report.html"
SOURCES = sorted({name.partition("/")[0] for name in DATASETS})
# What was trained: the shared noise predictors, and the methods that train networks of their own.
USED = list(dict.fromkeys(method["noise_predictor"] for method in METHODS.values() if "noise_predictor" in method))
TRAINED = [f"noise_predictor-{name}" for name in USED] + [name for name in METHODS if "training" in METHODS[name]]
OVERVIEWS = ["accuracy_latency", "timing", "roc", "recall", "seeds", "ranks", *(["loss"] if TRAINED else [])]
FIGURES = expand(
    "results/figures/{name}.{suffix}",
    name=[*OVERVIEWS, *(f"maps_{name.replace('/', '_')}" for name in DATASETS)],
    suffix=["png", "pdf"],
)
RECORDS = per_dataset(f"{DETECTOR}/metrics.json", method=METHODS, seed=SEEDS)
SAMPLES = per_dataset(f"{DETECTOR}/bootstrap.npz", method=METHODS, seed=SEEDS)
SCORES = per_dataset(f"{DETECTOR}/scores.csv", method=METHODS, seed=SEEDS)
TIMINGS = per_dataset(f"{DETECTOR}/timing.json", method=METHODS, seed=SEEDS[0])
MANIFESTS = per_dataset(f"{RUN}/manifest.csv")
# Of photographs without labels there is no metric to report: decisions and pictures instead.
UNLABELLED = [name for name in DATASETS if not configuration.has_labels(name)]
OVERLAYS = expand(f"results/{{name}}/{{method}}/seed{SEEDS[0]}/decisions.csv", name=UNLABELLED, method=METHODS)
FIGURE_INPUTS = {
    "accuracy_latency": RECORDS + SAMPLES + TIMINGS,
    "timing": TIMINGS,
    "roc": RECORDS + SCORES + MANIFESTS,
    "recall": RECORDS,
    "seeds": RECORDS,
    "ranks": RECORDS,
    # a method that trains writes its loss.csv beside its detector
    "loss": per_dataset(f"{PREDICTOR}/loss.csv", predictor=USED, seed=SEEDS)
    + per_dataset(f"{DETECTOR}/detector.json", method=[name for name in TRAINED if name in METHODS], seed=SEEDS),
}
METHOD_FILES = [f"config/methods/{name}.yaml" for name in METHODS]


rule tables:
    input:
        RECORDS,
        SAMPLES,
        TIMINGS,
        per_dataset(f"{RUN}/check.json"),
    output:
        report(
            TABLES,
            category="Tables",
            caption="../report/tables.rst",
        ),
    log:
        "results/tables/tables.log",
    params:
        code=code("workflow/scripts/tables.py", *METHOD_FILES),
        arguments=f"{report_arguments()} {citations()}",
    message:
        "write the tables"
    shell:
        "{PYTHON} workflow/scripts/tables.py {params.arguments} --results $(dirname $(dirname {output[0]})) "
        "--out $(dirname {output[0]}) 2>&1 | tee {log}"


rule claims:
    input:
        RECORDS,
        SAMPLES,
        TIMINGS,
    output:
        report(
            CLAIMS,
            category="Claims",
            caption="../report/claims.rst",
        ),
    log:
        "results/tables/claims.log",
    params:
        code=code("workflow/scripts/claims.py", "config/claims.yaml", "config/published.csv"),
        arguments=report_arguments(),
        state=lambda wildcards: ablation_state(),
        ablation=lambda wildcards: "--ablation results/ablation" if ablation_state() else "",
    message:
        "hold the papers' claims against the results"
    shell:
        "{PYTHON} workflow/scripts/claims.py {params.arguments} {params.ablation} "
        "--results $(dirname $(dirname {output[0]})) --out $(dirname {output[0]}) 2>&1 | tee {log}"


rule significance:
    input:
        RECORDS,
        SAMPLES,
    output:
        report(
            SIGNIFICANCE,
            category="Statistics",
            caption="../report/tables.rst",
        ),
    log:
        "results/tables/significance.log",
    params:
        code=code("workflow/scripts/significance.py", *METHOD_FILES),
        arguments=report_arguments(),
        state=lambda wildcards: ablation_state(),
        variants=lambda wildcards: "--variants results/ablation/variants.json" if ablation_state() else "",
    message:
        "seeds, shares of variance, ranks"
    shell:
        "{PYTHON} workflow/scripts/significance.py {params.arguments} {params.variants} "
        "--results $(dirname $(dirname {output[0]})) --out $(dirname {output[0]}) 2>&1 | tee {log}"


rule figure:
    input:
        lambda wildcards: FIGURE_INPUTS[wildcards.figure],
    output:
        report(
            "results/figures/{figure}.png",
            category="Figures",
            caption="../report/figures.rst",
        ),
        "results/figures/{figure}.pdf",
    log:
        "results/figures/{figure}.log",
    wildcard_constraints:
        figure="|".join(OVERVIEWS),
    params:
        code=code("workflow/scripts/figures.py"),
        arguments=report_arguments(),
        networks=" ".join(TRAINED),
    message:
        "draw {wildcards.figure}"
    shell:
        "{PYTHON} workflow/scripts/figures.py --figure {wildcards.figure} {params.arguments} --networks {params.networks} "
        "--results $(dirname $(dirname {output[0]})) --out $(dirname {output[0]}) 2>&1 | tee {log}"


rule maps_figure:
    input:
        expand(f"{DETECTOR}/maps.npz", method=METHODS, seed=SEEDS[0], allow_missing=True),
        f"{RUN}/manifest.csv",
    output:
        report(
            "results/figures/maps_{dataset}_{category}.png",
            category="Figures",
            caption="../report/maps.rst",
        ),
        "results/figures/maps_{dataset}_{category}.pdf",
    log:
        "results/figures/maps_{dataset}_{category}.log",
    wildcard_constraints:
        dataset="|".join({name.partition("/")[0] for name in DATASETS}),
    params:
        code=code("workflow/scripts/figures.py"),
        data=data_folder,
        methods=f"{' '.join(METHODS)} {labels()}",
        seed=SEEDS[0],
    message:
        "{wildcards.dataset}/{wildcards.category}: draw images, truth and maps"
    shell:
        "{PYTHON} workflow/scripts/figures.py --figure maps --datasets {wildcards.dataset}/{wildcards.category} "
        "--methods {params.methods} --seeds {params.seed} --data {wildcards.dataset}/{wildcards.category}={params.data} "
        "--results $(dirname $(dirname {output[0]})) --out $(dirname {output[0]}) 2>&1 | tee {log}"


rule page:
    input:
        RECORDS,
        SAMPLES,
        SCORES,
        TIMINGS,
        MANIFESTS,
        CLAIMS,
        SIGNIFICANCE,
        FIGURES,
        per_dataset(f"{RUN}/check.json"),
        per_dataset([f"{DETECTOR}/maps.npz", f"{DETECTOR}/detector.json"], method=METHODS, seed=SEEDS[0]),
    output:
        PAGE,
    log:
        "results/report.log",
    params:
        code=code("workflow/scripts/page.py", "radar/report/templates/report.html", "radar/report/templates/report.css", "radar/report/templates/report.js", *METHOD_FILES, *(f"config/datasets/{name}.yaml" for name in SOURCES)),
        arguments=report_arguments(),
        data=data_arguments(),
        state=lambda wildcards: ablation_state(),
        variants=lambda wildcards: "--variants results/ablation/variants.json" if ablation_state() else "",
    message:
        "write the report"
    shell:
        "{PYTHON} workflow/scripts/page.py {params.arguments} {params.data} {params.variants} "
        "--results $(dirname {output[0]}) --out {output[0]} 2>&1 | tee {log}"
