"""Which code a result depends on: what a file imports, followed through the suite, and the digest of it.

A rule has the digest as a parameter, so that Snakemake makes its results anew when that code changes: nothing is listed
by hand, no path of a machine is in it, and a comment or a docstring changes nothing.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from radar.files import ROOT


class CodeError(ValueError):
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
    parts = reference.partition(":")[0].split(".")
    root = ROOT
    if not (ROOT / parts[0]).is_dir() and not _file(ROOT / parts[0]) and (spec := find_spec(parts[0])):  # installed
        root = Path((spec.submodule_search_locations or [spec.origin or ""])[0]).parent
    if (path := _file(root.joinpath(*parts))) is None:
        raise CodeError(f"no module '{'.'.join(parts)}' can be found; put it in baselines/ or install its package")
    return path


def _file(place: Path) -> Path | None:
    """The file of the module or package that lies at `place`, if there is one."""
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@lru_cache
def _imported(path: Path) -> list[Path]:
    """What a file imports of the suite and of its own package; a script, also the scripts beside it."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    names: list[tuple[int, str]] = []  # how many dots stand before it, what is imported
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [(node.level, f"{node.module or ''}.{alias.name}".lstrip(".")) for alias in node.names]
    found: list[Path | None] = []
    for level, name in names:
        parts, roots = name.split("."), [ROOT]
        if level:
            roots = [path.parents[level - 1]]
        elif top == ROOT / "workflow/scripts" or parts[0] == path.relative_to(top).parts[0]:
            roots = [ROOT, top]
        found += [_file(root.joinpath(*parts[:depth])) for root in roots for depth in range(1, len(parts) + 1)]
    return [one for one in dict.fromkeys(found) if one]


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
