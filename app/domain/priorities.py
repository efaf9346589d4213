"""The three bands in which predictions wait, and how waiting moves one up. Knows no user and no queue."""

from enum import IntEnum

# A prediction that has waited so long counts as one band higher, so that nobody starves behind a steady
# stream of a higher one: after two minutes everything is interactive.
AGEING_SECONDS = 60.0


def age_band(priority: int, seconds: float) -> int:
    """The band of what has waited so long."""
    return max(0, priority - int(seconds / AGEING_SECONDS))


class Priority(IntEnum):
    """Lower numbers are claimed first. What a caller may ask for is set for each user."""

    INTERACTIVE = 0
    DEFAULT = 1
    BATCH = 2

    @property
    def word(self) -> str:
        """As callers write it."""
        return self.name.lower()


WORDS = tuple(priority.word for priority in Priority)


def from_word(word: str) -> Priority:
    """KeyError for a word that is none of WORDS."""
    return Priority[word.upper()]
