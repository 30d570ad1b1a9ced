"""What a rule depends on is what its code imports: followed, hashed without comments, and asked for by every rule."""

from pathlib import Path

import pytest
import yaml

from radar import code
from radar.files import ROOT

MODULES = sorted(str(path.relative_to(ROOT)) for folder in ("radar", "baselines", "workflow/scripts")
                 for path in (ROOT / folder).rglob("*.py"))


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package, importable: what its method imports, directly, relatively and late."""
    write(tmp_path, {
        "mine/__init__.py": "", "mine/method.py": "from mine import helper\nfrom .near import y\nimport numpy\n",
        "mine/helper.py": "def late():\n    from mine.deep import thing\n    import radar.images.filters\n",
        "mine/near.py": "y = 1\n", "mine/deep/__init__.py": "", "mine/deep/thing.py": "x = 1\n", "mine/other.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    for function in (code._imported, code._statements):
        function.cache_clear()
    return tmp_path / "mine"


def test_imports_are_followed_wherever_they_stand(package):
    found = code.closure("mine.method:Mine")
    own = {str(path.relative_to(package)) for path in found if path.is_relative_to(package)}
    assert own == {"__init__.py", "method.py", "helper.py", "near.py", "deep/__init__.py", "deep/thing.py"}
    suite = {str(path.relative_to(ROOT)) for path in found if path.is_relative_to(ROOT)}
    assert "radar/images/filters.py" in suite and not any("numpy" in str(path) for path in found)


def test_a_statement_changes_the_digest_a_comment_or_docstring_does_not(package):
    def changed(text: str) -> bool:
        before = code.digest("mine.method:Mine")
        (package / "near.py").write_text(text)
        for function in (code._imported, code._statements):
            function.cache_clear()
        return code.digest("mine.method:Mine") != before

    assert not changed('"""Words."""\n\n# more words\ny = 1\n')
    assert changed("y = 2\n")
    assert not changed("y  =  2   # the same\n")
    assert changed("y = 2\n\n\ndef f():\n    return 1\n")
    assert not changed('y = 2\n\n\ndef f():\n    """What it does."""\n    return 1\n')
    assert changed('y = 2\n\n\ndef f():\n    """What it does."""\n    return "What it does."\n')


def test_a_digest_holds_no_path(package, tmp_path, monkeypatch):
    before = code.digest("mine.method:Mine")
    package.rename(tmp_path / "elsewhere")
    (tmp_path / "second").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "second/mine")
    monkeypatch.syspath_prepend(tmp_path / "second")
    for function in (code._imported, code._statements):
        function.cache_clear()
    assert code.digest("mine.method:Mine") == before


def test_what_is_missing_or_no_python_is_one_line(package):
    with pytest.raises(code.CodeError, match="no module 'mine.nothing' can be found"):
        code.closure("mine.nothing:X")
    (package / "near.py").write_text("def f(:\n")
    code._imported.cache_clear()
    with pytest.raises(code.CodeError, match=r"near\.py, line 1: not valid Python"):
        code.closure("mine.method:Mine")


def test_no_module_is_out_of_every_rules_sight():
    """Every module is followed by some rule, but for those that are commands or serve the workflow itself."""
    scripts = [f"workflow/scripts/{path.name}" for path in (ROOT / "workflow/scripts").glob("*.py")]
    named = [str(one.relative_to(ROOT)) for folder in ("baselines", "radar/method", "radar/data")
             for one in (ROOT / folder).glob("*.py")]  # by a method's class, by a dataset's source
    seen = set(code.closure(*scripts, *named))
    alone = {name for name in MODULES if ROOT / name not in seen}
    served = {"radar/__main__.py", "radar/studies.py"}  # the last by the Snakefile
    assert not {name for name in alone - served if not name.startswith("radar/commands/")}


def test_dvcs_list_of_code_is_what_the_sources_import():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["data"]
    for item in stages["foreach"].values():
        listed = {name.replace("${item.source}", item["source"]) for name in stages["do"]["deps"]}
        drawn = {str(path.relative_to(ROOT)) for path in code.closure(f"radar/data/{item['source']}.py")}
        # the cells have no drawn defects; what the splits are called draws no picture
        assert listed <= drawn | {"radar/data/defects.py"}
        left = {name for name in drawn - listed if name.startswith("radar/data/")}
        assert left <= {"radar/data/__init__.py", "radar/data/listing.py"}
