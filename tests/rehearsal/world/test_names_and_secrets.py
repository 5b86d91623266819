"""The secrets of a rehearsal have the vendors' shapes."""

from runbook_lib.rehearsal.world.names_and_secrets import Names, made_up_secrets


def test_no_secret_looks_like_a_flag():
    made = [made_up_secrets(Names()) for _ in range(300)]  # a letter of base64 in front is a - once in 64 times
    assert {name for values in made for name, value in values.items() if value.startswith("-")} == set()
