"""The rooms and the arrows between them, as docs/architecture.md says them: read from the imports."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ROOT / "randar_core"
FILES = sorted([*CORE.rglob("*.py"), *(ROOT / "nodes").glob("*.py"), ROOT / "__init__.py"])

# What each room of the core may import, besides itself. `models` knows nothing of the rest.
ALLOWED = {
    "models": set(),
    "decoding": {"models"},
    "io": set(),
    "runtime": set(),
    "procedural": set(),
    "tasks": {"decoding", "models"},
    "classes": {"decoding"},
    "checkpoints": {"models", "decoding", "classes", "io", "runtime"},
    "training": {"models", "decoding", "tasks", "checkpoints", "classes", "io", "runtime", "procedural"},
    "cli": {
        "models", "decoding", "tasks", "checkpoints", "classes", "io", "runtime", "procedural", "training",
    },
}  # fmt: skip
HOST = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "server", "latent_preview", "execution"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Every module that a file imports, and whether it does so at the top."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            submodules = [f"{name}.{alias.name}" for alias in node.names if f"{name}.{alias.name}" in MODULES]
            found += [(each, top) for each in submodules or [name]]
    return found


def room_of(module: str) -> str:
    return module.split(".")[1] if module.startswith("randar_core.") else module.split(".")[0]


def test_arrows_between_the_rooms_of_the_core_run_one_way():
    upward = []
    for module, path in MODULES.items():
        room = room_of(module)
        # The public face and the door of the command line may import everything.
        if CORE in path.parents and room not in ("randar_core", "__main__"):
            rooms = {room_of(name) for name, _ in imports_of(path) if name.startswith("randar_core.")}
            upward += [(module, other) for other in rooms - {room} - ALLOWED[room]]
    assert not upward


def test_there_is_no_circle_of_imports():
    graph = {name: {to for to, top in imports_of(path) if top and to in MODULES} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for to in graph[name]:
                visit(to, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_the_nodes_import_the_host():
    outside = {module: path for module, path in MODULES.items() if path.parent.name != "nodes" and path.parent != ROOT}
    assert not [module for module, path in outside.items() if {n.split(".")[0] for n, _ in imports_of(path)} & HOST]


def test_no_file_is_longer_than_a_reader_can_hold():
    lines = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert not {module: count for module, count in lines.items() if count > 300}, "Split them by their jobs."


def test_names_at_the_top_level_of_a_file_have_no_underscore():
    found = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        found += [f"{module}.{name}" for name in names if name.startswith("_") and not name.startswith("__")]
    assert not found


def test_a_name_of_a_file_stands_for_one_thing():
    """Only the doors, nodes and command line, have files that are named after what they open."""
    names: dict[str, list[str]] = {}
    for module in MODULES:
        if room_of(module) not in ("nodes", "cli"):
            names.setdefault(module.rpartition(".")[2], []).append(module)
    assert not {name: modules for name, modules in names.items() if len(modules) > 1}
