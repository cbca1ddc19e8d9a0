"""Whole numbers from 0 to 199 in English, French and Spanish words."""

from __future__ import annotations

_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
_ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_FRENCH = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf"
)
_FRENCH_TENS = "vingt trente quarante cinquante soixante"
_SPANISH = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés "
    "veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve"
)
_SPANISH_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"


def _word(words: str, place: int) -> str:
    return words.split()[place]


def english(number: int) -> str:
    """`eighty-nine`, `one hundred and five`."""
    if number >= 100:
        rest = number - 100
        return "one hundred" + (f" and {english(rest)}" if rest else "")
    if number < 20:
        return _word(_ENGLISH, number)
    tens, ones = divmod(number, 10)
    return _word(_ENGLISH_TENS, tens - 2) + (f"-{_word(_ENGLISH, ones)}" if ones else "")


def french(number: int) -> str:
    """`quatre-vingt-neuf`, `soixante et onze`, `cent cinq`; as written before 1990."""
    if number >= 100:
        rest = number - 100
        return "cent" + (f" {french(rest)}" if rest else "")
    if number < 20:
        return _word(_FRENCH, number)
    if number >= 80:
        return "quatre-vingts" if number == 80 else f"quatre-vingt-{_word(_FRENCH, number - 80)}"
    tens = min(number // 10, 6)  # seventy is sixty and ten
    word, ones = _word(_FRENCH_TENS, tens - 2), number - 10 * tens
    if not ones:
        return word
    return (
        f"{word} et {_word(_FRENCH, ones)}" if ones in {1, 11} else f"{word}-{_word(_FRENCH, ones)}"
    )


def spanish(number: int) -> str:
    """`ochenta y nueve`, `veintiuno`, `ciento cinco`."""
    if number == 100:
        return "cien"
    if number > 100:
        return f"ciento {spanish(number - 100)}"
    if number < 30:
        return _word(_SPANISH, number)
    tens, ones = divmod(number, 10)
    return _word(_SPANISH_TENS, tens - 3) + (f" y {_word(_SPANISH, ones)}" if ones else "")
