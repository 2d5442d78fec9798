"""One way only: what may import what, and what a command that measures nothing never loads."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bench"

FLOORS = (
    {"core"},
    {"contracts"},
    {"machine", "measure"},
    {"plan", "store", "imports"},
    {"launch", "rank", "predict"},
    {"judge"},
    {"run", "report"},
    {"cli"},
    {"__main__"},
)
"""Each room imports only from the floors above its own line, and from itself."""

NEVER = {
    ("predict/model/", "bench.measure"),
    ("run/", "bench.rank"),
    ("judge/", "bench.simulate"),
}
"""What its floor would allow a file: models are pure; two processes share one protocol."""

ONLY_IN = {
    "mpi4py": {"rank/world.py"},
    "numba": {"rank/timing/"},
    "llvmlite": {"rank/timing/mpi_calls.py", "rank/timing/ceiling_loops.py"},
    "pynvml": {"machine/gpu.py", "rank/gpu_clocks.py", "rank/gpu_counters.py"},
    "pandas": {"judge/", "report/"},
    "matplotlib": {"report/"},
    "jinja2": {"report/"},
    "rich": {"cli/", "run/progress.py"},
    "rich_click": {"cli/"},
    "scipy": {"predict/model/", "judge/"},
    "cupy": {"rank/memory/"},
}
"""Which files may import a library."""


@cache
def imports() -> tuple[tuple[str, str], ...]:
    """Return (file, imported module) for every import statement of the package, lazy ones too."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(file, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: relative import"
                module = node.module or ""
                if module == "bench":
                    found += [(file, f"bench.{alias.name}") for alias in node.names]
                else:
                    found.append((file, module))
    return tuple(found)


def room(file: str) -> str:
    """Return the module or package directly below `bench` that a file belongs to."""
    return file.split("/")[0].removesuffix(".py")


def own_imports() -> list[tuple[str, str, str]]:
    """Return (file, its room, imported room) for imports within the package."""
    names = {room(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")}
    return [
        (file, room(file), module.split(".")[1])
        for file, module in imports()
        if module.startswith("bench.") and module.split(".")[1] in names
    ]


def test_every_room_has_its_floor_and_nothing_lies_beside_the_rooms():
    rooms = {room(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(set().union(*FLOORS))
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {
        "__init__.py",
        "__main__.py",
        "py.typed",
    }


def test_a_room_imports_only_from_the_floors_below():
    level = {name: number for number, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{file} imports bench.{imported}"
        for file, own, imported in own_imports()
        if own not in ("__init__", imported) and level[imported] >= level[own]
    ]
    assert wrong == []


def test_some_rooms_never_know_each_other():
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        for place, forbidden in NEVER
        if file.startswith(place) and f"{module}.".startswith(f"{forbidden}.")
    ]
    assert wrong == []


def test_a_library_is_imported_only_where_it_belongs():
    wrong = [
        f"{file} imports {module}"
        for file, module in imports()
        if (places := ONLY_IN.get(module.split(".")[0])) is not None
        and not file.startswith(tuple(places))
    ]
    assert wrong == []


def test_the_rule_about_libraries_sees_imports_at_all():
    seen = {module.split(".")[0] for _, module in imports()}
    assert {"mpi4py", "numba", "pandas", "matplotlib", "rich"} <= seen


def loaded_by(*arguments: str) -> set[str]:
    """Return every module that a command loads, run to its end in a process of its own."""
    program = (
        "import sys; from bench.cli import run_command; code = run_command(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        cwd=PACKAGE.parent,
    )
    assert done.stdout
    return set(done.stderr.split())


def libraries(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["plan", "quick", "--launcher", "local"]]
)
def test_a_command_that_measures_nothing_loads_no_mpi_compiler_or_plots(arguments):
    heavy = {"mpi4py", "numba", "llvmlite", "cupy", "pandas", "matplotlib", "jinja2"}
    assert libraries(loaded_by(*arguments)) & heavy == set()


@pytest.mark.parametrize("command", [[], ["run"], ["plan"], ["doctor"]])
def test_help_loads_next_to_nothing(command):
    modules = loaded_by(*command, "--help")
    assert libraries(modules) & {"numpy", "scipy", "msgspec", "psutil", "pynvml"} == set()
    assert "bench.run.session" not in modules
