"""CPU time of a refusal where uploads need tickets: what it costs to check one.

    python -m bench.tickets [--rounds 3] [--requests 10000] [--json FILE]

Each upload gets 429, as in `bench.refusals`: from the empty bucket of its address, or of its ticket's client.
The rows differ in the ticket that comes with it:

    none            no ticket is needed (a second server without UPLOAD_KEYS)
    missing         needed, and not there
    the same        a good one, which the server remembers
    a new one       a good one that the server has not seen: its signature is checked
    forged          one whose signature is wrong, another each time
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from bench.refusals import EMPTY, refusals_us, sample, upload
from bench.rig import Report, cores, median, options, pinned, spillway

_SECRET = "a value of this bench that is long enough"  # noqa: S105
_OTHER_SECRET = "another value of it that is long enough"  # noqa: S105
_UNSEEN = 4500
"""Different tickets, more than the server remembers."""


def _keys(path: Path) -> dict[str, Callable[[dict[str, object]], str]]:
    """Write the public keys to a file. Returns what signs claims, by algorithm."""
    private = {
        "EdDSA": Ed25519PrivateKey.generate(),
        "ES256": generate_private_key(SECP256R1()),
        "RS256": generate_rsa_key(65537, 2048),
    }
    kinds = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}
    public = [
        json.loads(kinds[name].to_jwk(key.public_key())) | {"kid": name} for name, key in private.items()
    ]
    path.write_text(json.dumps({"keys": public}))

    def signer(name: str) -> Callable[[dict[str, object]], str]:
        return lambda claims: jwt.encode(claims, private[name], name, {"kid": name})

    secret = {"HS256": lambda claims: jwt.encode(claims, _SECRET, "HS256", {"kid": "app"})}
    return secret | {name: signer(name) for name in private}


def _with(token: str) -> bytes:
    return upload(0, b"Authorization: Bearer %b\r\n" % token.encode())


def main() -> None:
    """Measure, alternating, and report medians."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--requests", type=int, default=10_000, help="of each round (%(default)s)")
    chosen = parser.parse_args()
    server, client = cores()
    exp = int(time.time()) + 7200
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="spillway-bench-")))
        (folder / "open").mkdir()
        sign = _keys(folder / "keys.json")
        keys = f"app:{_SECRET},idp:@{folder}/keys.json"
        free = stack.enter_context(spillway(folder / "open", core=server, **EMPTY))
        guarded = stack.enter_context(spillway(folder, core=server, upload_keys=keys, **EMPTY))
        claims = [{"exp": exp, "sub": "bench", "n": number} for number in range(_UNSEEN)]
        forged = [jwt.encode(each, _OTHER_SECRET, "HS256", {"kid": "app"}) for each in claims]
        cases = {
            "none": (free, [upload(0)]),
            "missing": (guarded, [upload(0)]),
            "the same": (guarded, [_with(sign["HS256"](claims[0]))]),
            "a new one, HS256": (guarded, [_with(sign["HS256"](each)) for each in claims]),
            "forged, HS256": (guarded, [_with(token) for token in forged]),
        }
        for name in ("EdDSA", "ES256", "RS256"):
            tokens = [sign[name](each) for each in claims]
            cases[f"a new one, {name}"] = guarded, [_with(token) for token in tokens]
            bodies, signatures = zip(*(token.rsplit(".", 1) for token in tokens), strict=True)
            swapped = zip(bodies, (*signatures[1:], signatures[0]), strict=True)
            cases[f"forged, {name}"] = guarded, [_with(f"{body}.{other}") for body, other in swapped]
        stack.enter_context(pinned(client))
        found: dict[str, list[float]] = {}
        sample(free.port)
        for algorithm in ("HS256", "EdDSA"):  # one of each issuer, and the address
            sample(guarded.port, token=sign[algorithm](claims[0]))
        sample(guarded.port)
        for _ in range(chosen.rounds):
            for name, (serving, uploads) in cases.items():
                found.setdefault(name, []).append(refusals_us(serving, uploads, chosen.requests))
    report = Report("bench.tickets")
    for name, each in found.items():
        more = [one - least for one, least in zip(each, found["none"], strict=True)]
        ratio = [one / least for one, least in zip(each, found["none"], strict=True)]
        report.add(ticket=name, us=median(each), more_us=median(more), ratio=median(ratio))
    report.notes.append(
        f"Medians of {chosen.rounds} rounds of {chosen.requests} refusals; every answer is a 429. "
        "What is compared is a refusal where no ticket is needed, round by round."
    )
    report.show(chosen.json)


if __name__ == "__main__":
    main()
