"""Requests whose boundaries a server or a proxy could read in different ways.

Each case begins a connection. Behind it follows a GET that is marked `second`, unless the case says otherwise. The
first request is marked `first`; a request inside its body, which must not be answered, is marked `inner`. A mark is
the X-Request-ID of a request, which the service returns and logs, with the number of the exchange.
"""

from dataclasses import dataclass

NUMBER = "-0000"
"""Stands behind each mark, for the number of the exchange."""
Answers = tuple[str, ...]
"""The marks of the answers on one connection, in order. Refusals by HTTP itself have no mark and are not in it."""

BOTH: Answers = ("first", "second")
REFUSED: tuple[Answers, ...] = ((), ("first",))
"""The connection ends with the first request. If that has an answer, its status is at least 400."""


@dataclass(frozen=True)
class Case:
    """Bytes, and the sequences of answers that RFC 9112 allows."""

    name: str
    data: bytes
    allowed: tuple[Answers, ...]
    by_caddy: tuple[Answers, ...] = ()
    """What Caddy does beside that: it reads on behind a body that is malformed, or that the service did not read."""

    @property
    def is_valid(self) -> bool:
        """Whether every server has to answer both requests."""
        return self.allowed == (BOTH,)


def head(line: str, *headers: str | bytes, mark: str = "first") -> bytes:
    """The head of a request, with Host and a mark."""
    lines = [line, "Host: localhost", f"X-Request-ID: {mark}{NUMBER}", *headers]
    return b"\r\n".join(one.encode("latin-1") if isinstance(one, str) else one for one in lines) + b"\r\n\r\n"


def get(mark: str, *headers: str) -> bytes:
    return head("GET /api/health/live HTTP/1.1", *headers, mark=mark)


def numbered(data: bytes, number: int) -> bytes:
    """The bytes with this number behind each mark."""
    return data.replace(NUMBER.encode(), f"-{number:04}".encode())


def post(*headers: str | bytes, body: bytes = b"") -> bytes:
    """A POST that is marked `first`. Its body is no JSON: the answer is 400, and the connection stays open."""
    return head("POST /api/users HTTP/1.1", "Content-Type: application/json", *headers) + body


