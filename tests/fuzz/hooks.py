"""What schemathesis loads: aim its requests at sandboxes that live, and judge what it finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis
from aim import Aim
from excuses import is_excused
from findings import Findings
from population import Population

_population = Population(
    os.environ["LUNETTE_BASE_URL"],
    os.environ["LUNETTE_API_KEY"],
    os.environ["LUNETTE_FUZZ_SEED"],
)
_aim = Aim(_population)
_findings = Findings(Path(os.environ["LUNETTE_FUZZ_FINDINGS"]))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Fill a request with what is there; not the generated strategies, which coverage lacks."""
    _aim(case)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Note what the request made or destroyed."""
    _population.learn(case, response)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Keep the failures that the contract does not explain."""
    if is_excused(failure, case, response, _population):
        return False
    _findings.add(failure, case, response)
    return True


@schemathesis.check
def as_before(context: Any, response: Any, case: Any) -> None:
    """See that an answer does not contradict what the server said of a transfer before."""
    assert _population.transfers.surprise is None, _population.transfers.surprise
