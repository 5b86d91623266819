"""Compare the contract with a platform's database. Catalogues prove tables and columns, rows prove keys and words."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import Column, Entry, Key, Table, Word, contract, is_word, last, place_of
from runbook_lib.commands.command import Sql, sql
from runbook_lib.commands.expectations import Claim, Expectation, Finding, over_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from runbook_lib.commands.command import Command, Reply

SHOWN = 4  # names that are offered beside the nearest one
QUOTED = re.compile(r"'((?:[^']|'')*)'")

# Every table with its columns, and the words to which a column is limited by its check constraint or enum type.
NAMED = """
    select case n.nspname when 'public' then '' else n.nspname || '.' end || c.relname as place,
           array_agg(a.attname::text order by a.attnum) as columns,
           array(select b.attname || ': ' || pg_get_constraintdef(k.oid) from pg_constraint k
                 join pg_attribute b on b.attrelid = k.conrelid and b.attnum = k.conkey[1]
                 where k.conrelid = c.oid and k.contype = 'c' and cardinality(k.conkey) = 1
                 union all select b.attname || ': ' || string_agg(quote_literal(e.enumlabel), ', ')
                 from pg_attribute b join pg_enum e on e.enumtypid = b.atttypid
                 where b.attrelid = c.oid group by b.attname) as limits
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where n.nspname in ('public', 'auth', 'vault', 'supabase_migrations') and c.relkind in ('r', 'p', 'v')
    group by n.nspname, c.relname, c.oid order by place
