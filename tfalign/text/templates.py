"""Chat templates: Jinja programs that write conversations, run in Jinja's immutable sandbox.

A template sees what ``apply_chat_template`` of transformers shows it, and writes ``Written`` strings, in
which the letters of its own source and of the special tokens can be told from everybody else's.
"""

from __future__ import annotations

import datetime
import functools
import json

import jinja2
import jinja2.compiler
import jinja2.ext
import jinja2.filters
import jinja2.sandbox

from tfalign.text.written import Written, join, written

# Characters that Unicode keeps free for such marks (noncharacters): begin and end of what
# "{% generation %}" encloses.
BEGIN, END = "\ufdd0", "\ufdd1"


class _Generation(jinja2.ext.Extension):
    """``{% generation %}...{% endgeneration %}``: what the assistant says, as transformers has it."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller):
        return join((written(BEGIN), caller(), written(END)))


class _Compiler(jinja2.compiler.CodeGenerator):
    """Makes every string of the template's source a ``Written`` one."""

    def visit_Const(self, node, frame):
        value = node.as_const(frame.eval_ctx)
        if isinstance(value, str):
            self.write(f"environment.written({value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_TemplateData(self, node, frame):
        self.write(f"environment.written({node.data!r})")

    def visit_Concat(self, node, frame):
        self.write("concat(map(str, (")
        for argument in node.nodes:
            self.visit(argument, frame)
            self.write(", ")
        self.write(")))")

    def _output_const_repr(self, group):
        return f"environment.written({''.join(group)!r})"


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    code_generator_class = _Compiler
    concat = staticmethod(join)
    written = staticmethod(functools.lru_cache(maxsize=4096)(written))


@functools.lru_cache(maxsize=16)
def _compiled(source):
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # constants are folded into plain strings by it
        extensions=[jinja2.ext.loopcontrols, _Generation],
    )
    environment.filters["tojson"] = _to_json  # Jinja's own escapes HTML
    environment.filters["join"] = _join
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"The chat template is not Jinja, line {error.lineno}: {error}.") from None


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


@jinja2.pass_environment
def _join(environment, value, d="", attribute=None):
    if attribute is not None:
        value = map(jinja2.filters.make_attrgetter(environment, attribute), value)
    return Written(d, getattr(d, "own", None)).join(map(str, value))


def _raise(message):
    raise jinja2.TemplateError(message)


def render(source: str, special_tokens: dict[str, str], variables: dict) -> Written:
    """What a template writes.

    Args:
        source: the template.
        special_tokens: role ("bos") to spelling; the template sees "bos_token".
        variables: everything else it sees; "tools" and "documents" are None where they are absent.

    Raises:
        ValueError: if the source is not a template.
        Exception: whatever the program raises.
    """
    roles = {f"{role}_token": written(spelling) for role, spelling in special_tokens.items()}
    return _compiled(source).render({"tools": None, "documents": None} | roles | variables)
