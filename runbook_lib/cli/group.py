"""Define the group to which every command belongs."""

from __future__ import annotations

import sys
from typing import Any

import click

from runbook_lib.cli.visible import visible
from runbook_lib.errors import ConfigError, cited, nearest

# What the commands are for, as --help lists them.
SECTIONS = {
    "Rehearse": ("rehearse", "fault", "drill"),
    "Run a notebook": ("open", "run", "resume", "confirm", "undo", "adopt"),
    "Watch": ("watch", "ack"),
    "Stop": ("halt", "unhalt", "unlock"),
    "See how things stand": ("use", "status", "doctor"),
    "Evidence": ("records", "show", "diff", "verify", "sign"),
    "Change the runbook": ("adapt", "test", "bench", "accept"),
}
SENTENCE = 200  # characters: a first sentence is never cut


class Commands(click.Group):
    """A group of commands, listed by purpose. For an unknown command it suggests the nearest name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in SECTIONS.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(SENTENCE)) for name in names])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise ConfigError(f"no command {cited(args[0])}: {nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="launch-runbook", prog_name="runbook")
@click.pass_context
def cli(context: click.Context) -> None:
    """Launch the platform: from code in the repository to the first real-money tick, one checked step at a time."""
    context.call_on_close(_catch_up)
    if context.invoked_subcommand != "halt":  # a halt waits for no file lock
        _mend()


def _mend() -> None:
    """Repair a damaged ``head.json`` and say so, before a command replaces the file."""
    from runbook_lib.records import record_folder, seal_chain

    _print("MENDED", seal_chain.mended(record_folder.records_root()))


def _catch_up() -> None:
    """Archive the records that were not archived yet. Print each record that still cannot be archived or signed.

    Runs at the end of every command.
    """
    from runbook_lib.records import archive, record_folder

    _mend()
    _print("NOT DONE YET", archive.catch_up(record_folder.records_root()))


def _print(word: str, lines: list[str]) -> None:
    for line in lines:
        sys.stderr.write(f"{word}: {visible(line)}\n")