"""
# The newest rows of each table, and one for each event, which may be rare. `to_jsonb` names no column, so that a
# column with another name on this platform does not make the whole statement fail.
SPOKEN = """
    with recursive sampled (place, node) as (
      (select 'agent_commands'::text, to_jsonb(t) from public.agent_commands t order by t.ctid desc limit 500)
      union all (select 'agent_logs', to_jsonb(t) from public.agent_logs t order by t.ctid desc limit 500)
      union all (select 'agent_logs', to_jsonb(t) from (
        select distinct on (event) * from public.agent_logs order by event, ctid desc) t)
      union all (select 'agent_state', to_jsonb(t) from public.agent_state t order by t.ctid desc limit 500)
      union all (
        select 'decision_snapshots', to_jsonb(t) from public.decision_snapshots t order by t.ctid desc limit 500)
      union all (select 'deployments', to_jsonb(t) from public.deployments t order by t.ctid desc limit 500)
      union all (select 'mainnet_orders', to_jsonb(t) from public.mainnet_orders t order by t.ctid desc limit 500)
      union all (select 'platform_config', to_jsonb(t) from public.platform_config t limit 500)
      union all (select 'sim_runs', to_jsonb(t) from public.sim_runs t order by t.ctid desc limit 500)
      union all (select 'skill_versions', to_jsonb(t) from public.skill_versions t order by t.ctid desc limit 500)
    ), seen (place, node, about) as (
      select s.place || '.' || e.key, e.value, s.node ->> (%(about)s::jsonb ->> s.place)
      from sampled s cross join lateral jsonb_each(s.node) e
      where s.place || '.' || e.key = any(%(columns)s::text[])
      union all
      select s.place || '.' || e.key, e.value, s.about
      from seen s cross join lateral jsonb_path_query(s.node, '$[*] ? (@.type() == "object")') o
      cross join lateral jsonb_each(o) e
    )
    select place, about, count(*) as times,
           array_agg(distinct node #>> '{}') filter (where place = any(%(worded)s::text[])) as words
    from seen group by place, about order by place, about
"""


def named_columns() -> Sql:
    """Ask Postgres's catalogues which columns exist, and which words constraints and enums allow, to prove the
    contract.

    Columns of the reply: ``place`` (the table), ``columns`` (their names), ``limits`` ("column: definition").
    """
    return sql(NAMED)


def spoken_words() -> Sql:
    """Ask which JSON keys and words the newest rows of the platform's tables hold, to prove the contract.

    Columns of the reply: ``place`` (the column or key), ``about`` (the kind of row), ``times``, ``words``.
    """
    tables = contract().tables
    listed = [(address, entry) for address, entry in contract().entries() if isinstance(entry, Column | Key)]
    return sql(
        SPOKEN,
        columns=[address for address, entry in listed if isinstance(entry, Column) and (entry.keys or entry.words)],
        worded=[address for address, entry in listed if entry.words],
        about={name: table.about for name, table in tables.items() if table.about},
    )


def contract_kept() -> Expectation:
    """Expect that the platform has every name of the contract, as far as Postgres's catalogues and the rows show.

    Replies: `named_columns`, then `spoken_words`.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        catalogue, spoken = replies
        if not catalogue.rows:
            return Finding("", "the catalogues show no table")
        platform = _Platform.read(catalogue, None if spoken.error else spoken)
        if not any(table in platform.columns for table in contract().tables if "." not in table):
            return Finding("", "none of the platform's tables is there: push the migrations (0.1g)")
        wrong = [*_unlike_catalogue(platform), *_unlike_rows(platform, _due(platform))]
        lacking = {lack.address for lack in wrong}
        unseen = [address for address in _open(platform) if address not in lacking]
        return _finding(wrong, unseen, unasked=spoken.error)

    # A table with another name makes the second command fail; the first one's reply is judged all the same.
    def over(replies: Sequence[Reply]) -> Finding:
        return test(replies) if len(replies) == 2 and not replies[0].error else refused.judge(replies)

    refused = over_all("the contract", test)
    return Expectation("every name of the contract", over, empty=True)  # no row has spoken yet


def words_proven(step: str) -> Expectation:
    """Expect that rows show every key and word whose ``proof`` in the contract names this step.

    A key that is always in its object must be in every such object that rows show by now.

    Reply: `spoken_words`.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        platform = _Platform.read(None, replies[0])
        due = [address for address, entry in contract().entries() if isinstance(entry, Word) and entry.proof == step]
        wrong = _unlike_rows(platform, [*due, *_always()])
        lacking = {lack.address for lack in wrong}
        unseen = [address for address in due if not platform.shows(address) and address not in lacking]
        if len(unseen) == len(due):
            return Finding("", f"no row shows any of {', '.join(due)}")
        return _finding(wrong, unseen, of=len(due))

    return over_all(f"the words that {step} proves", test)


def misnamed(look: Callable[[Command], Reply], commands: Iterable[Command]) -> list[str]:
    """Return a line for every contract name that the platform lacks. Return no line if ``commands`` use none of these
    names.

    ``commands`` are those whose replies held too little; ``look`` sends the command that asks for the platform's rows.
    """
    from runbook_lib.agentic_trading.adapting import asked  # noqa: PLC0415 - a parser of SQL: only for a complaint

    spoken_of = {address for each in commands if isinstance(each, Sql) for address in asked(each.statement)}
    proven = (address for address, entry in contract().entries() if isinstance(entry, Word) and entry.proof)
    if spoken_of.isdisjoint([*proven, *_always()]):
        return []
    spoken = look(spoken_words())
    platform = _Platform.read(None, spoken)
    lacks = _unlike_rows(platform, _due(platform)) if spoken.error is None else []
    # All lacks are reported at once, so that the operator adapts every name in one go.
    return _lines(lacks) if any(lack.address in spoken_of for lack in lacks) else []


# --- what a platform shows ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lack:
    """A contract name that the platform lacks. ``strangers`` are the platform's names that may have replaced it.

    ``nearest`` is the stranger most like the missing name, unless that stranger is more like another missing name.
    """

    address: str
    strangers: tuple[str, ...]
    nearest: str | None = None


@dataclass
class _Platform:
    """The names that a platform has: columns of tables, words that columns allow, and keys and words in rows."""

    columns: dict[str, set[str]] = field(default_factory=dict)
    allowed: dict[str, set[str]] = field(default_factory=dict)
    keys: dict[str, set[str | None]] = field(default_factory=lambda: defaultdict(set))  # key -> `about` of its rows
    words: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @classmethod
    def read(cls, catalogue: Reply | None, spoken: Reply | None) -> _Platform:
        platform = cls()
        for row in catalogue.rows if catalogue else ():
            table = str(row.get("place"))
            platform.columns[table] = {str(name) for name in row.get("columns") or ()}
            for limit in row.get("limits") or ():
                column, _, definition = str(limit).partition(": ")
                platform.allowed[f"{table}.{column}"] = set(QUOTED.findall(definition))
        for row in spoken.rows if spoken else ():
            place, words = str(row.get("place")), row.get("words") or ()
            platform.keys[place].add(row.get("about"))
            platform.words[place] |= {str(word) for word in words if word is not None}
        return platform

    def shows(self, address: str) -> bool:
        """Return whether the platform's database shows a key or word of the contract.

        A row holds the key or the word, or a constraint lists the word.
        """
        if not is_word(address):
            return address in self.keys
        place, _, word = address.partition(":")
        pattern = re.compile(re.escape(word).replace("%", ".*"), re.DOTALL)
        return any(pattern.fullmatch(text) for text in self.words.get(place, set()) | self.allowed.get(place, set()))

    def beside(self, address: str) -> dict[str, set[str | None]]:
        """Return the keys in the JSON objects that hold, or should hold, a key of the contract.

        Each of these keys comes with the kinds of rows that hold the key.
        """
        outer = address.rpartition(".")[0] + "."
        inner = {place: about for place, about in self.keys.items() if place.startswith(outer)}
        return {place.removeprefix(outer): about for place, about in inner.items() if "." not in place[len(outer) :]}


def _unlike_catalogue(platform: _Platform) -> list[_Lack]:
    """Return the contract names that the database's catalogue lacks: tables, columns, and words that a constraint
    rejects.
    """
    lacks = []
    for name, table in contract().tables.items():
        columns = platform.columns.get(name)
        if columns is None:
            schema = name.rpartition(".")[0]
            unknown = [t for t in platform.columns if t.rpartition(".")[0] == schema and t not in contract().tables]
            lacks.append(_Lack(name, tuple(unknown)))
        else:
            strangers = tuple(columns - {*table.columns, *table.also})
            lacks += [_Lack(f"{name}.{column}", strangers) for column in table.columns if column not in columns]
    for address, entry in contract().entries():
        allowed = platform.allowed.get(address, set())
        if allowed and isinstance(entry, Column):
            strangers = tuple(allowed - {*entry.words, *entry.also})
            exact = [word for word in entry.words if "%" not in word and word not in allowed]
            lacks += [_Lack(f"{address}:{word}", strangers) for word in exact]
    return _paired(lacks)


def _unlike_rows(platform: _Platform, due: Collection[str]) -> list[_Lack]:
    """Return the keys and words in ``due`` that no row holds, although there are rows that should hold them."""
    entries = dict(contract().entries())
    unseen = [address for address in due if not platform.shows(address)]
    said = _paired([_Lack(address, tuple(_said(address, platform))) for address in unseen if is_word(address)])
    # A word for which no unknown word could stand has not been written yet, and is not missing.
    words = [lack for lack in said if lack.nearest]
    renamed = {lack.address: lack.nearest or "" for lack in words}
    keys = [(a, _beside(a, entries[a], platform, renamed)) for a in unseen if not is_word(a)]
    return words + _paired([_Lack(address, tuple(strangers)) for address, strangers in keys if strangers is not None])


def _paired(lacks: Sequence[_Lack]) -> list[_Lack]:
    """Sort the candidates for each missing name by likeness. No candidate becomes the ``nearest`` of two names."""
    pairs = sorted(
        (
            (_unlike(last(lack.address), stranger), number, stranger)
            for number, lack in enumerate(lacks)
            for stranger in lack.strangers
        )
    )
    nearest: dict[int, str] = {}
    for _, number, stranger in pairs:
        place = place_of(lacks[number].address)
        taken = {name for n, name in nearest.items() if place_of(lacks[n].address) == place}
        if number not in nearest and stranger not in taken:
            nearest[number] = stranger
    ordered = [tuple(stranger for _, n, stranger in pairs if n == number) for number in range(len(lacks))]
    return [_Lack(lack.address, ordered[n], nearest.get(n)) for n, lack in enumerate(lacks)]


def _unlike(name: str, other: str) -> float:
    return -SequenceMatcher(None, name.lower(), other.lower()).ratio()


def _due(platform: _Platform) -> list[str]:
    """Return the contract's keys and words that rows must show by now.

    If rows show one key or word that a step proves, the step has run, so that they must show all that it proves. A key
    that is always there is due with the first object in which it could stand.
    """
    proofs = {
        address: entry.proof for address, entry in contract().entries() if isinstance(entry, Word) and entry.proof
    }
    begun = {proof for address, proof in proofs.items() if platform.shows(address)}
    return [*(address for address, proof in proofs.items() if proof in begun), *_always()]


def _always() -> list[str]:
    return [address for address, entry in contract().entries() if isinstance(entry, Key) and entry.always]


def _said(address: str, platform: _Platform) -> set[str]:
    """Return the words in the platform's rows that the contract does not list.

    The words stand in the same column or key as the word at ``address``.
    """
    place = place_of(address)
    words = (address for address, _ in contract().entries() if is_word(address))
    known = {last(word) for word in words if place_of(word) == place}
    said = platform.words.get(place, set()) - set(_also(place))
    return {word for word in said if not any(_like(word, pattern) for pattern in known)}


def _beside(address: str, entry: Entry, platform: _Platform, renamed: dict[str, str]) -> set[str] | None:
    """Return the keys that the contract does not list, in the JSON objects that should hold the key at ``address``.

    Return None if no such object exists yet.
    """
    beside = platform.beside(address)
    if isinstance(entry, Key) and entry.rows:
        table = address.partition(".")[0]
        kinds = {w for column, words in entry.rows.items() for w in _as_told(f"{table}.{column}", words, renamed)}
        beside = {key: about for key, about in beside.items() if about & kinds}
    if not beside:
        return None
    return set(beside) - {last(known) for known, _ in contract().entries() if place_of(known) == place_of(address)}


def _as_told(place: str, words: Iterable[str], renamed: dict[str, str]) -> set[str]:
    """Return the contract's ``words``, with the new name for each word that the platform seems to have renamed."""
    return {renamed.get(f"{place}:{word}", word) for word in words}


def _also(place: str) -> list[str]:
    return next((e.also for a, e in contract().entries() if a == place and isinstance(e, Column | Key)), [])


def _like(word: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace("%", ".*"), word, re.DOTALL) is not None


def _open(platform: _Platform) -> list[str]:
    """Return the contract's keys and words that no row shows yet."""
    return [a for a, entry in contract().entries() if isinstance(entry, Word) and not platform.shows(a)]


# --- what is said of it ---------------------------------------------------------------------------------------------


def _finding(
    wrong: Sequence[_Lack], unproven: Sequence[str], *, of: int | None = None, unasked: str | None = None
) -> Finding:
    number = of if of is not None else sum(1 for _ in contract().entries())
    seen = f"{number - len(wrong) - len(unproven)} of {number} names are the platform's"
    seen += f"; not yet provable: {_by_proof(unproven)}" if unproven else ""
    refused = [f"the rows could not be asked: {unasked}"] if unasked else []
    if not wrong:
        return Finding(seen, "; ".join(refused) or None, unproven=_claims(unproven))
    first = f"{len(wrong)} of {number} names are not the platform's"
    return Finding(seen, "\n".join([first, *_lines(wrong), *refused]))


def _lines(wrong: Sequence[_Lack]) -> list[str]:
    """Return a line for each missing contract name, then a line with the ``adapt`` command for the nearest names."""
    renamed = [_quoted(f"{lack.address}={lack.nearest}") for lack in wrong if lack.nearest]
    adapt = [f"  if each nearest name is the right one: ./runbook adapt {' '.join(renamed)}"] if renamed else []
    return [*map(_line, wrong), *adapt]


def _line(lack: _Lack) -> str:
    from runbook_lib.agentic_trading.adapting import users  # noqa: PLC0415 - a parser of SQL: only for a complaint

    kind = _kind(lack.address)
    nearest = f"nearest {lack.nearest}" if lack.nearest else "none that is like it"
    strangers = [stranger for stranger in lack.strangers if stranger != lack.nearest][:SHOWN]
    nearest += f" (or {', '.join(strangers)})" if strangers else ""
    return f"  expected {kind} {lack.address}, found {nearest}; used by {', '.join(users(lack.address))}"


def _kind(address: str) -> str:
    if is_word(address):
        return "word"
    entry = next(entry for name, entry in contract().entries() if name == address)
    return "table" if isinstance(entry, Table) else "column" if isinstance(entry, Column) else "key"


def _claims(addresses: Sequence[str]) -> tuple[Claim, ...]:
    """Return an unproven claim for each step that must still prove contract names. Leave out names that no step
    proves.
    """
    groups = _grouped(addresses).items()
    return tuple(Claim(f"rows show {names}", "no row shows them yet", step) for step, names in groups if step)


def _by_proof(addresses: Sequence[str]) -> str:
    """Describe contract names, grouped by the step that will prove them.

    Within a step, names in the same place stand together.
    """
    groups = _grouped(addresses).items()
    return ". ".join(f"{f'by {step}' if step else 'when it happens'}: {names}" for step, names in groups)


def _grouped(addresses: Sequence[str]) -> dict[str, str]:
    """Map each step to the contract names that it proves, as text. The key "" holds the names that no step proves."""
    proofs = {a: e.proof for a, e in contract().entries() if isinstance(e, Word)}
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for address in addresses:
        groups[proofs[address] or ""][place_of(address)].append(last(address))
    steps = sorted(groups, key=lambda step: (step == "", step))
    return {step: "; ".join(f"{place} {', '.join(n)}" for place, n in groups[step].items()) for step in steps}


def _quoted(argument: str) -> str:
    return f"'{argument}'" if re.search(r"[^\w.:=/-]", argument) else argument
