"""A base model's chat template is a program of strangers: rendered in a sandbox, and screened beforehand."""

from pathlib import Path

import jinja2
import pytest

from driftwheel.errors import ConfigError
from driftwheel.settings.data import TemplateSettings
from tests.support.shipped_templates import make_tokenizer, names
from train.chat_template import RENDER_ERRORS, set_template, shipped
from train.template_screen import screen_template

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ ''['__class__'] }}",
    "{{ (messages | attr('__cla' + 'ss__')) | attr('mro') }}",
    "{{ ('_' + '_class_' + '_') | list }}{{ messages[('_' * 2) + 'class' + ('_' * 2)] }}",
    "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{{ range.__self__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ raise_exception.__globals__['json'] }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_a_template_that_breaks_out_of_the_sandbox_is_an_error_wherever_it_is_rendered(template: str) -> None:
    tokenizer = make_tokenizer(names()[0])
    tokenizer.chat_template = template
    try:
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    except RENDER_ERRORS:
        return
    # Names that jinja2 does not give out come out as nothing: no object of Python is ever shown.
    assert "class" not in rendered.replace("_class_", "")
    assert "<" not in rendered


def test_outside_of_the_sandbox_the_same_templates_do_break_out() -> None:
    """The attacks above are real: a plain environment hands out Python's internals."""
    plain = jinja2.Environment()
    assert "class" in plain.from_string(ESCAPES[0]).render(messages=[])
    assert "module 'os'" in plain.from_string("{{ cycler.__init__.__globals__.os }}").render()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("hello\n{{ ''.__class__ }}", "line 2 .* internals"),
        ("{{ ''['__class__'] }}", "internals"),
        ("{{ messages | attr('x') }}", "internals"),
        ("{% include 'x' %}", "another template"),
        ("{% from 'x' import y %}", "another template"),
        ("{{ 'a' * 1000000000 }}", "without bound"),
        ("{{ 9 ** 9 ** 9 }}", "without bound"),
        ("{% for i in range(99999) %}x{% endfor %}", "counts further"),
        ("{% for i in range(0, 99999, 1) | list %}x{% endfor %}", "counts further"),
        ("".join("{% for i in range(900) %}" for _ in range(4)) + "x" + "{% endfor %}" * 4, "within each other"),
        ("x" * 600_000, "600,000 characters"),
    ],
)
def test_a_template_that_no_honest_model_needs_is_refused(tmp_path: Path, template: str, said: str) -> None:
    path = tmp_path / "own.jinja"
    path.write_text(template, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        set_template(make_tokenizer(names()[0]), TemplateSettings(file=str(path)))


@pytest.mark.parametrize("name", names())
def test_every_template_that_trl_ships_passes(name: str) -> None:
    screen_template(shipped(name).read_text(encoding="utf-8"))


def test_what_is_no_jinja_is_left_to_who_renders_it() -> None:
    screen_template("{% if %}")
