"""The head of a request, where clients write it in another form: absolute targets, and offers of other protocols."""

import re
from collections.abc import Mapping

_ABSOLUTE = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(/.*)?")
_OF_THE_UPGRADE = (b"upgrade", b"connection", b"http2-settings")


def path_of(target: str) -> str:
    """Return the path of a request target without its query; what is neither a path nor an absolute URL stays as it is.

    A server has to take `http://HOST/path` as well as `/path` (RFC 9112, section 3.2.2). Which host it names does not
    matter here, as it does not in the header; a user's name before the host is a trick, and such a target stays whole.
    """
    path = target.partition("?")[0]
    if path[:1] == "/":
        return path
    absolute = _ABSOLUTE.fullmatch(path)
    return path if absolute is None else absolute.group(1) or "/"


def without_upgrade(
    method: str, target: str, headers: Mapping[bytes, bytes], *, is_http11: bool, repeated: bytes | None
) -> bytes:
    """Write a request's head again without its offer to speak another protocol, such as HTTP/2 in clear text (h2c).

    A server may ignore the offer (RFC 9110, section 7.8), and the body that follows is part of the request all the
    same; but the parser hands the connection over at the head's end, and never reads that body.
    """
    lines = [f"{method} {target} HTTP/1.{int(is_http11)}".encode("latin-1")]
    lines += [b"%b: %b" % pair for pair in headers.items() if pair[0] not in _OF_THE_UPGRADE]
    if repeated is not None:  # so that whoever reads the head again sees it twice, too
        lines.append(b"%b: %b" % (repeated, headers[repeated]))
    options = {option.strip() for option in headers[b"connection"].lower().split(b",")}
    lines += [b"connection: %b" % option for option in (b"close", b"keep-alive") if option in options]
    return b"\r\n".join(lines) + b"\r\n\r\n"
