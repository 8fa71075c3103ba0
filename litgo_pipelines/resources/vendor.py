"""Base of the resources that call an external service: the run they work for."""

import dagster as dg
from pydantic import PrivateAttr


class VendorResource(dg.ConfigurableResource):
    """Knows the run in which it is used, for the traces of its calls."""

    _run_id: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run_id = context.run.run_id if context.run else None
