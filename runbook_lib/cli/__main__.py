"""``python -m runbook_lib.cli``: what ``./runbook`` starts."""

from runbook_lib.cli.main import main

main()
