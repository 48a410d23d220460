"""What Python source says, read from its syntax tree: no line of it is run."""

import ast
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import palladion
from palladion.errors import InputError

__all__ = ["Declared", "declared_arguments", "imported_modules", "parse_source", "preloaded", "subcommands"]

# A syntax tree can take 700 times the bytes of its source.
_MAXIMUM_SOURCE_BYTES = 512 << 10
_TRIES = 5
_NIST_WORDS = ("infer", "configure")
# Of all sources of a submission; what lies beyond is passed over.
_MAXIMUM_FILES, _MAXIMUM_BYTES = 1000, 16 << 20
_MAXIMUM_MODULES = 2000


@dataclass(frozen=True, slots=True)
class Declared:
    """The options that a source gives to argparse.

    Attributes:
        names: without dashes.
        complete: whether there can be no others.
    """

    names: frozenset[str]
    complete: bool


def parse_source(path: Path) -> ast.Module:
    """The syntax tree of a file.

    Raises:
        InputError: it is not Python, or far too large to be.
    """
    try:
        if path.stat().st_size > _MAXIMUM_SOURCE_BYTES:
            raise InputError("is larger than 512 KiB; this is no source file", path=path)
        return _tree(path.read_bytes(), path.name)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from None
    except SyntaxError as error:
        raise InputError(f"is not Python: {error.msg}", path=path, line=error.lineno) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"is not Python: {error}", path=path) from None


def _tree(source: bytes, name: str) -> ast.Module:
    # CPython counts the depth of every tree that it builds in one place for all threads (gh-106905): where another
    # thread builds one at that moment, the sum comes out wrong, and it says SystemError of a source that has no fault.
    for _ in range(_TRIES - 1):
        try:
            return ast.parse(source, filename=name)
        except SystemError:
            continue
    return ast.parse(source, filename=name)


def subcommands(module: ast.Module) -> frozenset[str]:
    """The words that the source gives to argparse's ``add_parser``, where it also answers to ``infer``.

    Where it gives a variable, those of NIST's words count that stand anywhere in the source.
    """
    given = [node.args[0] for node in _method_calls(module, "add_parser") if node.args]
    words = {word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str)}
    if any(not isinstance(word, ast.Constant) for word in given):
        constants = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant)}
        words |= {word for word in _NIST_WORDS if word in constants}
    return frozenset(words) if "infer" in words else frozenset()


def declared_arguments(module: ast.Module) -> Declared:
    """The options that the source gives to argparse's ``add_argument`` in so many words."""
    names: set[str] = set()
    complete = not any(True for _ in _method_calls(module, "parse_known_args"))
    for call in _method_calls(module, "add_argument"):
        words = [part.value for part in call.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        # A name that is put together when it runs, or comes in by a star.
        complete = complete and bool(words) and len(words) == len(call.args)
        names.update(word.lstrip("-") for word in words if word.startswith("-"))
    return Declared(frozenset(names), complete)


def imported_modules(directory: Path) -> set[str]:
    """Modules that the sources in a folder import anywhere, but for those that lie in the folder itself.

    Sources that are not Python, and what goes beyond 1000 files or 16 MiB, are passed over.
    """
    own = {path.stem if path.suffix == ".py" else path.name for path in directory.iterdir()}
    found: set[str] = set()
    size = 0
    for path in _source_files(directory):
        try:
            size += path.stat().st_size
            if size > _MAXIMUM_BYTES:
                break
            found.update(_imports(parse_source(path)))
        except (InputError, OSError):
            continue
        if len(found) > _MAXIMUM_MODULES:
            break
    return {name for name in found if name.partition(".")[0] not in own | {"__future__"}}


def preloaded(modules: Iterable[str]) -> set[str]:
    """These modules, and what those among them that are Palladion's own name in their ``PRELOAD``.

    That is what they import only when they are used, since it takes long. It counts also where they have it from
    another module.
    """
    found = set(modules)
    for name in list(found):
        found.update(_preload(name, 3))
    return found


def _method_calls(module: ast.Module, method: str) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
            yield node


def _source_files(directory: Path) -> Iterator[Path]:
    count = 0
    for root, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if name.endswith(".py"):
                count += 1
                if count > _MAXIMUM_FILES:
                    return
                yield Path(root, name)


def _imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def _preload(name: str, depth: int) -> tuple[str, ...]:
    """``PRELOAD`` of a module of Palladion, from its source."""
    if depth == 0 or not name.startswith("palladion."):
        return ()
    # Looked up as a file: find_spec would import what stands above the name, and the name is the submission's choice.
    path = Path(palladion.__file__).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
    try:
        module = parse_source(path)
    except InputError:
        return ()
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(x, ast.Name) and x.id == "PRELOAD" for x in node.targets):
            value = ast.literal_eval(node.value) if isinstance(node.value, ast.Tuple | ast.List) else ()
            return tuple(word for word in value if isinstance(word, str))
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == "PRELOAD" for alias in node.names):
            return _preload(node.module, depth - 1)
    return ()
