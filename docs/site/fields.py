"""A Griffe extension: what MkDocs' API reference cannot read off this project's docstrings by itself.

Fields are documented by their option's help, or by the comment behind them; doctests become blocks of code.
"""

import re

import griffe

DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)


class Fields(griffe.Extension):
    """Gives attributes of option records and of plain records a docstring, and docstrings their fences."""

    def on_object(self, *, obj, **kwargs):
        """A doctest that stands at the margin is code, too."""
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(_fenced, obj.docstring.value)

    def on_attribute_instance(self, *, node, attr, agent, **kwargs):
        """Of an option its help, range and default; of another field what its comment says."""
        if attr.docstring is not None or not attr.parent.is_class:
            return
        called = isinstance(attr.value, griffe.ExprCall) and str(attr.value.function)
        if called == "option":
            text = _help(attr)
        elif called == "record":
            text = _text(attr) or "Options of that record."
        else:
            _, _, text = attr.source.partition("  # ")
        if text:
            attr.docstring = griffe.Docstring(text, parent=attr, parser="google")


def _fenced(match):
    return "```python\n" + match[0].rstrip() + "\n```\n"


def _help(attr):
    """The sentence of an option with what it takes; its value becomes the default."""
    named = [
        f"{argument.name.replace('_', ' ')} {argument.value}"
        for argument in attr.value.arguments
        if isinstance(argument, griffe.ExprKeyword) and argument.name != "list_of"
    ]
    text, arguments = _text(attr), attr.value.arguments
    if len(arguments) > 2 and not isinstance(arguments[2], griffe.ExprKeyword):
        named.insert(0, f"one of {arguments[2]}")
    attr.value = arguments[0]
    return f"{text.rstrip('.')} ({', '.join(named)})." if named else text


def _text(attr):
    """The help among the arguments of the call that makes a field; "" for none."""
    arguments = attr.value.arguments
    if len(arguments) < 2 or not isinstance(arguments[1], str):
        return ""
    return arguments[1].strip("'\"")
