"""The app after a change that looks harmless: the car reports its fuel to one decimal.

``--app examples.tool_sessions.changed:runtime`` replays yesterday's sessions with it, and finds whom it hits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from examples.tool_sessions.app import make_runtime
from examples.tool_sessions.wheel import tool_classes

if TYPE_CHECKING:
    Car = Any
else:
    Car = tool_classes()["VehicleControlAPI"]

#: The one intent whose behaviour the change touches.
CHANGED_INTENT = "VehicleControlAPI.fillFuelTank"


class RoundedCar(Car):  # type: ignore[misc]  # a class that is found at run time is Any to mypy
    """The car of the wheel, with a tank gauge that rounds."""

    def fillFuelTank(self, fuelAmount: float) -> dict[str, Any]:  # noqa: N802, N803 - the names are the wheel's
        answer: dict[str, Any] = super().fillFuelTank(fuelAmount)
        if "fuelLevel" in answer:
            self.fuelLevel = answer["fuelLevel"] = round(answer["fuelLevel"], 1)
        return answer


CHANGED_TOOLS: dict[str, type] = {"VehicleControlAPI": RoundedCar}

runtime = make_runtime(tools=CHANGED_TOOLS)
