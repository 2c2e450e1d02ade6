"""The vectors of the local endpoint: the same everywhere, and near where texts are."""

import os
import struct
import subprocess
import sys

import pytest

from together_embed.local.hashing import embed

PROGRAM = (
    "import hashlib, struct, sys;"
    "from together_embed.local.hashing import embed;"
    "v = embed('Ships, and the Sea! \\u00e9t\\u00e9 \\u6d77', 96);"
    "sys.stdout.write(hashlib.sha256(struct.pack('<96d', *v)).hexdigest())"
)
# Computed once with Python 3.11; every other version has to agree.
DIGEST = "f72a6d2f4c041e9cf0665732101ea1235a14edc90ab7b006ecd99e52c2c365a0"


def near(one: str, other: str) -> float:
    return sum(a * b for a, b in zip(embed(one), embed(other), strict=True))


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_another_process_computes_the_same_bits(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == DIGEST


@pytest.mark.parametrize("text", ["", " ", "?!", "the", "a sea", "\ud800", "x" * 99999])
@pytest.mark.parametrize("dimension", [1, 2, 256, 1024])
def test_every_text_gets_a_vector_of_unit_length(text: str, dimension: int) -> None:
    vector = embed(text, dimension)
    assert len(vector) == dimension
    assert sum(number * number for number in vector) == pytest.approx(1, abs=1e-6)


def test_every_number_is_exact_in_float32() -> None:
    vector = embed("a text with a number of words in it")
    assert list(struct.unpack("<256f", struct.pack("<256f", *vector))) == vector
    assert len(set(vector)) > 5


def test_different_texts_get_different_vectors() -> None:
    assert len({tuple(embed(f"text number {n}")) for n in range(2000)}) == 2000


@pytest.mark.parametrize(
    ("question", "answer", "others"),
    [
        (
            "How do I retry a failed request?",
            "A request that failed is retried with a growing delay.",
            ["Vectors are stored in SQLite.", "How do I install it with pip?"],
        ),
        (
            "which animals live in the sea",
            "Whales are the largest of the animals that live in the oceans and seas.",
            ["The which and the that, in the how of the why.", "Trains run on rails."],
        ),
        (
            "batching embeddings",
            "Texts are embedded in batches of 100.",
            ["The key is read from the environment.", "Bats sleep by day."],
        ),
    ],
)
def test_a_question_is_nearest_to_the_text_that_shares_its_words(
    question: str, answer: str, others: list[str]
) -> None:
    assert all(near(question, answer) > near(question, other) for other in others)


def test_a_word_said_often_does_not_drown_the_others() -> None:
    often = "whale " * 50 + "harpoon"
    assert near(often, "harpoon") > 0.1
    assert near("whale " * 50, "whale") == pytest.approx(1)


def test_case_and_punctuation_hardly_matter_and_spelling_a_little() -> None:
    assert near("Open the gate!", "open THE gate") == pytest.approx(1)
    assert near("normalisation", "normalization") > 0.3
    assert near("normalisation", "temperature") < 0.15
