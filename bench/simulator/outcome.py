"""The figures of a simulation: were clients admitted when told, were workers busy, did impatience pay?"""

from dataclasses import dataclass
from statistics import fmean

from bench.simulator.crowds import Client, Kind
from bench.simulator.world import World


@dataclass(frozen=True)
class Outcome:
    """The figures of one run; None where nobody was refused, or nobody was impatient."""

    first: float | None
    """Share of the refused, patient clients that were admitted at their first return."""
    utilisation: float | None
    """Share of time in which workers were busy, while any client that was refused was not admitted yet."""
    gain_s: float | None
    """Seconds by which impatient clients were admitted sooner than patient ones that came next to them."""
    error_s: float | None
    """Mean seconds from the moment that a client was first told to its admission."""
    admitted_after_s: float | None
    """Mean seconds from the arrival of patient clients that were refused to their admission."""
    wait_s: float
    """The longest wait of a complete upload in the queue, in seconds."""


def outcome(world: World) -> Outcome:
    """The figures of a simulation that has run."""
    refused = [client for client in world.clients if client.told is not None]
    readmitted = [client for client in refused if client.admitted is not None]
    patient = [client for client in readmitted if client.kind is Kind.PATIENT]
    return Outcome(
        first=fmean(bool(client.first_return_admitted) for client in patient) if patient else None,
        utilisation=_utilisation(world, readmitted) if readmitted else None,
        gain_s=_gain(readmitted),
        error_s=fmean(_admitted(client) - (client.told or 0) for client in patient) if patient else None,
        admitted_after_s=fmean(_admitted(client) - client.came for client in patient) if patient else None,
        wait_s=max(client.started - client.enqueued for client in world.clients if client.done),
    )


def _admitted(client: Client) -> float:
    assert client.admitted is not None
    return client.admitted


def _utilisation(world: World, readmitted: list[Client]) -> float:
    spans: list[tuple[float, float]] = []
    for begin, end in sorted((client.came, _admitted(client)) for client in readmitted):
        if spans and begin <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        else:
            spans.append((begin, end))
    worked = sum(
        max(0.0, min(client.done, end) - max(client.started, begin))
        for begin, end in spans
        for client in world.clients
    )
    return worked / (world.workers * sum(end - begin for begin, end in spans))


def _gain(readmitted: list[Client]) -> float | None:
    gains: list[float] = []
    last: Client | None = None
    between: list[Client] = []
    for client in readmitted:
        if client.kind is Kind.IMPATIENT:
            between.append(client)
        elif client.kind is Kind.PATIENT:
            beside = [_admitted(other) - other.came for other in (last, client) if other is not None]
            gains += [fmean(beside) - (_admitted(one) - one.came) for one in between]
            last, between = client, []
    return fmean(gains) if gains else None
