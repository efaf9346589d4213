"""A set of backends as its members make it: whether they answer, what they serve, how they do."""

import asyncio
from collections.abc import Mapping, Sequence

from app.domain.backends import UNREACHABLE, Backend, BackendReport, ServedModel, sum_reports
from app.domain.hybrid import hybrids_of
from app.services.backends.connector import BackendConnector, BackendTest, try_out


async def try_out_members(
    connector: BackendConnector, backend: Backend, known: Sequence[Backend]
) -> BackendTest:
    """Each of them, side by side; one that answers is enough. What members call by names of their own is not
    listed."""
    hybrid = hybrids_of([backend])[backend.name]
    members = [each for each in known if each.name in hybrid.members]
    results = await asyncio.gather(*(try_out(connector, member) for member in members))
    served: dict[str, ServedModel] = {}
    for member, result in zip(members, results, strict=True):
        if member.name not in hybrid.models:
            served = {each.name: each for each in result.served} | served
    failures = [f"{member.name} {result.error}" for member, result in zip(members, results, strict=True)]
    is_away = all(result.error for result in results)
    error = f"has no member that can be used: {'; '.join(failures) or 'none exists'}" if is_away else ""
    return BackendTest(error, max((each.seconds for each in results), default=0.0), list(served.values()))


def report_of_members(
    backend: Backend, known: Sequence[Backend], reports: Mapping[str, Sequence[BackendReport]]
) -> BackendReport:
    """Of all its members together, by their names."""
    members = hybrids_of([backend])[backend.name].members
    if not any(each.name in members for each in known):
        return BackendReport(UNREACHABLE, "none of its members exists")
    return sum_reports([report for name in members for report in reports.get(name, ())])
