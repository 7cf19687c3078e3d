"""What MkDocs cannot read off the pages: the API reference, and links into the code."""

import ast
import pathlib
import posixpath
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = re.compile(r"data/customer_service/(english|chinese)/")  # lists of words, no interface
OUTSIDE = {
    "BUILD_NOTES.md": "notes.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
"""Pages of the site that stand at the top of the repository."""
OUTSIDE_LINK = re.compile(r"\]\((?:\.\./)+(?P<file>[\w/]+(?:\.md|/))\)")
CODE_LINK = re.compile(r"\[`(?P<name>\w+)`\]\((?:\.\./)+(?P<file>[\w/]+\.py)\)")


def on_config(config):
    """Adds to the navigation what is generated."""
    packages = [{f"tfalign.{name}".strip("."): page} for name, page in _pages().items()]
    config.nav.append({"API": packages})
    config.nav.append({"Project": [{"Contributing": "contributing.md"}, {"Changes": "changes.md"}]})


def on_files(files, config):
    """Adds the pages that are generated."""
    for name, page in _pages().items():
        files.append(File.generated(config, page, content=_reference(name)))
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))


def on_page_markdown(markdown, page, config, files):
    """Links that leave docs/ lead to the page that the site has of the same."""
    here = posixpath.dirname(page.file.src_uri)

    def to_page(match):
        target = _outside(match["file"])
        return match[0] if target is None else f"]({posixpath.relpath(target, here)})"

    return OUTSIDE_LINK.sub(to_page, CODE_LINK.sub(_to_reference, markdown))


def _outside(file):
    """The page of a file at the top of the repository, or of a package; None for neither."""
    package = file.removeprefix("tfalign").strip("/").replace("/", ".")
    return OUTSIDE.get(file) or (_pages().get(package) if file.startswith("tfalign/") else None)


def _pages():
    """Page of the reference by package, "" the root."""
    inits = sorted((ROOT / "tfalign").rglob("__init__.py"))
    folders = [init.parent.relative_to(ROOT / "tfalign") for init in inits]
    names = {".".join(folder.parts) for folder in folders if not WORDS.search(f"{folder}/")}
    return {name: f"api/{name or 'tfalign'}.md" for name in sorted(names)}


def _reference(package):
    """Markdown of a package's page: its docstring, then each of its modules."""
    folder = ROOT / "tfalign" / package.replace(".", "/")
    whole = ".".join(["tfalign", package]).strip(".")
    modules = [file.stem for file in sorted(folder.glob("*.py")) if not file.stem.startswith("_")]
    lines = [f"::: {whole}", "    options: {heading_level: 1, members: false}"]
    for module in modules:
        lines += ["", f"::: {whole}.{module}"]
    return "\n".join(lines)


def _to_reference(match):
    """The link to a definition in the reference; no link for what has no page."""
    tree = ast.parse((ROOT / match["file"]).read_text(encoding="utf-8"))
    path = match["file"].removesuffix(".py").replace("/", ".")
    names = sorted(_defined(tree, match["name"]), key=lambda name: name.count("."))
    if not names or not path.startswith("tfalign.") or re.search(r"(^|\.)_", names[0]):
        return f"`{match['name']}`"
    return f"[`{match['name']}`][{path}.{names[0]}]"


def _defined(node, name, outer=""):
    """Dotted names of the functions and classes of a name, in their order."""
    for inner in getattr(node, "body", ()):
        if isinstance(inner, ast.FunctionDef | ast.ClassDef):
            if inner.name == name:
                yield outer + name
            yield from _defined(inner, name, f"{outer}{inner.name}.")
