"""The law of motion: linear, exact for any length of time, and bounded at read-out whatever falls on it.

**The law.** A latent state `x` of n leaky channels follows ``dx/dt = A x`` between stimuli, and a stimulus adds its impulse `u`, so that

    x(t) = Σᵢ exp(A (t − tᵢ)) uᵢ                                                                                   (1)

over the stimuli i of the path. `exp` of a sum of times is a product (semigroup), and (1) is a sum whose order does not matter. That is
all that late, doubled and permuted arrivals, explanation and rewinding rest on. A second vector, the exposure `e`, follows the same
kind of law, ``de/dt = B e``, and a stimulus adds ``|u|`` to it. Both are kept in one vector ``z = (x, e)`` of 2n numbers with the
generator ``G = diag(A, B)``.

**The exposure covers the state.** Let ``M`` be the Metzler majorant of `A`: ``Mᵢᵢ = Aᵢᵢ``, ``Mᵢⱼ = |Aᵢⱼ|``. `B` is `M` with a
slower diagonal, ``Bᵢᵢ = Aᵢᵢ/ρ`` with ρ > 1. Write ``A = −cI + P`` with c so large that the diagonals of P, of ``M + cI`` and of
``B + cI`` are not negative. Then ``|P| = M + cI ≤ B + cI`` elementwise, hence ``|Pᵏ| ≤ (M + cI)ᵏ ≤ (B + cI)ᵏ`` for each k, and
summing the exponential series and multiplying by ``exp(−ct)``

    |exp(A t)| ≤ exp(M t) ≤ exp(B t)      elementwise, for all t ≥ 0                                                (2)

With (1), ``|x(t)| ≤ Σ exp(B (t − tᵢ)) |uᵢ| = e(t)``: the exposure is never below the state's size.

**A flood is bounded.** The read-out is ``yᵢ = xᵢ / (1 + κᵢ eᵢ)``. By the line above, for any stimuli at all,
``|yᵢ| ≤ |xᵢ| / (1 + κᵢ|xᵢ|) < 1/κᵢ``.

**Recovery takes the same time whatever the flood's size.** Let T be the moment of the last stimulus. By (2) and ``|x(T)| ≤ e(T)``,
``|x(T+s)| ≤ exp(M s) e(T)``, while ``e(T+s) = exp(B s) e(T)``. Hence, with ``e(T) ≥ 0``,

    |yᵢ(T+s)| ≤ |xᵢ| / (κᵢ eᵢ) ≤ Rᵢ(s)/κᵢ,       Rᵢ(s) = maxⱼ (exp(M s))ᵢⱼ / (exp(B s))ᵢⱼ ≤ 1                          (3)

(over the j where the denominator is not 0; there the numerator is 0 too), and nothing of the flood's size is left in it. For a channel
of half-life h without couplings, ``R(s) = 2^(−(s/h)(1 − 1/ρ))``. Over a set of channels that is fed by no channel outside of it,
``R = maxᵢ Rᵢ`` never grows, because ``exp(M(s+h)) = exp(M h) exp(M s) ≤ R(h) exp(B h) · R(s) exp(B s)`` gives ``R(s+h) ≤ R(s) R(h)``.
That is why `recovery_time` may bisect.

Times are in seconds, rates in 1/s, states in level units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]

EIGENBASIS_CONDITION_LIMIT: Final = 1e3
"""Up to this condition of the eigenvectors the eigenbasis is used. It costs about log10 of it in digits, and 1e-12 must stay."""

_LONGEST_RECOVERY_S: Final = 10 * 365 * 86_400.0

_HALVINGS: Final = 40
"""Bisections of a time that is known to a factor of 2: to 1e-12 of it."""


class UnsettledError(ValueError):
    """A generator under which something would grow or stay for ever.

    Attributes:
        channel: the one that takes the largest part in the offending mode, by |left · right eigenvector|: the right one alone would
            name what is merely driven by it.
        rate: the real part of the eigenvalue, in 1/s; not negative.
    """

    def __init__(self, channel: str, rate: float) -> None:
        super().__init__(f"channel {channel} does not settle: an eigenvalue has the real part {rate:.3g} 1/s")
        self.channel = channel
        self.rate = rate


class Propagator:
    """Applies ``exp(G t)`` for a fixed generator G of shape (m, m), through its eigenbasis where that is well conditioned.

    Args:
        generator: shape (m, m), in 1/s.
    """

    __slots__ = ("_generator", "_inverse", "_values", "_vectors", "uses_eigenbasis")

    def __init__(self, generator: Matrix) -> None:
        self._generator = generator
        values, vectors = np.linalg.eig(generator)
        self.uses_eigenbasis = bool(np.linalg.cond(vectors) <= EIGENBASIS_CONDITION_LIMIT)
        if self.uses_eigenbasis:
            self._values, self._vectors, self._inverse = values, vectors, np.linalg.inv(vectors)

    def advance(self, state: Vector, seconds: float) -> Vector:
        """Return ``exp(G·seconds) @ state``; after no time exactly the state itself.

        Raises:
            ValueError: negative seconds. Backwards the law grows without bound, so it is never asked.
        """
        if seconds == 0.0:
            return state
        if seconds < 0.0:
            raise ValueError("a state is never propagated backwards")
        if not self.uses_eigenbasis:
            moved: Vector = scipy.linalg.expm(self._generator * seconds) @ state
            return moved
        # By `@` and not `dot`, which gives up the interpreter's lock each time and then waits for it.
        advanced: Vector = (self._vectors @ (np.exp(self._values * seconds) * (self._inverse @ state))).real
        return advanced

    def advance_each(self, states: Matrix, seconds: Vector) -> Matrix:
        """Return ``exp(G·secondsₖ) @ statesₖ`` for each row k of `states`, shape (k, m): `advance` for many, but for rounding."""
        if self.uses_eigenbasis:
            fading = np.exp(np.multiply.outer(seconds, self._values))
            advanced: Matrix = ((fading * (states @ self._inverse.T)) @ self._vectors.T).real
            return advanced
        if not len(states):
            return states
        return np.stack([self.advance(state, float(elapsed)) for state, elapsed in zip(states, seconds, strict=True)])


class Dynamics:
    """The law of one temperament.

    Args:
        channels: their n names.
        rates: A, shape (n, n), in 1/s, with negative diagonal.
        slowness: ρ > 1, by how much more slowly the exposure fades than what it measures.

    Raises:
        UnsettledError: an eigenvalue of A or B has a real part that is not negative.
        ValueError: shapes, a diagonal that is not negative, or ρ ≤ 1.
    """

    __slots__ = ("_latent", "_propagator", "channels", "exposure_rates", "majorant", "rates")

    def __init__(self, channels: Sequence[str], rates: Matrix, slowness: float) -> None:
        size = len(channels)
        diagonal = np.diagonal(rates)
        if rates.shape != (size, size) or not (np.isfinite(rates).all() and (diagonal < 0.0).all() and slowness > 1.0):
            raise ValueError("rates must be a finite square matrix with negative diagonal, and slowness above 1")
        self.channels = tuple(channels)
        self.rates = rates
        self.majorant = np.abs(rates)
        np.fill_diagonal(self.majorant, diagonal)
        self.exposure_rates = self.majorant.copy()
        np.fill_diagonal(self.exposure_rates, diagonal / slowness)
        for matrix in (self.rates, self.exposure_rates):
            _require_settling(self.channels, matrix)
        self._latent = Propagator(self.rates)
        self._propagator = Propagator(scipy.linalg.block_diag(self.rates, self.exposure_rates))

    @property
    def size(self) -> int:
        """The number n of channels."""
        return len(self.channels)

    @property
    def uses_eigenbasis(self) -> bool:
        """Whether states are advanced through the eigenbasis, in microseconds."""
        return self._propagator.uses_eigenbasis

    def rest(self) -> Vector:
        """Return the state at which nothing has happened: 2n zeros."""
        return np.zeros(2 * self.size)

    def impulse(self, latent: Vector) -> Vector:
        """Return what a stimulus adds to z, shape (2n,): its impulse of shape (n,) and the impulse's size."""
        return np.concatenate((latent, np.abs(latent)))

    def advance(self, state: Vector, seconds: float) -> Vector:
        """Return z after this many seconds without a stimulus. Shape (2n,)."""
        return self._propagator.advance(state, seconds)

    def remaining(self, latents: Matrix, seconds: Vector) -> Matrix:
        """Return what is left of each impulse (a row of `latents`, shape (k, n)) after its own time; shape (k, n)."""
        return self._latent.advance_each(latents, seconds)

    def half_lives(self, latents: Matrix, first: int) -> Vector:
        """Return for each row of `latents` after how many seconds half of it has gone; shape (k,). 0 where there is nothing.

        How much there is of it is the sum of the sizes of its first `first` channels. That sum only falls wherever none of them feeds
        more into the others than it loses; then there is one such moment, and otherwise this finds the first that doublings of the
        time meet. The size of what is asked about does not matter: it is scaled to 1 before.
        """
        sizes = np.abs(latents[:, :first]).sum(axis=1)
        there = sizes > 0.0
        scaled = latents[there] / sizes[there, None]

        def is_late(seconds: Vector) -> npt.NDArray[np.bool_]:
            late: npt.NDArray[np.bool_] = np.abs(self.remaining(scaled, seconds)[:, :first]).sum(axis=1) <= 0.5
            return late

        late = np.full(len(scaled), 1.0)
        while not (done := is_late(late)).all():
            late[~done] *= 2.0
        early = np.where(late > 1.0, late / 2.0, 0.0)
        for _ in range(_HALVINGS):
            middle = 0.5 * (early + late)
            passed = is_late(middle)
            early, late = np.where(passed, early, middle), np.where(passed, middle, late)
        found = np.zeros(len(latents))
        found[there] = late
        return found

    def recovery_ratios(self, seconds: float) -> Vector:
        """Return R(s) of formula (3) for each channel, shape (n,): the share of 1/κ that a read-out can still have then."""
        faster = scipy.linalg.expm(self.majorant * seconds)
        slower = scipy.linalg.expm(self.exposure_rates * seconds)
        # Both are not negative by (2); what is, is rounding.
        ratios = np.divide(np.maximum(faster, 0.0), slower, out=np.zeros_like(faster), where=slower > 0.0)
        largest: Vector = np.minimum(ratios.max(axis=1), 1.0)
        return largest

    def recovery_time(self, delta: float, *, first: int | None = None) -> float:
        """Return after how many seconds every read-out is below `delta`/κ for good, whatever had fallen before.

        Args:
            delta: the share of each read-out's bound 1/κ that may be left, in 0…1 (both excluded).
            first: look only at this many channels from the start; they must be fed by none of the others.
        """
        if not 1e-9 <= delta < 1.0:
            raise ValueError("delta must be from 1e-9 to less than 1")
        channels = slice(first)
        late = 1.0
        while self.recovery_ratios(late)[channels].max() > delta:
            late *= 2.0
            if late > _LONGEST_RECOVERY_S:
                raise ValueError("does not recover within ten years")
        early = 0.0
        while late - early > 1e-3 * late:
            middle = 0.5 * (early + late)
            if self.recovery_ratios(middle)[channels].max() > delta:
                early = middle
            else:
                late = middle
        return late


def _require_settling(channels: Sequence[str], matrix: Matrix) -> None:
    values, left, right = scipy.linalg.eig(matrix, left=True, right=True)
    worst = int(np.argmax(values.real))
    # A rate that is negative by rounding only would fade over the age of the universe.
    if values[worst].real > -1e-12:
        participation = np.abs(left[:, worst] * right[:, worst])
        raise UnsettledError(channels[int(np.argmax(participation))], float(values[worst].real))
