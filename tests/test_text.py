"""Words, stems and scores: the meaning of text search."""

from __future__ import annotations

import math
from random import Random

import apsw
import pytest

from mycelia_storage.stemming import stem
from mycelia_storage.text import (
    ENGLISH_STOP_WORDS,
    K1,
    LONGEST_WORD,
    MOST_TERMS,
    B,
    Occurrences,
    idf,
    occurrences,
    query_terms,
    rank,
    rarest,
    terms,
    words,
)

SEED = 20_261_121


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Hello, World!", ["hello", "world"]),
        ("user_name-42 3.14 don't", ["user", "name", "42", "3", "14", "don", "t"]),
        ("Café CAFE\u0301 naïve Ångström ŁÓDŹ", ["cafe", "cafe", "naive", "angstrom", "łodz"]),
        ("STRASSE straße ﬁn", ["strasse", "strasse", "fin"]),
        ("İstanbul ﬀ Ⅷ", ["istanbul", "ff", "viii"]),
        ("Ёлка ёлка ЕЛКА й", ["елка", "елка", "елка", "и"]),
        ("Ελλάδα ΣΊΣΥΦΟΣ", ["ελλαδα", "σισυφοσ"]),
        ("東京タワー2024年", ["東", "京", "タ", "ワ", "ー", "2024", "年"]),
        ("人々 ヽ コーヒー2", ["人", "々", "ヽ", "コ", "ー", "ヒ", "ー", "2"]),
        ("日本語のテスト", ["日", "本", "語", "の", "テ", "ス", "ト"]),
        ("한국어 검색", ["한국어", "검색"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("สวัสดี ภาษาไทย", ["สวัสดี", "ภาษาไทย"]),
        ("שָׁלוֹם مَرْحَبًا", ["שָׁלוֹם", "مَرْحَبًا"]),
        ("\U0001f600 ok \U0001f468\u200d\U0001f469\u200d\U0001f467 👍🏽", ["ok"]),
        ("a\0b\ud800c\u00a0d\u200be\ufefff", ["a", "b", "c", "d", "e", "f"]),
        ("½ x² №5", ["1", "2", "x2", "no5"]),
        ("\uff11\uff12\uff13 \uff21\uff22\uff23 \uff71", ["123", "abc", "ア"]),
        ("\U00020000\U0002a6d6", ["\U00020000", "\U0002a6d6"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_ascii_texts_go_by_the_same_rules_as_all_texts() -> None:
    random = Random(SEED)
    for _ in range(300):
        text = "".join(chr(random.randrange(128)) for _ in range(random.randrange(60)))
        # A mark that stands alone is no word, yet makes the text one that is not ASCII.
        assert words(text) == words(text + " \u0301"), repr(text)


def test_long_words_are_cut() -> None:
    assert words("x" * 1_000) == ["x" * LONGEST_WORD]
    assert words("é" * 1_000) == ["e" * LONGEST_WORD]
    assert query_terms("x" * 70, None) == query_terms("x" * 90, None)
    assert len(words("word " * 100_000)) == 100_000


def test_stop_words_go_and_nothing_else() -> None:
    assert terms("The cat and THE dogs", "english") == ["cat", "dog"]
    assert terms("The cat and THE dogs", None) == ["the", "cat", "and", "the", "dogs"]
    assert terms(" ".join(sorted(ENGLISH_STOP_WORDS)), "english") == []
    assert query_terms("running runs RUN ran, and run", "english") == ["ran", "run"]


# -- stems -------------------------------------------------------------------------------------------------------------

ENGLISH = """abilities able abruptly absence academies accidental achieve adoption agreed allowance analogies
apologies arrival babies baking beautiful became believable bled caresses cats celebration cement
collaborated communism conditional conflated controlling conversation counselling cried dancing
decisiveness defensible dependent died differently digitizer dogs driving dying earlier effective
electrical electricity enjoyed failing falling families feed feudalism filing flies formality
formative fried gardening generalizations geology goodness happily happy hesitancy homologous
hopefulness hoping hopping inference interesting irritant kindness lazily logically luggage lying
matting meetings memories mess motoring mushrooms news operator opposing organizations oscillators
painting parties plastered ponies possibly predication probate proceed radically rational
recommending relational relationships replacement revival rolling running sensibilities
sensitiveness singing sized skies sky snowed sponsored studies succeed swimming tanned techniques
ties traditional travelled trees triplicate troubled university valency vietnamization vileness
visiting volunteered walked weddings wishes wolves writing yearly yoga zoology""".split()  # noqa: SIM905
STARTS = "a be con dis ex gr h in lo mi n over pl qu re st tr u v wh y z".split()  # noqa: SIM905
MIDDLES = "ab ail at bl ee eed er iz ll mn o or ous s ss t ti um vv w x y zz".split()  # noqa: SIM905
ENDS = """s es ed ing ies sses ational tional enci anci izer bli abli alli entli eli ousli ization ation ator alism
iveness fulness ousness aliti iviti biliti logi icate ative alize iciti ical ful ness al ance ence er ic able ible ant
ement ment ent ion sion tion ou ism ate iti ous ive ize e ll y ly eed ying ied""".split()  # noqa: SIM905


def by_sqlite(found: list[str]) -> list[str]:
    """The stems that FTS5's porter tokenizer gives."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(word, tokenize='porter unicode61')")
    connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, instance)")
    connection.executemany("INSERT INTO t VALUES (?)", [(word,) for word in found])
    stems = [stem for (stem,) in connection.execute("SELECT term FROM v ORDER BY doc")]
    connection.close()
    return stems


def test_stems_are_those_of_sqlite() -> None:
    random = Random(SEED)
    made = {
        random.choice(STARTS) + "".join(random.choices(MIDDLES, k=random.randrange(3))) + random.choice(ENDS)
        for _ in range(4_000)
    }
    letters = {"".join(random.choices("abcdeilnostyz", k=random.randrange(1, 9))) for _ in range(1_000)}
    # Where SQLite departs from the algorithm: it takes "yy" for a double consonant, and looks at no suffix that is all
    # of the word.
    found = sorted(word for word in made | letters | set(ENGLISH) if "yy" not in word and word not in ("eed", "ies"))
    wrong = [
        (word, stem(word), theirs) for word, theirs in zip(found, by_sqlite(found), strict=True) if stem(word) != theirs
    ]
    assert wrong == [], f"seed {SEED}"


def test_only_ascii_words_have_stems() -> None:
    for word in ("ёлками", "cafés2", "naïvely", "東", "42s", "it", "", "x" * 64):
        assert stem(word) == word


# -- scores ------------------------------------------------------------------------------------------------------------


def test_an_entry_of_average_length_scores_as_worked_out_by_hand() -> None:
    held = {"a": Occurrences({"raven": 2.0, "owl": 1.0}, 3), "b": Occurrences({"owl": 1.0}, 3)}
    expected = math.log(1 + (2 - 1 + 0.5) / (1 + 0.5)) * 2 * (K1 + 1) / (2 + K1 * (1 - B + B * 1))
    assert rank(["raven"], held) == {"a": pytest.approx(expected, rel=1e-7)}
    both = rank(["owl", "raven"], held)
    assert both["a"] > both["b"] > 0
    assert rank(["tree"], held) == {}
    assert rank([], held) == {}
    assert rank(["raven"], {}) == {}


def test_weights_lists_and_what_is_no_text() -> None:
    kept = occurrences(
        [("Garden gardens", 1.0), (["garden", 7, None, ["garden"]], 2.5), ({"x": "garden"}, 9)], "english"
    )
    assert kept == Occurrences({"garden": 4.5}, 3)
    for nothing in (None, 7, True, {}, b"garden", "", "the of"):
        assert occurrences([(nothing, 1.0)], "english") == Occurrences({}, 0)


def test_a_word_that_all_hold_still_counts() -> None:
    assert idf(10, 10) > 0
    assert idf(10, 1) > idf(10, 2) > idf(10, 10)


def test_of_many_terms_the_rarest_are_looked_up() -> None:
    numbers = {f"t{number:03}": number % 7 for number in range(200)}
    found = rarest(numbers)
    assert len(found) == MOST_TERMS
    assert [numbers[term] for term in found] == sorted(numbers[term] for term in found)
    assert 0 not in [numbers[term] for term in found]
    assert found[:3] == ["t001", "t008", "t015"]
