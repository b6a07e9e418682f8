"""Bearer tokens: JWT with HS256, six hours by default."""

import base64
import binascii
import hashlib
import hmac
import json
import math
import time

EXPIRED = "token has expired or is invalid"
NOT_SET = "authorization header not set"
EMPTY = "authentication token not set"
BAD_SIGNATURE = "invalid signature on token"
MALFORMED = "invalid token"

REMEMBERED = 1000


class TokenError(Exception):
    """The token is no good; the text is the gateway's sentence."""


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


HEADER = _encode(b'{"alg":"HS256","typ":"JWT"}')


class Tokens:
    """Issues tokens and reads them back. A token of another `generation` is no longer valid."""

    def __init__(self, secret, generation):
        self.secret = secret
        self.generation = generation
        self._read = {}

    def issue(self, user_id, user_type, lifetime):
        """A token for `lifetime` seconds, rounded up to a whole second of the clock."""
        now = time.time()
        claims = {
            "userId": user_id,
            "userType": user_type,
            "generation": self.generation,
            "iat": int(now),
            "exp": math.ceil(now + lifetime),
        }
        signed = f"{HEADER}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def user_of(self, header):
        """The user id in an Authorization header.

        :raise TokenError: with the gateway's sentence
        """
        if header is None:
            raise TokenError(NOT_SET)
        scheme, _, token = header.strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise TokenError(EMPTY)
        claims = self._claims(token)
        if claims["exp"] <= time.time() or claims["generation"] != self.generation:
            raise TokenError(EXPIRED)
        return claims["userId"]

    def _signature(self, signed):
        return _encode(hmac.digest(self.secret, signed.encode(), hashlib.sha256))

    def _claims(self, token):
        """The claims of a signed token, remembered: every deposit carries the same one."""
        claims = self._read.get(token)
        if claims is None:
            claims = self._parse(token)
            if len(self._read) >= REMEMBERED:
                self._read.clear()
            self._read[token] = claims
        return claims

    def _parse(self, token):
        signed, _, signature = token.rpartition(".")
        head, _, payload = signed.partition(".")
        try:
            algorithm = json.loads(_decode(head))["alg"]
            claims = json.loads(_decode(payload))
            known = {"exp", "generation", "userId"} <= claims.keys()
        except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as ex:
            raise TokenError(MALFORMED) from ex
        if algorithm != "HS256" or not known:
            raise TokenError(MALFORMED)
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise TokenError(BAD_SIGNATURE)
        return claims
