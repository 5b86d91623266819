"""The command line. Heavy imports are inside the commands, so that ``--help`` and ``halt`` start at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runbook_lib.errors import ConfigError, RunbookError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from runbook_lib.settings import Settings

INTERRUPTED = 130


class Commands(click.Group):
    """Commands in the order of use; an unknown one is answered with the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise ConfigError(f"no command {args[0]!r}: {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Launch runbook: from code in the repository to the first real-money tick, one checked step at a time."""


@cli.command()
@click.argument("phase", nargs=-1)
@click.option("--scenario", help="Starting state of the stand-ins and faults in force; else what the phase expects.")
@click.option("--keep", is_flag=True, help="Bring the stand-ins up, print their addresses and leave them up.")
@click.option("--stop", is_flag=True, help="Take down the rehearsals that were kept up.")
def rehearse(phase: tuple[str, ...], scenario: str | None, keep: bool, stop: bool) -> None:
    """Rehearse every phase, or those named, on stand-ins brought up for it."""
    from runbook_lib import rehearsal

    if stop:
        for running in rehearsal.find(kept=True):
            rehearsal.stop(running.folder)
            click.echo(f"stopped {running.folder}")
    elif keep:
        _print_addresses(rehearsal.keep(scenario=scenario or "clean"))
    else:
        from runbook_lib import outline
        from runbook_lib.headless import phases

        chosen = phases(phase)
        state = scenario or outline.start(chosen[0])
        with rehearsal.rehearse(scenario=state) as running:
            _enter(running)
            sys.exit(_run_all(chosen, f"rehearsed alone, from {state}" if state != "clean" else None))


@cli.command()
@click.argument("notebook")
@click.option("--profile", default="rehearsal", show_default=True, help="Where commands go.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A notebook parameter.")
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--timeout", type=float, help="Seconds the whole run may take.")
@click.option("--cell-timeout", type=float, help="Seconds each cell may take.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def run(
    notebook: str,
    profile: str,
    parameters: tuple[str, ...],
    project: str | None,
    timeout: float | None,
    cell_timeout: float | None,
    override: str | None,
) -> None:
    """Run a notebook headless and leave a sealed record."""
    from runbook_lib import outline

    source, settings = outline.notebook(notebook), _settings(profile)
    _fingerprint(settings, project)
    given = dict(_parameter(text) for text in parameters)
    limits = {"timeout": timeout, "cell_timeout": cell_timeout}
    sys.exit(_run_one(settings, source, given, override=override, **limits))


@cli.command()
@click.argument("record")
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def resume(record: str, project: str | None, override: str | None) -> None:
    """Go on from a sealed record that waits, failed or was cut off: acts that passed are not sent again.

    What already rests on that record, an answer or a resumed run, is gone on from.
    """
    import yaml

    from runbook_lib import outline, records, runs

    parent = runs.latest(records.find(runs.records_root(), record))
    ran_with = yaml.safe_load((parent.folder / "parameters.yaml").read_text(encoding="utf-8"))
    settings = _settings(parent.opened()["profile"])
    _fingerprint(settings, project)
    _seal_if_cut_off(parent, settings)
    click.echo(f"going on from {parent.name}")
    notebook = outline.notebook(ran_with["phase"])
    sys.exit(_run_one(settings, notebook, ran_with["parameters"], parent=parent, override=override))


@cli.command()
@click.argument("record")
def undo(record: str) -> None:
    """Carry out the undos that a record owes, from what its ledger holds."""
    from runbook_lib import history, records, runs

    parent = records.find(runs.records_root(), record)
    settings = _settings(parent.opened()["profile"])
    _seal_if_cut_off(parent, settings)
    owed = history.read(parent).owed()
    if not owed:
        raise ConfigError(f"{parent.name} owes no undo")
    done = runs.carry_out_undos(settings, parent, click.echo)
    click.echo(f"{len(owed)} undone, on the record: {done.name}")


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
def status(profile: str) -> None:
    """The board: every phase, its latest record, its gate and why it is closed; owed undos."""
    from runbook_lib import gates, runs, terminal
    from runbook_lib import settings as profiles

    settings, root = profiles.load(profile), runs.records_root()
    owed = list(gates.owed(settings, root))
    terminal.board(terminal.console(), gates.board(settings, root), owed)
    sys.exit(1 if owed else 0)


@cli.command()
@click.argument("record")
@click.argument("step")
@click.option("--as", "name", required=True, help="Who vouches.")
def confirm(record: str, step: str, name: str) -> None:
    """Vouch for a step that a sealed record waits for; then resume."""
    from runbook_lib import history, records, runs

    parent = runs.latest(records.find(runs.records_root(), record))
    found = history.read(parent).outcomes()
    waiting = {number: event for number, event in found.items() if event["outcome"] == "waiting"}
    if not name.strip():
        raise ConfigError("--as: expected a name, found none")
    if step not in waiting:
        choice = nearest(step, waiting) if waiting else "it waits for no step"
        raise ConfigError(f"{parent.name} does not wait for {step!r}: {choice}")
    if waiting[step]["verb"] != "confirm":
        raise ConfigError(f"step {step} waits for a line in the profile, not for a person: {waiting[step]['fix']}")
    answer = runs.vouch(_settings(parent.opened()["profile"]), parent, waiting[step], name)
    click.echo(f"{name} vouched for {step}: {waiting[step]['title']}\ngo on with: ./runbook resume {answer.name}")


# --- safety: works without kernel, Jupyter and browser --------------------------------------------------------------


@cli.command("halt")
@click.option("--profile", default="rehearsal", show_default=True, help="Where commands go.")
@click.option("--mode", type=click.Choice(["halt", "reduce"]), default="halt", show_default=True)
@click.option("--deployment", metavar="ID", help="Only this one; the platform's switches are left alone.")
@click.option("--all", "everything", is_flag=True, help="Every deployment, and the platform's switches.")
@click.option("--wallet", is_flag=True, help="Act on a wallet others use too, and halt those deployments as well.")
@click.option("--stop-anyway", is_flag=True, help="Stop the machine of a deployment that did not get flat.")
@click.option("--yes", is_flag=True, help="Do not ask for the profile's name.")
def halt_command(
    profile: str, mode: str, deployment: str | None, everything: bool, wallet: bool, stop_anyway: bool, yes: bool
) -> None:
    """Stop: pause, cancel, flatten, prove flat at the venue, stop the machines, refuse new deployments.

    reduce takes no new risk: it pauses, cancels what would add risk, and leaves positions, protective orders and
    machines as they are.
    """
    press = time.monotonic()
    if (deployment is None) != everything:
        raise ConfigError("say what to halt: --deployment ID, or --all")
    settings = _settings(profile)
    if not yes:
        press = _confirmed(profile)
    from runbook_lib import halt

    request = halt.Request(deployment, mode, wallet, stop_anyway)
    with _picture() as watch:
        done = halt.halt(settings, request, press=press, watch=watch)
    sys.exit(_halted(done))


@cli.command("unhalt")
@click.option("--profile", default="rehearsal", show_default=True, help="Where commands go.")
@click.option("--yes", is_flag=True, help="Do not ask for the profile's name.")
def unhalt_command(profile: str, yes: bool) -> None:
    """Restore both switches and redeploy. Machines stay stopped and deployments paused: start each from its page."""
    settings = _settings(profile)
    if not yes:
        _confirmed(profile)
    from runbook_lib import unhalt

    with _picture() as watch:
        done = unhalt.unhalt(settings, watch=watch)
    sys.exit(_halted(done))


@contextmanager
def _picture() -> Iterator[Callable[[Any], None]]:
    """Draws a halt. What draws is imported only when the first commands are on their way."""
    with ExitStack() as drawn:
        made: list[Any] = []

        def watch(board: Any) -> None:
            if not made:
                from runbook_lib import halt_table, terminal

                made.append(drawn.enter_context(halt_table.Picture(terminal.console())))
            made[0](board)

        yield watch


def _halted(done: Any) -> int:
    from runbook_lib import halt, halt_table, terminal

    halt_table.closing(terminal.console(), done)
    return halt.EXIT[done.outcome]


def _confirmed(profile: str) -> float:
    """Ask for the profile's name, once; the moment it was given."""
    typed = click.prompt(f"type {profile} to go on", default="", show_default=False)
    if typed != profile:
        raise ConfigError(f"expected {profile!r}, found {typed!r}; nothing was sent (--yes does not ask)")
    return time.monotonic()


@cli.command("records")
@click.option("--profile", help="Only this profile's.")
@click.option("--phase", help="Only this phase's.")
@click.option("--outcome", help="Only those that ended so.")
def list_records(profile: str | None, phase: str | None, outcome: str | None) -> None:
    """List the records, oldest first."""
    from rich.table import Table

    from runbook_lib import records, runs, terminal

    table = Table("record", "phase", "outcome", "passed", "failed", "operator")
    for record in records.every(runs.records_root()):
        opened, seal = _ends_of(record)
        wanted = {"profile": profile, "phase": phase}
        if all(v is None or opened[k] == v for k, v in wanted.items()) and outcome in (None, seal["outcome"]):
            counts = seal["steps"]
            numbers = [str(counts.get(word, "")) for word in ("passed", "failed")]
            table.add_row(record.name, opened["phase"], seal["outcome"], *numbers, opened["operator"])
    terminal.console().print(table)


@cli.command()
@click.argument("names", nargs=-1, metavar="[RECORD]...")
def verify(names: tuple[str, ...]) -> None:
    """Prove that records are as they were sealed. Needs only their folders; without names, every record."""
    from runbook_lib import records, runs

    root = runs.records_root()
    chosen = [_to_verify(root, name) for name in names] if names else list(records.every(root))
    if not chosen:
        raise ConfigError(f"no records below {root}")
    broken = 0
    for record in chosen:
        problems = records.verify(record.folder)
        broken += bool(problems)
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo(f"{record.folder.name}: sound, seal {(record.sealed() or {})['hash']}")
    sys.exit(1 if _print_gaps(root, [] if names else chosen) or broken else 0)


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
def doctor(profile: str) -> None:
    """Prove every address, credential and clock of a profile, read-only, and say which steps each failure breaks."""
    from rich.table import Table

    from runbook_lib import doctor as probes
    from runbook_lib import terminal

    settings = _settings(profile)
    settings.require_variables()
    found = probes.examine(settings)
    table = Table("probe", "verdict", "found", "breaks", "fix", show_lines=True)
    for one in found:
        style = "green" if one.good else "red"
        table.add_row(
            one.name,
            f"[{style}]{'passed' if one.good else 'failed'}[/]",
            one.seen,
            one.breaks,
            "" if one.good else one.fix,
        )
    terminal.console().print(table)
    sys.exit(0 if all(one.good for one in found) else 1)


@cli.command()
@click.argument("notebook")
def accept(notebook: str) -> None:
    """Rehearse a changed notebook and, if it passes, store its closing output as what the tests expect."""
    from runbook_lib import headless, outline, rehearsal, settings, terminal

    source, out = outline.notebook(notebook), terminal.console()
    with rehearsal.rehearse(scenario=outline.start(source)) as running:
        _enter(running)
        alone = f"rehearsed alone, from {outline.start(source)}"
        done = headless.run(settings.load("rehearsal"), source, {}, override=alone, on_event=terminal.live(out))
    terminal.closing(out, [done])
    headless.accept(done, source)
    out.print(f"accepted: {source.name}", highlight=False)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(options: tuple[str, ...]) -> None:
    """Pass the tests: linters, types, the suite, and every notebook against a rehearsal."""
    from runbook_lib.selftest import run_all

    sys.exit(run_all(options))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=3, show_default=True, help="Interleaved runs a figure is the median of.")
