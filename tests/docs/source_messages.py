"""The words of all errors that the package raises, read from its source."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "crystens_flows"

GAP = "<>"
"""What stands for a value in the words of a message."""

_PLAIN = {"ValueError", "TypeError", "RuntimeError", "OSError", "BadParameter"}


@dataclass(frozen=True)
class Message:
    """An error in the source."""

    words: str
    """Its fixed words, with ``<>`` for each value."""
    kind: str
    """Its class."""
    where: str
    """Module and line."""


def normal(text: str) -> str:
    """Return the words of a message with ``<>`` for each ``<name>``, in one line."""
    text = re.sub(r"<[^<>]*>", GAP, " ".join(text.split()))
    return re.sub(rf"({GAP})+", GAP, text)


@cache
def modules() -> dict[str, Module]:
    """Return all modules of the package, by name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, ast.parse(path.read_text()))
    return found


def source_messages() -> list[Message]:
    """Return the messages of all errors that are made in the package."""
    kinds = _PLAIN | _error_classes()
    found = []
    for module in modules().values():
        for node in module.nodes:
            if not isinstance(node, ast.Call) or not node.args:
                continue
            kind = _last_name(node.func)
            if kind in kinds and not _is_super(node.func):
                where = f"{module.name}:{node.lineno}"
                words = _Words(module, module.function_of(node)).of(node.args[0])
                found += [Message(normal(each), kind, where) for each in words]
    return [message for message in found if message.words.replace(GAP, "").strip(": ")]


@dataclass
class Module:
    """A module of the package, as it is written."""

    name: str
    tree: ast.Module

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        return {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        return {n.name: n for n in self.nodes if isinstance(n, ast.FunctionDef)}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        return {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    @cached_property
    def imported(self) -> dict[str, str]:
        """Modules that names are imported from, in functions too."""
        return {
            alias.asname or alias.name: str(node.module)
            for node in self.nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    def function_of(self, node: ast.AST | None) -> ast.FunctionDef | None:
        while node is not None and not isinstance(node, ast.FunctionDef):
            node = self.parents.get(node)
        return node


@dataclass
class _Words:
    """The words of an expression: those of all branches, of what a name was given, of a return."""

    module: Module
    function: ast.FunctionDef | None
    depth: int = 0
    seen: set[str] = field(default_factory=set)

    def of(self, node: ast.expr | None) -> list[str]:
        if isinstance(node, ast.Constant):
            return [node.value if isinstance(node.value, str) else GAP]
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else GAP for v in node.values]
            return ["".join(map(str, parts))]
        if isinstance(node, ast.IfExp):
            return self.of(node.body) + self.of(node.orelse)
        if isinstance(node, ast.BoolOp):
            return [words for value in node.values for words in self.of(value)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [a + b for a in self.of(node.left) for b in self.of(node.right)]
        if isinstance(node, ast.Name):
            return self._of_name(node.id)
        if isinstance(node, ast.Call):
            return self._of_call(node)
        return [GAP]

    def _of_name(self, name: str) -> list[str]:
        given: list[ast.expr] = []
        if self.function is not None:
            for node in ast.walk(self.function):
                if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                        given += [node.value] if node.value is not None else []
        if not given and name in self.module.constants:
            given = [self.module.constants[name]]
        if not given or name in self.seen:
            return [GAP]
        inner = _Words(self.module, self.function, self.depth, self.seen | {name})
        return [words for value in given for words in inner.of(value)]

    def _of_call(self, node: ast.Call) -> list[str]:
        name = _last_name(node.func)
        local = isinstance(node.func, ast.Name) or (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in ("self", "cls")
        )
        module = self.module
        if local and name not in module.functions:
            module = modules().get(module.imported.get(name, ""), module)
        if not local or name not in module.functions or self.depth > 3:
            return [GAP]
        function = module.functions[name]
        inner = _Words(module, function, self.depth + 1)
        found = []
        for each in ast.walk(function):
            if isinstance(each, ast.Return) and module.function_of(each) is function:
                found += inner.of(each.value)
        return found or [GAP]


def _error_classes() -> set[str]:
    """Return the names of CrystensError, RejectedError and the classes that are made of them."""
    known = {"CrystensError", "RejectedError"}
    classes = [n for m in modules().values() for n in m.nodes if isinstance(n, ast.ClassDef)]
    while True:
        more = {c.name for c in classes if {_last_name(base) for base in c.bases} & known}
        if more <= known:
            return known
        known |= more


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call)
