"""Define the commands halt and unhalt, which work without a kernel, Jupyter and a browser."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@cli.command("halt")
@profile_choice.profile_option
@click.option("--mode", type=click.Choice(["halt", "reduce"]), default="halt", show_default=True)
@click.option("--deployment", metavar="ID", help="Only this one; the platform's switches are left alone.")
@click.option("--all", "everything", is_flag=True, help="Every deployment, and the platform's switches.")
@click.option("--wallet", is_flag=True, help="Act on a wallet others use too, and halt those deployments as well.")
@click.option("--stop-anyway", is_flag=True, help="Stop the machine of a deployment that did not get flat.")
@click.option("--yes", is_flag=True, help="Do not ask for the profile's name.")
def halt_command(
    profile: str | None,
    mode: str,
    deployment: str | None,
    everything: bool,
    wallet: bool,
    stop_anyway: bool,
    yes: bool,
) -> None:
    """Stop all trading (--all), or that of one deployment.

    The runners are paused, orders cancelled, positions closed, the wallets proven flat at the venue, and the machines
    stopped. With --all, new deployments are refused too.

    With --mode reduce no new risk is taken: runners are paused and the orders that would add risk are cancelled;
    positions, protective orders and machines stay as they are.
    """
    if (deployment is None) != everything:
        raise ConfigError("say what to halt: --deployment ID, or --all")
    settings, press = profile_choice.chosen_for_halt(profile, yes=yes)
    from runbook_lib.halt.state import Request
    from runbook_lib.halt.stop import halt

    request = Request(deployment, mode, wallet, stop_anyway)
    with _picture() as show:
        ended = halt(settings, request, press=press, show=show)
    sys.exit(_exit_code(ended))


@cli.command("unhalt")
@profile_choice.profile_option
@click.option("--yes", is_flag=True, help="Do not ask for the profile's name.")
def unhalt_command(profile: str | None, yes: bool) -> None:
    """Restore both switches that a halt set, and redeploy.

    Machines stay stopped and deployments stay paused: start each of them from its own page.
    """
    settings, _ = profile_choice.chosen_for_halt(profile, yes=yes)
    from runbook_lib.halt.unhalt import unhalt

    with _picture() as show:
        ended = unhalt(settings, show=show)
    sys.exit(_exit_code(ended))


@contextmanager
def _picture() -> Iterator[Callable[[Any], None]]:
    """Yield a function that displays a halt's progress on the terminal.

    The function imports the drawing code when it is first called, so that the halt's first commands do not wait for it.
    """
    with ExitStack() as drawn:
        picture: list[Any] = []

        def show(halting: Any) -> None:
            if not picture:
                from runbook_lib.cli import terminal
                from runbook_lib.cli.halt_table import Picture

                picture.append(drawn.enter_context(Picture(terminal.console())))
            picture[0](halting)

        yield show


def _exit_code(ended: Any) -> int:
    """Print how a halt or an unhalt ended. Return the exit code of the command."""
    from runbook_lib.cli import terminal
    from runbook_lib.cli.halt_table import closing
    from runbook_lib.halt.stop import EXIT

    closing(terminal.console(), ended)
    return EXIT[ended.outcome]
