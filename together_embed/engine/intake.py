"""What a call's texts become before they are sent: checked, prefixed, measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from together_embed.caution import warn
from together_embed.engine import batching
from together_embed.engine.group import Group
from together_embed.engine.lengths import Limit
from together_embed.engine.plan import Plan
from together_embed.engine.rows import Form
from together_embed.engine.stats import Tally
from together_embed.errors import InputError, LongInputWarning


class Intake:
    """Makes groups of the texts of one call.

    Args:
        plan: The client's.
        form: How the call wants its rows.
        prefix: What goes in front of each text.
        lenient: Whether a text that cannot be sent leaves the others alone.
        tally: Counts the texts that are too long.
        numbers: What the user calls the texts, where they are some of a longer list.
    """

    def __init__(
        self,
        plan: Plan,
        form: Form,
        prefix: str,
        tally: Tally,
        *,
        lenient: bool,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self._plan = plan
        self._form = form
        self._prefix = prefix
        self._tally = tally
        self._lenient = lenient
        self._numbers = numbers
        self._warned = 0  # groups

    def group(
        self, texts: Sequence[str], start: int, hidden: str | None = None
    ) -> Group:
        """Make a group of texts.

        Args:
            texts: What was handed in.
            start: The number of the first of them within the whole call.
            hidden: A text that goes out along with others, for a store to see.

        Raises:
            TypeError, InputError: One of them cannot be sent; nothing of the group is.
        """
        unfit = self._unfit(texts, start)
        limit, prefix, shape = self._plan.limit, self._prefix, self._plan.shape
        if limit is None:
            sent = [prefix + text for text in texts] if prefix else texts
            group = Group(sent, start, self._form, shape, hidden=hidden)
            self._leave_out(group, unfit)
            return group
        fit = limit.fit(_countable(texts, start, unfit), prefix, start)
        group = Group(fit.sent, start, self._form, shape, fit.weights, hidden)
        group.lengths = {number: len(texts[number - start]) for number in fit.long}
        if fit.long and limit.on_long != "error":
            self._tell_of(limit, fit.long)
        elif fit.long and not self._lenient:
            raise limit.error(fit.long)
        else:
            unfit.update((index, limit.error((index,))) for index in fit.long)
        self._leave_out(group, unfit)
        return group

    def _unfit(self, texts: Sequence[str], start: int) -> dict[int, InputError]:
        blank = self._plan.allow_blank
        try:
            batching.check(texts, start, blank=blank)
        except InputError:
            if not self._lenient:
                raise
            return batching.unfit(texts, start, blank=blank)
        return {}

    def _leave_out(self, group: Group, unfit: dict[int, InputError]) -> None:
        def error(indices: tuple[int, ...]) -> InputError:
            found = unfit[indices[0]]
            found.indices = indices
            return found

        if unfit:
            group.leave_out(unfit, error)

    def length(self, group: Group, place: int) -> int:
        """Return how many characters the text has that is sent at a place of a group.

        That is the user's text: without its prefix, and with all of its pieces.
        """
        whole = (group.lengths.get(index) for index in group.indices(place, place + 1))
        sent = len(group.unique[place]) - len(self._prefix)
        return next(filter(None, whole), sent)

    def _tell_of(self, limit: Limit, long: tuple[int, ...]) -> None:
        """Say of two groups at most that texts are not sent as they are.

        Most calls have one. More would be too many, and the tally has all.
        """
        self._tally.long += len(long)
        self._warned += 1
        if self._warned <= 2:
            if self._numbers is not None:
                long = tuple(self._numbers[number] for number in long)
            rest = "; later ones are counted in stats.long, not named"
            words = limit.warning(long) + (rest if self._warned == 2 else "")
            warn(LongInputWarning(words))


def _countable(
    texts: Sequence[str], start: int, unfit: Mapping[int, InputError]
) -> Sequence[str]:
    """Put blank texts, which are not measured, in the place of what is not sent."""
    if not unfit:
        return texts
    blank = "  "
    while blank in texts:  # it must be nobody's who gets a row
        blank += " "
    return [
        text if number not in unfit or text.isspace() else blank if text else " "
        for number, text in enumerate(texts, start)
    ]
