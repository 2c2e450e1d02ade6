"""A small library of facts, and a question for each that only one of them answers.

The endpoint counts words, so each question shares words with its own fact alone. The
fillers put the facts into several requests; a fact stands first and one stands last,
so that a row that is lost or misplaced at either end is missed.
"""

from __future__ import annotations

QUESTIONS = {
    "What does the heron wait for?": "The heron waits for fish in shallow water.",
    "How does granite form from magma?": "Granite forms when magma cools below ground.",
    "What does a sourdough starter need?": "A sourdough starter needs flour and time.",
    "Which star do sailors steer by?": "Sailors steer by the pole star at night.",
    "Who tunes the cathedral organ?": "The organ of the cathedral is tuned each May.",
    "How is copper ore smelted?": "Copper is smelted from its ore with charcoal.",
    "When do swallows leave the barn?": "Swallows leave the barn before October.",
    "How do lighthouses warn ships?": "Lighthouses warn ships of rocks by their lamps.",
}
_FILLERS = [
    f"Ledger page {page}: {page * 7} sacks of barley, {page * 3} barrels of nails."
    for page in range(1, 33)
]
_FACTS = [*QUESTIONS.values()]
TEXTS = [*_FACTS[:3], *_FILLERS, *_FACTS[3:]]
"""What is put into a store: 40 texts."""
