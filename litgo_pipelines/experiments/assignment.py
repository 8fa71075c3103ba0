"""Assignment of clients to the arms of an experiment: one hash and integer arithmetic. Pure.

For the marketplace's backend too: importing it needs the standard library only. What an arm led to is not here
(`decision.py`), nor where a first exposure is stored.
"""

from dataclasses import dataclass
from hashlib import sha256

BUCKETS = 10_000  # a bucket is one basis point of the clients
TREATMENT, CONTROL = "treatment", "control"
ARMS = (TREATMENT, CONTROL)


def bucket(salt: str, client_id: str) -> int:
    """Bucket of a client in 0…9999: the first 8 bytes of SHA-256 of "salt:client_id" in UTF-8, big-endian, mod 10,000.

    The same in every process, language and version. The id is taken as it is written: pass the lower-case text of a
    UUID, as Postgres prints it. Raises ValueError for an empty salt or id, TypeError for what is not text.

    >>> bucket("ltr_v42:1", "c0"), bucket("ltr_v42:1", "c1"), bucket("ltr_v42:1", "São-1")
    (4911, 2941, 2660)
    """
    if not isinstance(salt, str) or not isinstance(client_id, str):
        raise TypeError("salt and client id must be text")
    if not salt or not client_id:
        raise ValueError("salt and client id must not be empty")
    return int.from_bytes(sha256(f"{salt}:{client_id}".encode()).digest()[:8], "big") % BUCKETS


@dataclass(frozen=True)
class Experiment:
    """How clients are split; frozen with the experiment, except `treatment_points`, which a new phase may raise.

    treatment_points: basis points of the experiment's clients in treatment, 0…10,000. layer_salt: shared by
    experiments that must not meet; each takes its own half-open range [layer_from, layer_to) of the layer's buckets.
    holdout_salt: shared by all experiments; clients in its first `holdout_points` buckets are never treated nor
    counted. Raises ValueError for splits off the grid and for salts used twice, which would make two splits one.
    """

    salt: str
    treatment_points: int
    layer_salt: str | None = None
    layer_from: int = 0
    layer_to: int = BUCKETS
    holdout_salt: str | None = None
    holdout_points: int = 0

    def __post_init__(self) -> None:
        for name in ("treatment_points", "layer_from", "layer_to", "holdout_points"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= BUCKETS:
                raise ValueError(f"{name} must be a whole number of basis points in 0…{BUCKETS:,}, not {value!r}")
        salts = [salt for salt in (self.salt, self.layer_salt, self.holdout_salt) if salt is not None]
        if not all(salts) or len(set(salts)) < len(salts):
            raise ValueError("salts must not be empty and must differ")
        if self.layer_from >= self.layer_to:
            raise ValueError("the layer's range is empty")
        if (self.layer_salt is None) != (self.layer_from == 0 and self.layer_to == BUCKETS):
            raise ValueError("a layer needs a salt and a part of the buckets, no layer neither")
        if (self.holdout_salt is None) != (self.holdout_points == 0):
            raise ValueError("a holdout needs a salt and a share, no holdout neither")

    @property
    def fraction(self) -> float:
        """Share of the experiment's clients in treatment, as stored with each exposure."""
        return self.treatment_points / BUCKETS


def assign(experiment: Experiment, client_id: str, stored: str | None = None) -> str | None:
    """Arm of a client, "treatment" or "control"; None for one in the holdout or in another experiment's layer.

    stored: the arm of the client's first exposure. It wins, so that a ramp moves new clients only. Raises ValueError
    for a stored arm that is none and for an empty id.

    >>> assign(Experiment("ltr_v42:1", 3000), "c1"), assign(Experiment("ltr_v42:1", 3000), "c0")
    ('treatment', 'control')
    >>> assign(Experiment("ltr_v42:1", 5000), "c0", stored="control")
    'control'
    """
    if stored is not None and stored not in ARMS:
        raise ValueError(f"stored arm {stored!r} is not one of {', '.join(ARMS)}")
    own = bucket(experiment.salt, client_id)
    if stored is not None:
        return stored
    if experiment.holdout_salt is not None and bucket(experiment.holdout_salt, client_id) < experiment.holdout_points:
        return None
    if experiment.layer_salt is not None:
        place = bucket(experiment.layer_salt, client_id)
        if not experiment.layer_from <= place < experiment.layer_to:
            return None
    return TREATMENT if own < experiment.treatment_points else CONTROL
