"""Which code a result depends on: what a file imports, followed through the suite, and the digest of it.

A rule has the digest as a parameter, so that Snakemake makes its results anew when that code changes: nothing is listed
by hand, no path of a machine is in it, and a comment or a docstring changes nothing.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from radar.files import ROOT


class CodeError(Exception):
    """A Python file that cannot be found or read. One line that names it."""


def closure(*entries: str) -> list[Path]:
    """The files of `entries` and all that they import, at any depth, of the suite or of their own package.

    entries: files relative to the suite ("workflow/scripts/detect.py"), or "package.module:Class", also of a package
    that is installed. An import counts wherever it stands, in a function too. Other packages are not followed: their
    versions are pinned. Raises CodeError if a file is missing or not valid Python.
    """
    found: dict[Path, None] = {}
    waiting = [module_file(entry) if ":" in entry else ROOT / entry for entry in entries]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting += _imported(path)
    return sorted(found)


def digest(*entries: str, data: Iterable[str] = ()) -> str:
    """16 hex digits that change with any statement in `closure` of the entries, any byte of the files `data`, and any
    byte of the templates that lie beside a module that uses them."""
    total = hashlib.sha256()
    shown = {ROOT / name for name in data}
    for path in closure(*entries):
        total.update(_statements(path))
        if b"templates" in _statements(path):
            shown |= set((path.parent / "templates").glob("*.*"))
    for path in sorted(shown):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def module_file(reference: str) -> Path:
    """The file of `package.module`, or of `package.module:Class`. Raises CodeError if there is none."""
    module = reference.partition(":")[0]
    for path in _files_of(module.split("."), _roots(module.partition(".")[0])):
        if path.name != "__init__.py" or path.parent.name == module.rpartition(".")[2]:
            return path
    raise CodeError(f"no module '{module}' can be found; put it in baselines/ or install its package")


@lru_cache
def _roots(package: str) -> tuple[Path, ...]:
    """The folders in which a top-level package may lie: that of the suite, or where it is installed."""
    if (ROOT / package).is_dir() or (ROOT / f"{package}.py").is_file():
        return (ROOT,)
    spec = find_spec(package)
    return (Path(spec.origin).parents[spec.submodule_search_locations is not None],) if spec and spec.origin else ()


def _files_of(parts: list[str], folders: tuple[Path, ...]) -> Iterator[Path]:
    """The file of a module, and the __init__.py of the packages that it lies in."""
    for folder in folders:
        for depth in range(len(parts), 0, -1):
            place = folder.joinpath(*parts[:depth])
            yield from (path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file())


@lru_cache
def _imported(path: Path) -> tuple[Path, ...]:
    """What a file imports of the suite and of its own package; a script, also the scripts beside it."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    own = path.relative_to(top).parts[0]

    def of(parts: list[str]) -> Iterator[Path]:
        beside = parts[0] == own or top == ROOT / "workflow/scripts"
        yield from _files_of(parts, tuple(dict.fromkeys((ROOT, top) if beside else (ROOT,))))

    found: list[Path] = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += of(alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = node.module.split(".") if node.module else []
            for alias in node.names:
                parts = [*base, alias.name]
                found += _files_of(parts, (path.parents[node.level - 1],)) if node.level else of(parts)
    return tuple(dict.fromkeys(found))


@lru_cache
def _statements(path: Path) -> bytes:
    """A file without comments, docstrings and layout."""
    tree = parsed(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
                node, clean=False) is not None:
            node.body = node.body[1:]
    return f"{path.name} {ast.dump(tree)}\n".encode()


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file. Raises CodeError naming file and line if it has none."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CodeError(f"{path}: cannot be read ({error.strerror})") from error
    except (SyntaxError, UnicodeDecodeError) as error:
        where = f"{path}, line {error.lineno}" if isinstance(error, SyntaxError) else str(path)
        raise CodeError(f"{where}: not valid Python: {error.args[0]}") from error
