"""Base of the resources that call an external service: the run they work for, and the service under the policy."""

from typing import ClassVar

import dagster as dg
from pydantic import PrivateAttr

from litgo_pipelines.resources.bounded import Answer
from litgo_pipelines.resources.external_service import ExternalService, Refusal


class VendorResource(dg.ConfigurableResource):
    """Knows the run in which it is used, for the traces of its calls.

    `timeout_seconds` is for one attempt, `deadline_seconds` for all of a call; `database_url`: where breaker and
    metrics are.
    """

    SERVICE: ClassVar[str]
    ATTEMPTS: ClassVar[int] = ExternalService.attempts

    timeout_seconds: float
    deadline_seconds: float
    fallback_enabled: bool = True
    database_url: str | None = None

    _run_id: str | None = PrivateAttr(default=None)
    _service: ExternalService | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        self._run_id = context.run.run_id if context.run else None

    def _refusal(self, answer: Answer) -> Refusal:
        """How the service names its errors."""
        return Refusal()

    @property
    def service(self) -> ExternalService:
        if self._service is None:
            self._service = ExternalService(
                self.SERVICE,
                self.timeout_seconds,
                self.deadline_seconds,
                self.database_url,
                self.fallback_enabled,
                attempts=self.ATTEMPTS,
                refusal=self._refusal,
                run_id=self._run_id,
            )
        return self._service