def bench(names: tuple[str, ...], rounds: int) -> None:
    """Measure speed, as ratios of interleaved runs; NAMES choose among tests/benchmarks."""
    from rich.table import Table

    from runbook_lib import terminal
    from runbook_lib.selftest import bench as measure

    table = Table("figure", "ours", "theirs", "ratio")
    for row in measure(names, rounds):
        table.add_row(*row)
    terminal.console().print(table)


@cli.command()
@click.argument("name", required=False)
@click.option("--off", is_flag=True, help="Take it back.")
def fault(name: str | None, off: bool) -> None:
    """Put a named fault in force on the rehearsal that is up, or take it back; without a name, list them."""
    from runbook_lib import services as outside
    from runbook_lib.commands import http

    settings = _settings("rehearsal")
    services = outside.Services(settings)
    request = f"{'DELETE' if off else 'POST'} /scenarios/{name}" if name else "GET /scenarios"
    found = services.change(http("person", request))
    services.close()
    if found.error:
        raise ConfigError(found.error)
    for row in found.rows:
        click.echo(f"{row.get('name', name)}: {row.get('says', 'taken back' if off else 'in force')}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; errors of ours become one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        cli.main(list(arguments) if arguments is not None else None, prog_name="./runbook", standalone_mode=False)
    except RunbookError as error:
        click.echo(_clean(str(error)), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(_clean(error.format_message()), err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _clean(message: str) -> str:
    """``message`` without the secrets of any profile: a typed word may be one, before a profile is even read."""
    from runbook_lib import settings

    return settings.redactor_of_all().text(message)


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt("SIGTERM")


def _settings(profile: str) -> Settings:
    from runbook_lib import settings

    if profile == "rehearsal" and "RUNBOOK_REHEARSAL" not in os.environ:
        from runbook_lib import rehearsal

        running = rehearsal.find(kept=True)
        if not running:
            raise ConfigError("no rehearsal is up: start one with ./runbook rehearse --keep")
        _enter(running[-1])
    return settings.load(profile)


def _enter(running: Any) -> None:
    """Take on the environment of a rehearsal: its secrets, and its stand-in executables first on the PATH."""
    os.environ.update(running.environment)
    os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def _ends_of(record: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a record began and how it ended, as far as they can be read."""
    unknown = {"phase": "", "profile": record.profile, "operator": ""}
    try:
        return record.opened(), record.sealed() or {"outcome": "not sealed", "steps": {}}
    except RunbookError:
        return unknown, {"outcome": "damaged", "steps": {}}


def _to_verify(root: Path, name: str) -> Any:
    """A folder is verified as it stands, even if nothing in it looks like a record any more."""
    from runbook_lib import records

    return records.Record(Path(name).resolve()) if Path(name).is_dir() else records.find(root, name)


def _print_gaps(root: Path, chosen: Sequence[Any]) -> bool:
    from runbook_lib import records

    found = [gap for profile in sorted({r.profile for r in chosen}) for gap in records.gaps(root, profile)]
    for gap in found:
        click.echo(gap)
    return bool(found)


def _fingerprint(settings: Settings, typed: str | None) -> None:
    """In production, show where commands will go; the operator types the project's ref once."""
    if settings.kind != "production":
        return
    places = {
        "project": settings.project,
        "Fly": f"{settings.fly.org} / {settings.fly.app}",
        "Vercel": f"{settings.vercel.project} at {settings.web.url}",
        "wallet": settings.hyperliquid.wallet or "not named",
    }
    for name, value in places.items():
        click.echo(f"{name:8} {value}")
    typed = typed or (click.prompt("type the project's ref to go on") if sys.stdin.isatty() else None)
    if typed != settings.project:
        raise ConfigError(f"--project: expected {settings.project!r}, found {typed!r}; nothing was sent")


def _parameter(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"a parameter reads NAME=VALUE, not {text!r}")
    return name, yaml.safe_load(value)


def _run_one(settings: Settings, notebook: Path, parameters: dict[str, Any], **options: Any) -> int:
    from runbook_lib import headless, terminal

    out = terminal.console()
    done = headless.run(settings, notebook, parameters, on_event=terminal.live(out), **options)
    terminal.closing(out, [done])
    return headless.EXIT[done.outcome]


def _run_all(notebooks: list[Path], alone: str | None) -> int:
    """Run notebooks in order, each only if the one before passed; ``alone`` passes the first one's gate."""
    from runbook_lib import headless, settings, terminal

    out, done = terminal.console(), []
    for notebook in notebooks:
        out.print(f"[bold]{notebook.stem}[/]")
        tell = terminal.live(out)
        done.append(headless.run(settings.load("rehearsal"), notebook, {}, override=alone, on_event=tell))
        alone = None
        if done[-1].outcome != "passed":
            break
    terminal.closing(out, done)
    return headless.EXIT[done[-1].outcome]


def _print_addresses(running: Any) -> None:
    click.echo(f"folder      {running.folder}")
    for name, address in running.addresses.items():
        click.echo(f"{name:11} {address}")
    click.echo(f"secrets     {running.folder / 'environment.json'}\nstop it with: ./runbook rehearse --stop")


def _seal_if_cut_off(record: Any, settings: Settings) -> None:
    """A run that was killed left its record open: seal it as it stands, so that the next one can rest on it."""
    from runbook_lib import runs
    from runbook_lib.records import Record

    if record.sealed() is None:
        runs.finish(Record(record.folder, settings.redactor()), ended="cut off")


if __name__ == "__main__":
    main()
