"""docs/mdp.md, docs/language_models.md and docs/encoders.md: their examples run, and each of their links
names the line that defines what it says.

python tests/environments/test_mdp_page.py     # writes the line numbers anew
"""

import doctest
import pathlib
import re

import keras
import pytest

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
WITH_EXAMPLES = [DOCS / "mdp.md", DOCS / "language_models.md"]
PAGES = [*WITH_EXAMPLES, DOCS / "encoders.md"]
LINK = re.compile(r"\[`(\w+)`\]\(([^)#]+\.py)(#L\d+)?\)")


def _relinked(match):
    """The link with the line at which its name is defined now: the outermost, then the first."""
    name, file, _ = match.groups()
    lines = (DOCS / file).read_text(encoding="utf-8").splitlines()
    matches = [re.match(rf"( *)(def|class) {name}\b", text) for text in lines]
    defined = sorted((len(found[1]), n) for n, found in enumerate(matches, 1) if found)
    if not defined:
        raise LookupError(f"{file} defines no {name}")
    return f"[`{name}`]({file}#L{defined[0][1]})"


@pytest.mark.parametrize(
    "link", sorted({m[0] for page in PAGES for m in LINK.finditer(page.read_text("utf-8"))})
)
def test_a_link_points_at_the_definition(link):
    assert link == LINK.sub(_relinked, link), "run this file to write the line numbers anew"


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="written with TensorFlow's numbers")
@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_run(page):
    results = doctest.testfile(str(page), module_relative=False)
    assert results.attempted > 10 and results.failed == 0


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(LINK.sub(_relinked, page.read_text("utf-8")), "utf-8")
