"""The address of a database that many machines share. Its password is used, and neither stored nor said."""

import re
from urllib.parse import quote, unquote

MASK = "***"
PASSWORD = re.compile(
    r"^([^:/?#]+://[^:/?#@]*):(.*)@"
)  # a password may itself have signs that end one: up to the last @
PARAMETER = re.compile(r"([?&](?:password|passwd|pwd|passphrase|sslpassword)=)([^&]+)", re.IGNORECASE)


def masked(url: str) -> str:
    """``url`` without its passwords."""
    return PARAMETER.sub(rf"\1{MASK}", PASSWORD.sub(rf"\1:{MASK}@", url))


def scrubbed(text: str, url: str) -> str:
    """``text``, which a driver may have made of parts of ``url``, without its passwords."""
    found = [found[2] for pattern in (PASSWORD, PARAMETER) for found in pattern.finditer(url)]
    found += [part for one in found for part in re.split("[@/]", one) if len(part) > 3]  # of a password cut too early
    for secret in sorted({form for one in found for form in (one, unquote(one), quote(one, safe=""))}, key=len)[::-1]:
        text = text.replace(secret, MASK) if len(secret) > 2 else text  # a shorter one would spoil every word
    return text


def with_quoted_password(url: str) -> str:
    """``url`` as SQLAlchemy reads it: what would end a password too early, as in ``u:p@ss@host``, is quoted."""
    given = PASSWORD.match(url)
    if given is None or "/" in given[2]:  # an @ behind the host: whose it is cannot be told
        return url
    return f"{given[1]}:{re.sub('[@?#]', lambda sign: quote(sign[0]), given[2])}@{url[given.end() :]}"
