"""What happened in an act, in one sentence made of its figures."""

from collections.abc import Callable

from app.stampede.ledger import Ledger, percentile
from app.stampede.server_stats import ServerStats

_MB = 1_000_000

_CROWD = 100
"""Addresses below which a crowd is small: what their buckets let in may be less than a server can do."""

Outcome = Callable[[Ledger, ServerStats], str]


def counts(ledger: Ledger, _: ServerStats) -> str:
    """What every act can say of itself."""
    return f"Of {ledger.sent} uploads {ledger.promised} were accepted."


def of_bully(ledger: Ledger, server: ServerStats) -> str:
    """Whether its bucket was what stopped it."""
    told = ledger.guards["rate"]
    if not told:
        return f"{counts(ledger, server)} Its bucket was never empty, so nobody was told 429 for it."
    return f"{told} of {ledger.sent} uploads were told 429{_quickly(ledger)}; {_let_in(ledger)}."


def of_crowd(ledger: Ledger, server: ServerStats) -> str:
    """Whether the queue filled, and what that cost."""
    told = ledger.guards["queue"]
    if not told:
        return _never_full(ledger, server)
    memory = f"memory rose by {max(0, server.memory_peak - server.memory_before) / _MB:.0f} MB at most"
    return (
        f"The queue filled: {told} of {ledger.sent} uploads were told 503{_quickly(ledger)}; "
        f"{_let_in(ledger)}, and {memory}."
    )


def of_patient(ledger: Ledger, server: ServerStats) -> str:
    """Whether those who came back got in."""
    if not ledger.turned_away:
        return _never_full(ledger, server)
    return (
        f"{ledger.turned_away} of {ledger.photos} clients found the queue full and were told when to come "
        f"back: {ledger.got_in} got in, {ledger.first_return} of them the first time they came back."
    )


def of_impatient(ledger: Ledger, server: ServerStats) -> str:
    """Whether asking again at once gained anything."""
    if not ledger.turned_away:
        return _never_full(ledger, server)
    refused = f"{ledger.turned_away} of {ledger.photos} clients"
    told = f"{refused} were told when to come back and asked every two seconds"
    if not ledger.promise_error_s:
        return f"{told}; none of them got in."
    late_s = sum(ledger.promise_error_s) / len(ledger.promise_error_s)
    when = f"{abs(late_s):.1f} s {'after' if late_s >= 0 else 'before'}"
    return (
        f"{told}: {ledger.got_in} got in, on average {when} the moment that they were told, "
        f"for {ledger.sent / ledger.photos:.1f} requests each."
    )


def of_lenient(ledger: Ledger, server: ServerStats) -> str:
    """Whether anybody needed a preview."""
    if not ledger.answers[200]:
        return _never_full(ledger, server)
    return (
        f"The queue filled: {ledger.answers[200]} of {ledger.sent} uploads got a preview, not an error, "
        f"{ledger.previews['exif']} of them from the photo itself; {_let_in(ledger)}."
    )


def of_slow(ledger: Ledger, server: ServerStats) -> str:
    """Whether the slow clients were found out, and how the others did."""
    told = ledger.answers[408]
    if not told:
        return f"{counts(ledger, server)} No slow client was told 408."
    waits = [f"the longest wait was {max(ledger.wait_s):.1f} s"] if ledger.wait_s else []
    return "; ".join([f"{told} slow clients were told 408", f"beside them {_let_in(ledger)}", *waits]) + "."


def _never_full(ledger: Ledger, server: ServerStats) -> str:
    """Why an act that is to fill the queue did not."""
    limited = ledger.answers[429]
    why = ""
    if limited:
        why = f"; {limited} were told 429, because to the server they are fewer clients than they should be"
    elif 0 < len(ledger.addresses) < _CROWD:
        why = (
            f"; each of {len(ledger.addresses)} addresses asked as often as it may, which is too little here"
        )
    return (
        f"The queue did not fill ({server.queue_peak} of {server.capacity} places): {_let_in(ledger)}{why}."
    )


def _let_in(ledger: Ledger) -> str:
    return f"{ledger.promised} were accepted, {ledger.done} of them are done"


def _quickly(ledger: Ledger) -> str:
    """How long a refusal took, as part of a sentence."""
    median = percentile(ledger.refusal_s, 0.5)
    return "" if median is None else f", half of them within {max(1, round(1000 * median))} ms"


def in_people(ledger: Ledger) -> str:
    """What happened in an act, told of people instead of status codes."""
    told = ledger.turned_away or ledger.answers[429] + ledger.answers[503]
    parts = [f"{ledger.photos} people", f"{ledger.promised} got in"]
    if ledger.answers[200]:
        parts.append(f"{ledger.answers[200]} had a preview to look at")
    if told:
        parts.append(
            f"{told} were told when to come back" if ledger.turned_away else f"{told} were told when"
        )
    if ledger.turned_away:
        parts.append(f"{ledger.got_in} of them came back and got in")
    if ledger.answers[408]:
        parts.append(f"{ledger.answers[408]} were too slow and made room")
    nobody_lost = ledger.kept_everything
    end = "nobody lost" if nobody_lost else f"{ledger.promised - ledger.done} not seen to their end"
    return "; ".join([*parts, end]) + "."
