"""The canonical form of usernames and emails. All spellings of one identifier have the same canonical form."""

import hashlib
import re
import unicodedata

import idna

# Default_Ignorable_Code_Point of https://www.unicode.org/Public/UNIDATA/DerivedCoreProperties.txt
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# The characters that NFKC maps to @.
_AT = re.compile("[@\ufe6b\uff20]")
# Labels of a domain have at most 63 characters. idna takes 15 ms to reject some longer ones.
_LONG_LABEL = re.compile(r"[^.]{64}")
_MAX_BYTES = 2048
_DIGEST_BYTES = 16


def canonical(identifier: str) -> str:
    """The canonical form of a username or email. Idempotent. At most 2,048 bytes, because an index holds keys of 2,704.

    The part before the last @, and a text without @: NFKC_Casefold (Unicode, section 3.13.5). The domain: A-labels of
    IDNA 2008, mapped by UTS 46. An invalid domain is case folded.
    """
    if identifier.isascii():
        return identifier.lower()
    *local, last = _AT.split(identifier)
    folded = _casefold("@".join(local))
    return _shorten(f"{folded}@{_domain(last)}" if any(local) else _casefold(identifier))


def _casefold(text: str) -> str:
    while True:
        folded = _IGNORABLE.sub("", unicodedata.normalize("NFKC", text).casefold())
        folded = unicodedata.normalize("NFKC", folded)
        if folded == text:
            return text
        text = folded


def _domain(text: str) -> str:
    folded = _casefold(text)
    # `text` first, because ß and ss are different domains.
    for spelling in (text, folded):
        try:
            mapped = idna.uts46_remap(spelling, std3_rules=False)
            if not _LONG_LABEL.search(mapped):
                return idna.encode(idna.decode(mapped)).decode()
        except idna.IDNAError:
            continue
    return folded


def _shorten(key: str) -> str:
    """A key of at most _MAX_BYTES. A digest of the whole key replaces the end of a longer key."""
    raw = key.encode()
    if len(raw) <= _MAX_BYTES:
        return key
    digest = hashlib.blake2b(raw, digest_size=_DIGEST_BYTES).hexdigest()
    return raw[: _MAX_BYTES - len(digest)].decode(errors="ignore") + digest
