"""No secret gets out of the runbook, however it is spelled: each place where text is written or shown takes it out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import tempfile
from pathlib import Path

import nbformat
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook, new_output
from rich.console import Console

from runbook_lib.cli import main, terminal
from runbook_lib.cli.group import cli
from runbook_lib.commands.command import Reply, http
from runbook_lib.commands.expectations import Finding, reply
from runbook_lib.engine import notebook
from runbook_lib.errors import ConfigError, RecordError, RunbookError
from runbook_lib.records import run_record, seal_chain
from runbook_lib.runs.alerts import Alerts
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from runbook_lib.steps import buttons
from runbook_lib.steps.acts import Act
from runbook_lib.steps.display import record_page
from runbook_lib.steps.display.button_widget import StepButton
from runbook_lib.steps.display.cards import Bar
from runbook_lib.steps.display.live_card import Stage
from runbook_lib.steps.verdicts import Sent, Verdicts
from tests.hearing import Hearing
from tests.spellings import MIXED, SPELLINGS, TOKEN

NAME = "FLY_API_TOKEN"
PASTED = {
    "alone": "{}",
    "with Fly's scheme": "FlyV1 {}",
    "with a scheme": "Bearer {}",
    "second of a list": "FlyV1 first-of-the-list,{}",
}
# What may be left beside a name: the prefix of hex, and pieces of the escape of a mark at either end of the secret.
LEFT = re.compile(r"0[xX](?=\W)|&?(amp|lt|gt|quot|#?x?27|#?39|34);?|\W")
PLAN = {"notebook": "phase_try", "cells": [], "steps": []}


def record_in(folder, redactor=None):
    facts = {"project": "abcdefghijklmnopqrst", "operator": "ada", "mode": "attended", "versions": {}}
    made = run_record.create(folder, "rehearsal", "phase_try", "profile: rehearsal\n", redactor, plan=PLAN, **facts)
    nbformat.write(new_notebook(), made.notebook)
    return made


def answer(text):
    return Reply(({"word": text, text: [text]},), error=text, text=text)


def outcome(record, text, number="1.1a"):
    facts = {"title": text, "outcome": "failed", "seen": text, "complaint": text, "symptom": None, "fix": text}
    record.ledger.append("outcome", step=number, verb="check", **facts, replies=[answer(text).facts()])


# --- the sinks: each is given texts, and returns all that it wrote or showed ------------------------------------------


def ledger_line(chosen, folder, texts):
    record = record_in(folder, chosen.redactor())
    for text in texts:
        outcome(record, text)
    return record.ledger.path.read_text()


def seal(chosen, folder, texts):
    record = record_in(folder, chosen.redactor())
    seal_chain.seal(record, ended="cut off:\n" + "\n".join(texts))
    return record.ledger.path.read_text().splitlines()[-1]


def executed_notebook(chosen, folder, texts):
    stream = [new_output("stream", text=text) for text in texts]
    data = [
        new_output("display_data", {"text/html": text, "text/plain": text, "application/json": {text: text}})
        for text in texts
    ]
    errors = [new_output("error", ename=text, evalue=text, traceback=[text]) for text in texts]
    made = new_notebook(cells=[new_code_cell(text) for text in texts], metadata={"notes": texts})
    made.cells.append(new_code_cell("", outputs=[*stream, *data, *errors]))
    notebook.write(notebook.redacted(made, chosen.redactor().text), folder / "notebook.ipynb")
    return (folder / "notebook.ipynb").read_text()


def page_of_a_record(chosen, folder, texts):
    """Of a record that was written without redaction: made elsewhere, say, where the variables had no values."""
    record = record_in(folder)
    for at, text in enumerate(texts):
        outcome(record, text, f"1.{at}a")
        record.ledger.append("shown", commands=[text], rows=1)
    return record_page.show(record).read_text()


def steps_on_the_terminal(chosen, folder, texts):
    record, out = record_in(folder, chosen.redactor()), Console(file=io.StringIO(), width=5000)
    for text in texts:
        outcome(record, text)
    for event in record.ledger.events():
        terminal.step_printer(out)(event)
    return out.file.getvalue()


def last_words_on_the_terminal(chosen, folder, texts):
    """Of an error of ours, of a wrong command line, and of a mistake in the program."""
    return "".join(last_words(error(" ".join(texts))) for error in (RunbookError, main.click.UsageError, ValueError))


def last_words(error):
    def broken(*_, **__):
        raise error

    said, before = io.StringIO(), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(said):
        patched.setattr(cli, "main", broken)
        with pytest.raises(SystemExit) as end:
            main.main([])
    signal.signal(signal.SIGTERM, before)
    assert end.value.code not in (0, None)
    return said.getvalue()


def alert(chosen, folder, texts):
    with Hearing() as hearing:
        os.environ["ALERT_TARGET"] = f"json://127.0.0.1:{hearing.port}/alarm"
        told = Alerts(profiles.load("rehearsal"))
        assert not any(told.send(text, text) for text in texts)
    bodies = [json.loads(body) for _, body in hearing.heard]
    return "\n".join(f"{body['title']}\n{body['message']}" for body in bodies)


def cards_in_jupyterlab(chosen, folder, texts):
    """A step that is looked at, one of each outcome, and the bar."""
    screen, record, text = Screen(), record_in(folder, chosen.redactor()), " ".join(texts)
    stage = Stage(screen, lambda: Bar("p", "rehearsal", False, "ref", "ada", record.name))
    verdicts = Verdicts(record, stage, stage.live)
    sent = Sent("1.1a", "check", text, (text,), text)
    verdicts.announce(sent)
    with verdicts.looking(sent, 30) as heard:
        heard(Finding(text, text))
    verdicts.judged(sent, Finding(text), [answer(part) for part in texts])
    for finding in (Finding(text, text), Finding(text, text, unsure=True)):
        with contextlib.suppress(RunbookError):
            verdicts.judged(sent, finding)
    with contextlib.suppress(RunbookError):
        verdicts.waiting(sent)
    with contextlib.suppress(RunbookError):
        verdicts.unknown(sent, text)
    return screen.text


def buttons_in_jupyterlab(chosen, folder, texts):
    """Offered, pressed in vain, and broken while it was pressed."""
    screen, record, text = Screen(), record_in(folder, chosen.redactor()), " ".join(texts)
    stage = Stage(screen, lambda: Bar("p", "rehearsal", False, "ref", "ada", record.name))
    asking, services = buttons.Asking(record, chosen, stage), Services(chosen)
    act = Act("1.1a", text, http("openrouter", "POST /things", json={"text": text}), reply(), None, None, True, text)
    for error in (ConfigError(text), ValueError(text)):

        def fails(*_, error=error):
            raise error

        buttons.offer(act, services, asking, fails)
        with contextlib.suppress(ValueError):
            screen.pressed()
        buttons.ask("1.1a", text, text, asking, fails)
        with contextlib.suppress(ValueError):
            screen.pressed("ada")
    return screen.text


class Screen:
    """What a browser is sent: everything that was displayed, and what replaced it."""

    def __init__(self):
        self.shown, self.told = [], []

    def __call__(self, shown):
        self.shown.append(shown)
        self.told += self.seen(shown)
        return self

    def update(self, shown):
        self.told += self.seen(shown)

    def seen(self, shown):
        if isinstance(shown, StepButton):
            own = [shown.shown.value, shown.button.description, shown.button.tooltip, shown.note.value]
            return [*own, *map(str, shown._repr_mimebundle_().values())]
        return [repr(shown), shown._repr_html_() if hasattr(shown, "_repr_html_") else shown.box.value]

    def pressed(self, typed=None):
        button = next(shown for shown in reversed(self.shown) if isinstance(shown, StepButton))
        if typed:
            button.field.box.value = typed
        try:
            button.press()
        finally:
            self.told += self.seen(button)

    @property
    def text(self):
        return "\n".join(self.told)


SINKS = {
    sink.__name__.replace("_", " "): sink
    for sink in (
        ledger_line,
        seal,
        executed_notebook,
        page_of_a_record,
        steps_on_the_terminal,
        last_words_on_the_terminal,
        alert,
        cards_in_jupyterlab,
        buttons_in_jupyterlab,
    )
}


@pytest.mark.parametrize("sink", SINKS)
@settings(max_examples=4, phases=[Phase.explicit, Phase.generate])
@example(secret="fm2_0000''000/&00\"0", pasted="second of a list")
@given(secret=TOKEN, pasted=st.sampled_from([*PASTED]))
def test_no_spelling_of_a_secret_gets_out(sink, secret, pasted):
    os.environ[NAME] = PASTED[pasted].format(secret)
    spelled = {name: write(secret) for name, write in (SPELLINGS | MIXED).items()}
    texts = [f"at {at}: {written} ;end" for at, written in enumerate(spelled.values())]
    with tempfile.TemporaryDirectory() as folder:
        left = SINKS[sink](profiles.load("rehearsal"), Path(folder), texts)
    for at, (name, written) in enumerate(spelled.items()):
        assert f"at {at}: {written}" not in left, name
        came = re.findall(rf"at {at}: (.*?);end", left, re.DOTALL)
        assert came and all(LEFT.sub("", text) == NAME for text in came), (name, set(came))


@settings(max_examples=4, phases=[Phase.explicit, Phase.generate])
@given(secret=TOKEN, pasted=st.sampled_from([*PASTED]))
def test_a_record_with_any_spelling_of_a_secret_is_not_sealed(secret, pasted):
    os.environ[NAME] = PASTED[pasted].format(secret)
    for name, write in (SPELLINGS | MIXED).items():
        with tempfile.TemporaryDirectory() as folder:
            record = record_in(Path(folder), profiles.load("rehearsal").redactor())
            (record.folder / "notes.txt").write_text(f"at: {write(secret)} ;end")
            with pytest.raises(RecordError, match=f"notes.txt: holds the secret {NAME}"):
                seal_chain.seal(record)
            assert record.sealed() is None, name
