"""What came of a simulation: were promises kept, did the workers work, did ignoring them pay?"""

from dataclasses import dataclass
from statistics import fmean

from bench.simulator.crowds import IMPATIENT, PATIENT, Client
from bench.simulator.world import World


@dataclass(frozen=True)
class Outcome:
    """The figures of one run; None where nobody was refused, or nobody was impatient."""

    first: float | None
    """Share of the patient refused who got in at their first return."""
    utilisation: float | None
    """Share of the workers' time used while anybody who had been refused was not in yet."""
    gain_s: float | None
    """Seconds by which the impatient were in sooner than the patient who came just before and after them."""
    error_s: float | None
    """Mean seconds between the moment that one was first told and the place."""
    wait_s: float
    """The longest wait of an upload that had arrived in full."""


def outcome(world: World) -> Outcome:
    """The figures of a world that has run."""
    refused = [client for client in world.clients if client.told is not None]
    late = [client for client in refused if client.admitted is not None]
    patient = [client for client in late if client.kind == PATIENT]
    return Outcome(
        first=fmean(bool(client.kept) for client in patient) if patient else None,
        utilisation=_utilisation(world, late) if late else None,
        gain_s=_gain(late),
        error_s=fmean(_admitted(client) - (client.told or 0) for client in patient) if patient else None,
        wait_s=max(client.started - client.landed for client in world.clients if client.done),
    )


def _admitted(client: Client) -> float:
    assert client.admitted is not None
    return client.admitted


def _utilisation(world: World, late: list[Client]) -> float:
    spans: list[tuple[float, float]] = []
    for begin, end in sorted((client.came, _admitted(client)) for client in late):
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


def _gain(late: list[Client]) -> float | None:
    gains: list[float] = []
    last: Client | None = None
    between: list[Client] = []
    for client in late:
        if client.kind == IMPATIENT:
            between.append(client)
        elif client.kind == PATIENT:
            beside = [_admitted(other) - other.came for other in (last, client) if other is not None]
            gains += [fmean(beside) - (_admitted(one) - one.came) for one in between]
            last, between = client, []
    return fmean(gains) if gains else None
