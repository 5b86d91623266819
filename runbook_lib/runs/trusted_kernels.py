"""Give variables to JupyterLab's kernels, but not to the server and the other programs that it starts.

A process inherits the environment of the one that starts it, and every process of the same user can read it.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

variables: dict[str, str] = {}  # of this server's kernels alone; filled before the server starts


class TrustedKernels(AsyncMappingKernelManager):
    """A kernel manager for JupyterLab. It adds `variables` to the environment of each kernel that it starts."""

    async def _async_start_kernel(self, **options: Any) -> str:
        options["env"] = {**(options.get("env") or os.environ), **variables}
        return await super()._async_start_kernel(**options)

    start_kernel = _async_start_kernel  # type: ignore[assignment]  # as its base class names it
