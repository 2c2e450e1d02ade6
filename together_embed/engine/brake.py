"""When nothing may go out, and how one careful request finds out that it may again.

A refusal that names a time, or one that leaves nothing in flight, holds back all calls
of a client. After the wait one request goes out alone. Named times can be wrong: a
constant 60 was seen where a place was free after 2. So the first probe goes out after
a share of the time, each refused one doubles the share, and the share that was enough
is where the next wait begins. Each wait is jittered: clients do not return together.
"""

from __future__ import annotations

import math

from together_embed.engine.retry import Policy
from together_embed.engine.signals import Permit

DOUBT = 1 / 32
"""The share of a named time after which it is first put to the test: of the longest
that is believed, 60 s, a probe after 2."""
LEAST_TRUST = 1 / 64
"""A share this small says that the server's times mean nothing; they are ignored."""
DARING = 0.5
"""After a probe that was right at once, the next wait is this much shorter."""
JITTER = 0.1
"""The share of a wait that is drawn by lot."""
PASSING = 60.0
"""Seconds after a right answer for which refusals are taken for a limit that passes:
one by the minute, the longest that is common, refuses for as long."""
LONG = 2.0
"""Seconds: after a longer pause nothing is known of what the server can carry now."""


class Brake:
    """Holds everybody back.

    Attributes:
        open_at: Nothing goes out before.
        probing: One request alone may go out, until one is right.
    """

    def __init__(self, policy: Policy) -> None:
        self.open_at = 0.0
        self.probing = False
        self._policy = policy
        self._trust = DOUBT
        self._since = -1  # permits up to this serial say nothing new
        self._on_at = 0.0
        self._named_until = 0.0
        self._served_at = -math.inf  # when a right answer came
        self._failures = 0  # in a row, of probes too

    def hint(self, seconds: float | None) -> float | None:
        """Return a named time if this server's times have meant something."""
        return None if self._trust <= LEAST_TRUST else seconds

    def serves(self, now: float) -> bool:
        """Whether a server that refuses has given right answers of late."""
        return now < self._served_at + PASSING

    def is_early(self, permit: Permit, hint: float | None) -> bool:
        """Whether this is a probe that says only that it is too early.

        It went out before the named time was over, or no time is named.
        """
        after = permit.serial > self._since
        early = hint is None or permit.given_at < self._named_until
        return self.probing and after and early

    def pull(self, permit: Permit, now: float, hint: float | None, newest: int) -> bool:
        """Hold everybody back after a refusal.

        Returns:
            Whether the refusal was to be expected, since the probe went out before the
            named time was over. Such a one is no failure of the batch.
        """
        early = self.probing and permit.given_at < self._named_until
        if permit.serial <= self._since:  # of the same burst: a longer time counts
            if hint is not None:
                self._named_until = max(self._named_until, now + hint)
                self.open_at = max(self.open_at, now + self._share(hint))
            return early
        if not self.probing:
            self._on_at = now
        self._failures += 1
        self._since = newest
        if hint is None:
            self._named_until = now
            self.open_at = now + self._policy.backoff(self._failures)
        else:
            if self.probing:
                self._trust = min(1.0, 2 * self._trust)
            self._named_until = now + hint
            self.open_at = now + self._share(hint)
        self.probing = True
        return early

    def release(self, permit: Permit, now: float) -> float:
        """Let go after a request that was right; return for how long it was held."""
        self._served_at = now
        if not self.probing or permit.serial <= self._since:
            return 0.0
        if self._failures == 1:
            self._trust = max(LEAST_TRUST, self._trust * DARING)
        self.probing = False
        self._failures = 0
        return now - self._on_at

    def _share(self, hint: float) -> float:
        return hint * self._trust * (1 + JITTER * self._policy.random())