INNER = get("inner")
_CHUNKED = "Transfer-Encoding: chunked"
_BY_CHUNKS = (("first", "inner", "second"), *REFUSED)
"""The chunks end the body, so that what follows them is a request; or all is refused."""
_READ_ON = (("inner", "second"), ("second",), ("first", "inner", "second"), ("first", "second"))
_SECOND = (("second",),)
"""Caddy answers the first one with 502, without a mark."""
_LENGTH, _BODY = f"Content-Length: {len(INNER)}", INNER
_WHOLE = b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)
_SINGLE = b"".join(b"1\r\n%c\r\n" % one for one in INNER) + b"0\r\n\r\n"
_ENDED = b"0\r\n\r\n" + INNER
_EITHER = (BOTH, *REFUSED)
VALID = {
    "a request inside a body": post(_LENGTH, body=INNER),
    "a request inside a chunk": post(_CHUNKED, body=_WHOLE),
    "chunks of one byte": post(_CHUNKED, body=_SINGLE),
    "a chunk extension": post(_CHUNKED, body=_WHOLE.replace(b"\r\n", b';a="b";c\r\n', 1)),
    "chunk sizes with zeros and capitals": post(_CHUNKED, body=b"00A\r\n0123456789\r\n000\r\n\r\n"),
    "a mark in the trailer": post(
        _CHUNKED, body=_WHOLE[:-2] + b"X-Request-ID: inner-0000\r\nContent-Length: 5\r\n\r\n"
    ),
    "names in mixed case": post(_LENGTH.replace("Content-Length", "cOnTENT-lENGTH"), body=INNER),
    "chunked in capitals": post("transfer-encoding: CHUNKED", body=_WHOLE),
    "white space around the length": post(_LENGTH.replace(": ", ":  \t") + " \t", body=INNER),
    "white space before chunked": post("Transfer-Encoding:\tchunked", body=_WHOLE),
    "an absolute target": head("GET http://localhost/api/health/live HTTP/1.1"),
    "an absolute target in capitals": head("GET HTTP://LOCALHOST/api/health/live HTTP/1.1"),
    "Expect": post(_LENGTH, "Expect: 100-continue", body=INNER),
    "an empty body": post("Content-Length: 0"),
    "no chunk but the last": post(_CHUNKED, body=b"0\r\n\r\n"),
    "a Connection header that names the length": post("Connection: Content-Length", _LENGTH, body=INNER),
    "an upgrade to h2c": get("first", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    "other methods with a body": head("PROPFIND /api/users HTTP/1.1", _LENGTH) + INNER,
}
"""Every server has to answer both requests."""
LENIENT = [
    Case("the same length twice", post(_LENGTH, _LENGTH, body=_BODY), _EITHER),
    Case("the same length twice in one header", post(f"{_LENGTH}, {len(INNER)}", body=_BODY), _EITHER),
    Case("a folded header", post(_LENGTH, "X-Any: a\r\n b", body=_BODY), _EITHER),
    Case("a folded length", post(f"Content-Length:\r\n {len(INNER)}", body=_BODY), _EITHER),
    Case("a folded chunked", post("Transfer-Encoding:\r\n chunked", body=_ENDED), _BY_CHUNKS),
    Case("lines that end with LF", post(_LENGTH).replace(b"\r\n", b"\n") + _BODY, _EITHER),
    Case("one line that ends with LF", post("X-Any: a\nX-Other: b", _LENGTH, body=_BODY), _EITHER),
    Case("a length and chunks", post(f"Content-Length: {len(_ENDED)}", _CHUNKED, body=_ENDED), _BY_CHUNKS),
    Case("chunks and a length", post(_CHUNKED, f"Content-Length: {len(_ENDED)}", body=_ENDED), _BY_CHUNKS),
    Case("two codings", post("Transfer-Encoding: gzip, chunked", body=_ENDED), _BY_CHUNKS),
    Case("chunked twice", post(_CHUNKED, _CHUNKED, body=_ENDED), _BY_CHUNKS),
    Case("an empty coding", post("Transfer-Encoding: ,chunked", body=_ENDED), _BY_CHUNKS),
    Case("GET with a length", get("first", _LENGTH) + _BODY, _EITHER, _SECOND),
    Case("GET with chunks", get("first", _CHUNKED) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY), _EITHER, _SECOND),
    Case("OPTIONS with a length", head("OPTIONS /api/users HTTP/1.1", _LENGTH) + _BODY, _EITHER, _SECOND),
    Case("an empty line before the request", b"\r\n" + post(_LENGTH, body=_BODY), _EITHER),
    Case("OPTIONS *", head("OPTIONS * HTTP/1.1"), (*_EITHER, ("second",))),
    Case("CONNECT", head("CONNECT localhost:80 HTTP/1.1"), _EITHER),
    Case("HTTP/1.0 with a length", post(_LENGTH, body=_BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), _EITHER),
    Case("HTTP/1.0 with chunks", post(_CHUNKED, body=_ENDED).replace(b"HTTP/1.1", b"HTTP/1.0"), _BY_CHUNKS),
    Case("no Host", get("first").replace(b"Host: localhost\r\n", b""), _EITHER),
    Case("another target than Host", head("GET http://evil.example/api/health/live HTTP/1.1"), _EITHER),
    Case("a target with user", head("GET http://a@localhost/api/health/live HTTP/1.1"), _EITHER),
    Case("bytes beyond ASCII in a value", get("first", "X-Any: \xff\x80"), _EITHER),
    Case("a tab in a value", get("first", "X-Any: a\tb"), _EITHER),
    Case(
        "a Connection header that names Host",
        get("first", "Connection: Host, X-Request-ID"),
        ((), BOTH, ("second",)),
    ),
    Case("a chunk extension of 20 kB", post(_CHUNKED, body=b"1;" + b"a" * 20_000 + b"\r\n1\r\n0\r\n\r\n"), _EITHER),
]
"""Requests that a server may answer or refuse."""
_N = len(INNER)
_LENGTHS = ("-1", f"+{_N}", f"{_N:#x}", f"{_N} {_N}", "", "1e1", "9" * 30, f"{_N};", f'"{_N}"', "0x0")
_CODINGS = ("xchunked", "chunked, identity", "chunked;q=1", "\x0bchunked", "chun ked", '"chunked"', "chunked, xx")
_SIZES = (b"0x1", b"-1", b"G", b"", b" 1", b"F" * 17, b"1\x00", b"1 1", b"+1")
INVALID = [
    *(Case(f"the length {one[:20]!r}", post(f"Content-Length: {one}", body=_BODY), REFUSED) for one in _LENGTHS),
    *(Case(f"the coding {one!r}", post(f"Transfer-Encoding: {one}", body=_ENDED), REFUSED) for one in (*_CODINGS, "")),
    *(
        Case(
            f"the coding {one!r} and a length",
            post(f"Transfer-Encoding: {one}", "Content-Length: 5", body=_ENDED),
            REFUSED,
        )
        for one in _CODINGS
    ),
    *(Case(f"the chunk size {one!r}", post(_CHUNKED, body=one + b"\r\na\r\n" + _ENDED), REFUSED) for one in _SIZES),
    Case("two lengths", post("Content-Length: 5", f"Content-Length: {len(INNER)}", body=_BODY), REFUSED),
    Case("two lengths in one header", post(f"Content-Length: 5, {len(INNER)}", body=_BODY), REFUSED),
    Case("a space behind Content-Length", post(f"Content-Length : {len(INNER)}", body=_BODY), REFUSED),
    Case("a space behind Transfer-Encoding", post("Transfer-Encoding : chunked", body=_ENDED), REFUSED),
    Case("a tab behind Transfer-Encoding", post("Transfer-Encoding\t: chunked", body=_ENDED), REFUSED),
    Case("a space before the first header", post().replace(b"\r\nHost", b"\r\n Host", 1), REFUSED),
    Case("CR in a value", get("first", "X-Any: a\rX-Other: b"), REFUSED),
    Case("NUL in a value", get("first", "X-Any: a\0b"), REFUSED),
    Case("NUL in a name", get("first", "X-A\0ny: b"), REFUSED),
    Case("a space in a name", get("first", "X Any: b"), REFUSED),
    Case("no colon", get("first", "X-Any"), REFUSED),
    Case("no name", get("first", ": b"), REFUSED),
    Case("two Hosts", get("first", "Host: localhost"), (BOTH, *REFUSED)),
    Case("chunk data that is too long", post(_CHUNKED, body=b"1\r\nabc\r\n" + _ENDED), REFUSED),
    Case("chunk data without an end", post(_CHUNKED, body=b"1\r\na" + _ENDED), REFUSED, _READ_ON),
    Case("LF behind chunk data", post(_CHUNKED, body=b"1\r\na\n" + _ENDED), REFUSED, _READ_ON),
    Case("LF behind a chunk size", post(_CHUNKED, body=b"1\na\r\n" + _ENDED), REFUSED),
    Case("LF in a chunk extension", post(_CHUNKED, body=b"1;a\nb\r\n" + _ENDED), REFUSED),
    Case("CR in a chunk extension", post(_CHUNKED, body=b"1;a\rb\r\na\r\n" + _ENDED), REFUSED),
    Case("a trailer without a colon", post(_CHUNKED, body=b"0\r\nX-Any\r\n\r\n"), REFUSED, _READ_ON),
    Case("a space in the target", head("GET /api/health/live x HTTP/1.1"), REFUSED),
    Case("two spaces in the request line", head("GET  /api/health/live HTTP/1.1"), REFUSED),
    Case("a version in lower case", head("GET /api/health/live http/1.1"), REFUSED),
    Case("version 1.2", head("GET /api/health/live HTTP/1.2"), (BOTH, *REFUSED)),
    Case("version 2.0", head("GET /api/health/live HTTP/2.0"), REFUSED),
    Case("version 0.9", b"GET /api/health/live\r\n", REFUSED),
    Case("a method in parentheses", head("G(ET /api/health/live HTTP/1.1"), REFUSED),
    Case("NUL in the target", head("GET /api/health/live\0 HTTP/1.1"), REFUSED),
]
"""Requests that a server has to refuse."""
CASES = [*(Case(name, sent, (BOTH,)) for name, sent in VALID.items()), *LENIENT, *INVALID]
