"""Every labelled equation of the book has a function, and every function's label an equation.

A chapter labels a displayed equation ``eq-TOPIC-NAME``; the docstring of the function that computes
it says ``Equation: eq-TOPIC-NAME`` (or ``Equations: eq-…, eq-…``).
"""

import re
from collections import Counter

import nbformat
import pytest

from tests.notebooks import CHAPTERS
from tests.public_api import definitions_in, public_definitions

CODE_BLOCK = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)", re.MULTILINE | re.DOTALL)
LABELS = (
    re.compile(r"\$\$[ \t]*\((?P<label>[^()\s]+)\)"),  # $$ … $$ (eq-topic-name)
    re.compile(r"^:{3,}\{math\}.*\n(?:\s*:\w+:.*\n)*?\s*:label:\s*(?P<label>\S+)", re.MULTILINE),
    re.compile(r"\\label\{(?P<label>[^}]+)\}"),
)
IN_DOCSTRING = re.compile(r"^[ \t]*Equations?:(?P<labels>(?:.+\n?)+)", re.MULTILINE)


def labels_in_markdown(source):
    prose = CODE_BLOCK.sub("", source)
    return [match["label"] for pattern in LABELS for match in pattern.finditer(prose)]


def labels_in_docstring(doc):
    found = [match["labels"] for match in IN_DOCSTRING.finditer(doc)]
    return [label for labels in found for label in re.findall(r"\beq-[\w-]+", labels)]


def labels_in_chapter(path):
    cells = nbformat.read(path, as_version=4).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    return [label for source in prose for label in labels_in_markdown(source)]


def topic(path):
    """Return the topic of ``01_language_models.ipynb``, "language-models"."""
    name = path.stem.partition("_")[2].removesuffix("_solutions")
    return name.replace("_", "-")


def misnamed(path, labels):
    start = f"eq-{topic(path)}-"
    return [label for label in labels if not re.fullmatch(re.escape(start) + "[a-z0-9-]+", label)]


def documented():
    """Return the labels in lmcourse's docstrings with the functions that name them."""
    functions = {}
    for definition in public_definitions():
        for label in labels_in_docstring(definition.doc):
            functions.setdefault(label, []).append(definition.name)
    return functions


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_labels_are_named_after_the_topic(path):
    wrong = misnamed(path, labels_in_chapter(path))
    assert not wrong, f"{path.name}: labels must begin with eq-{topic(path)}-, got {wrong}"


def test_a_label_stands_once_in_the_book():
    counts = Counter(label for path in CHAPTERS for label in labels_in_chapter(path))
    assert not [label for label, count in counts.items() if count > 1]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_equation_of_a_chapter_has_a_function(path):
    missing = [label for label in labels_in_chapter(path) if label not in documented()]
    assert not missing, (
        f"{path.name}: no public function of lmcourse has these equations in its docstring "
        f"(Equation: …): {', '.join(missing)}"
    )


def test_every_equation_in_a_docstring_stands_in_a_chapter():
    in_book = {label for path in CHAPTERS for label in labels_in_chapter(path)}
    missing = {label: names for label, names in documented().items() if label not in in_book}
    lines = [f"{label} (in {', '.join(names)})" for label, names in missing.items()]
    assert not lines, "no chapter has the equations\n" + "\n".join(lines)


def test_labels_are_found_in_every_notation():
    source = r"""
As in {eq}`eq-a-elsewhere`, with inline $x$ (no label):

$$
p = \frac{a}{b}
$$ (eq-a-block)

and $$y = x$$ (eq-a-line), and one without: $$z$$.

:::{math}
:nowrap:
:label: eq-a-directive
x
:::

\begin{align} x \label{eq-a-align} \end{align}

```latex
$$x$$ (eq-a-code)
```
"""
    found = labels_in_markdown(source)
    assert found == ["eq-a-block", "eq-a-line", "eq-a-directive", "eq-a-align"]


def test_labels_are_found_in_public_docstrings_only():
    source = '''
def f():
    """Do it.

    Equations: eq-a-one, eq-a-two,
    eq-a-three

    It is not eq-a-four.
    """

class C:
    """Hold it.

    Equation: eq-a-five
    """

    def m(self):
        """Equation: eq-a-six"""

    def _hidden(self):
        """Equation: eq-a-seven"""
'''
    found = [labels_in_docstring(definition.doc) for definition in definitions_in(source)]
    assert found == [["eq-a-one", "eq-a-two", "eq-a-three"], ["eq-a-five"], ["eq-a-six"]]


def test_misnamed_labels_are_caught(tmp_path):
    path = tmp_path / "01_language_models_solutions.ipynb"
    labels = ["eq-language-models-softmax", "eq-softmax", "eq-language-models-", "softmax"]
    assert misnamed(path, labels) == labels[1:]
