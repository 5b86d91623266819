"""Run the command line for ``python -m runbook_lib.cli``, which is what ``./runbook`` starts."""

from runbook_lib.cli.main import main

main()
