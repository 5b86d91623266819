"""Keep a kernel that has run a notebook's opening cells, and evaluate expressions in it."""

from __future__ import annotations

import ast
import asyncio
from queue import Empty
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.cells import START, first
from runbook_lib.engine.kernel_pool import KernelDied

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from pathlib import Path

    from runbook_lib.engine.kernel_pool import Client, Kernel, Kernels


class Session:
    """A session: a kernel that has run a notebook's opening cells, and in which expressions are evaluated.

    Any failure raises `KernelDied`; the caller must then open another session.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._client: Client | None = None

    @classmethod
    async def open(cls, kernels: Kernels, env: Mapping[str, str], cwd: Path, cells: Sequence[str]) -> Session:
        """Open a session: take a kernel and run ``cells`` in it. Raise `KernelDied` if a cell does not pass."""
        session = cls(kernels.take())
        try:
            session._client = await session._within(session.kernel.connect(env, cwd), START)
            for source in cells:
                await session._execute(source, {}, START)
        except BaseException:
            session.close()
            raise
        return session

    @property
    def pid(self) -> int:
        return self.kernel.process.pid

    async def ask(self, expression: str, within: float) -> Any:
        """Return an expression's value in the session's kernel. The value must consist of texts, numbers and lists.

        Raise `KernelDied` if the kernel has not answered within ``within`` seconds.
        """
        content = await self._execute("", {"answer": expression}, within)
        answer = content["user_expressions"]["answer"]
        if answer["status"] != "ok":
            raise KernelDied(f"{answer['ename']}: {answer['evalue']}")
        return ast.literal_eval(answer["data"]["text/plain"])

    def close(self) -> None:
        """End the session's kernel, and the commands that its cells started."""
        if self._client:
            self._client.stop_channels()
        self.kernel.close()

    async def _execute(self, source: str, expressions: dict[str, str], within: float) -> dict[str, Any]:
        client = self._client
        if client is None:
            raise KernelDied("the kernel was not connected")
        sent = client.execute(source, silent=True, store_history=False, user_expressions=expressions, allow_stdin=False)
        content: dict[str, Any] = await self._within(_answered(client, sent), within)
        if content["status"] != "ok":
            raise KernelDied(f"{content.get('ename')}: {content.get('evalue')}")
        return content

    async def _within(self, work: Coroutine[Any, Any, Any], seconds: float) -> Any:
        """Return the result of ``work``. Raise `KernelDied` if the kernel dies first or ``seconds`` have passed."""
        task, death = asyncio.ensure_future(work), asyncio.ensure_future(self.kernel.death())
        try:
            await first(task, death, within=seconds)
            if task.done():
                return task.result()
            raise KernelDied(
                f"the kernel {self.kernel.how_it_ended()}" if death.done() else f"no answer within {seconds:g} s"
            )
        finally:
            for waiting in (task, death):
                waiting.cancel()
            await asyncio.wait([task, death])


async def _answered(client: Client, sent: str) -> dict[str, Any]:
    """Return the kernel's reply to the message ``sent`` (an id). Read all outputs too, so that they do not pile up."""
    while True:
        reply = await client.get_shell_msg()
        if reply["parent_header"].get("msg_id") == sent:
            break
    try:
        while await client.iopub_channel.msg_ready():
            await client.get_iopub_msg(timeout=0)
    except Empty:
        pass
    content: dict[str, Any] = reply["content"]
    return content
