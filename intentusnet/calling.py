"""`Calling`: the part of a runtime that asks for executions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from intentusnet.context import plain
from intentusnet.envelope import (
    Caller,
    IntentEnvelope,
    IntentRef,
    RoutingStrategy,
    caller_of,
    envelope_of,
    invalid_envelope,
    names_of,
    routing_of,
)
from intentusnet.errors import InvalidEnvelope, InvalidInput
from intentusnet.ids import Clock, Ids
from intentusnet.log.durability import Durability, check_durability
from intentusnet.refusals import describe
from intentusnet.response import AgentResponse
from intentusnet.routing.keys import InFlight, check_in_flight
from intentusnet.routing.router import IntentRouter

_LONGEST_TIMEOUT: Final = 366 * 24 * 3600.0


class Calling:
    """How intents come to `IntentusRuntime`. Not made by itself."""

    clock: Clock
    ids: Ids
    _router: IntentRouter

    def route(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: Iterable[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        tags: Iterable[str] = (),
        priority: int = 0,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        durability: Durability | None = None,
        in_flight: InFlight | None = None,
    ) -> AgentResponse:
        """Routes an intent, records the execution, and returns how it ended.

        Failures of agents, denials and missing agents are responses, not exceptions.

        Args:
            intent: name, or ``name@version``.
            payload: any recordable value; a pydantic model or dataclass stands for its fields.
            strategy, target, fallback, prefer: see `RoutingOptions`.
            caller: a `Caller`, or a name, to which `roles` and `tenant` belong.
            tags, priority, idempotency_key, traceparent: see `IntentEnvelope`.
            timeout: seconds from now until the envelope's deadline, after which no agent is called.
            durability: "disk", "os" or "async" for this execution, whatever the store's own is.
            in_flight: "wait" or "refuse" while an execution with this idempotency key is under way, whatever
                the runtime's own choice is.

        Raises:
            InvalidEnvelope: an argument makes no sense; nothing was called.
            UnrecordableValue: the payload cannot be recorded; nothing was called.
            StoreWriteFailed: the record cannot be written.
            IntegrityBroken: the log is damaged; nothing was called.
        """
        envelope = self.envelope(
            intent,
            payload,
            strategy=strategy,
            target=target,
            fallback=fallback,
            prefer=prefer,
            caller=caller,
            roles=roles,
            tenant=tenant,
            tags=tags,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        check_durability(durability)
        check_in_flight(in_flight)
        return self._router.route_request(self._router.request(envelope, durability, in_flight))

    async def route_async(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: Iterable[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        tags: Iterable[str] = (),
        priority: int = 0,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
        durability: Durability | None = None,
        in_flight: InFlight | None = None,
    ) -> AgentResponse:
        """Routes an intent as `route` does, for asynchronous callers: the same core, and the same record.

        Agents may be coroutine functions, which run in the caller's event loop; plain ones run in threads of
        their own. Nothing that waits for a disk keeps the loop waiting. To cancel the task that awaits this
        is to cancel the execution, which is on record then. The arguments are those of `route`.

        Raises:
            CancelledError: the task was cancelled.
            Exception: as `route`.
        """
        envelope = self.envelope(
            intent,
            payload,
            strategy=strategy,
            target=target,
            fallback=fallback,
            prefer=prefer,
            caller=caller,
            roles=roles,
            tenant=tenant,
            tags=tags,
            priority=priority,
            timeout=timeout,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
        )
        check_durability(durability)
        check_in_flight(in_flight)
        return await self._router.route_request_async(self._router.request(envelope, durability, in_flight))

    def envelope(
        self,
        intent: str | IntentRef,
        payload: Any = None,
        *,
        strategy: RoutingStrategy | str = RoutingStrategy.DIRECT,
        target: str | None = None,
        fallback: Iterable[str] = (),
        prefer: Literal["rank", "first"] = "rank",
        caller: Caller | str | None = None,
        roles: Iterable[str] = (),
        tenant: str | None = None,
        tags: Iterable[str] = (),
        priority: int = 0,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        traceparent: str | None = None,
    ) -> IntentEnvelope:
        """The envelope that `route` would route; same arguments.

        Raises:
            InvalidEnvelope: an argument makes no sense.
        """
        try:
            return envelope_of(
                self.ids.execution_id(),
                intent,
                plain(payload),
                caller_of(caller, names_of("roles", roles), tenant),
                names_of("tags", tags),
                priority,
                None if timeout is None else self._deadline(timeout),
                routing_of(strategy, target, names_of("fallback", fallback), prefer),
                traceparent,
                idempotency_key,
            )
        except InvalidInput:
            raise
        except Exception as fault:  # of pydantic, or of the arguments themselves
            raise invalid_envelope(fault) from fault

    def _deadline(self, timeout: object) -> datetime:
        if not isinstance(timeout, int | float) or not 0 < timeout < _LONGEST_TIMEOUT:
            raise InvalidEnvelope(
                "the timeout makes no sense", where="timeout", expected="seconds > 0", got=describe(timeout)
            )
        return datetime.fromtimestamp(self.clock.time_us() / 1_000_000, UTC) + timedelta(seconds=timeout)
