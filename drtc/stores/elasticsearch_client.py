"""HTTP to Elasticsearch or OpenSearch, by elastic-transport, which serves both: requests, and errors as sentences."""
from __future__ import annotations

import logging
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any, Mapping, NoReturn, Sequence

import msgspec

from ..errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from elastic_transport import Transport

LIMIT = 100 << 20  # http.max_content_length of a server that does not tell
_OVERLOADED = frozenset({408, 429})

_decode = msgspec.json.Decoder().decode


class Cause(msgspec.Struct):
    reason: str | None = None
    caused_by: Cause | None = None


class Problem(msgspec.Struct):
    """What the server says about a request, or about one document of it, that failed."""

    type: str = ""
    reason: str | None = None
    caused_by: Cause | None = None

    def __str__(self) -> str:
        said = [self.reason or self.type]
        cause = self.caused_by
        while cause is not None:
            if cause.reason and cause.reason not in said[-1]:
                said.append(cause.reason)
            cause = cause.caused_by
        return " ".join(": ".join(said).split())[:1000]


class Outcome(msgspec.Struct):
    """What became of one document of a bulk request."""

    status: int
    seq: int = msgspec.field(default=-1, name="_seq_no")
    term: int = msgspec.field(default=-1, name="_primary_term")
    error: Problem | None = None


class _Bulk(msgspec.Struct):
    items: list[dict[str, Outcome]]


class _Failure(msgspec.Struct):
    error: Problem | str = ""


_bulk = msgspec.json.Decoder(_Bulk).decode
_failure = msgspec.json.Decoder(_Failure).decode
_OUTCOME = ",".join(f"items.*.{part}" for part in ("status", "_seq_no", "_primary_term", "error"))


class _Untouched:
    """Leaves bodies as they are: msgspec reads and writes them, several times quicker."""

    def loads(self, body: bytes) -> bytes:
        return body

    def dumps(self, body: bytes) -> bytes:
        return body


class Client:
    """Every request is answered within the timeout, or StoreUnavailable. It holds nothing that a failure could spoil:
    connections are the transport's, and one that breaks is replaced."""

    def __init__(self, hosts: Sequence[str], timeout: float, headers: Mapping[str, str], ca: str | None) -> None:
        self.where = ", ".join(hosts)
        self.limit = LIMIT
        self._timeout = timeout
        self._transport = _transport(hosts, headers, ca)

    def close(self) -> None:
        self._transport.close()

    def learn(self) -> None:
        """Asks for what the server takes; who may not ask is told nothing, and works.

        Raises:
            StoreUnavailable, StoreError: as ``call``; also where something else answers there.
        """
        status, body = self._ask("GET", "/_nodes/http?filter_path=nodes.*.http.max_content_length_in_bytes")
        if status in (403, 404, 405):
            return
        found = self._answer(status, body, "open")
        if not isinstance(found, dict):
            raise StoreError(f"{self.where}: this is neither Elasticsearch nor OpenSearch: change [store] hosts")
        self.limit = min((node["http"]["max_content_length_in_bytes"] for node in found.get("nodes", {}).values()),
                         default=LIMIT)

    def call(self, method: str, target: str, doing: str, body: bytes | None = None, but: str = "") -> Any:
        """The answer, decoded; None where it is a problem of the type ``but``.

        Raises:
            StoreUnavailable: no answer, or the server cannot now. StoreError: refused for good.
        """
        return self._answer(*self._ask(method, target, body), doing, but)

    def bulk(self, lines: bytes, doing: str) -> list[Outcome]:
        """What became of each document. By aliases alone: a name that is gone makes no new index.

        Raises as ``call``, for the request as a whole; an answer that is none is StoreUnavailable.
        """
        # The server gives up a little sooner than we, and says why
        target = f"/_bulk?require_alias=true&timeout={int(self._timeout * 800)}ms&filter_path={_OUTCOME}"
        status, answer = self._ask("POST", target, lines, "application/x-ndjson")
        if status != 200:
            self._answer(status, answer, doing)
        try:
            return [outcome for item in _bulk(answer).items for outcome in item.values()]
        except msgspec.DecodeError as error:  # a proxy's page, or half an answer: what was saved is not known
            raise StoreUnavailable(f"{self.where}: cannot {doing} now: what answers there is neither Elasticsearch nor"
                                   f" OpenSearch: see [store] hosts ({error})") from error

    def fail(self, status: int, problem: Problem, doing: str) -> NoReturn:
        """Raises what a failed request, or a document in it, means."""
        if "flood-stage" in str(problem):
            raise StoreUnavailable(f"{self.where}: the disk is full: make room on it ({problem})")
        if problem.type == "cluster_block_exception":
            raise StoreUnavailable(f"{self.where}: cannot {doing} now: {problem}")
        if status == 401:
            raise StoreError(f"{self.where}: it does not know us: check [store] user and password, or api_key"
                             f" ({problem})")
        if status == 403:
            raise StoreError(f"{self.where}: cannot {doing}: no permission: give [store] user or api_key the right to"
                             f" ({problem})")
        if problem.type in ("index_not_found_exception", "alias_not_found_exception"):
            raise StoreError(f"{self.where}: cannot {doing}: {problem} (was it reset while in use?): start drtc again")
        if status in _OVERLOADED or status >= 500:
            raise StoreUnavailable(f"{self.where}: cannot {doing} now: {problem}")
        raise StoreError(f"{self.where}: cannot {doing}: {problem}")

    def _answer(self, status: int, body: bytes, doing: str, but: str = "") -> Any:
        if status < 300:
            try:
                return _decode(body) if body else {}
            except msgspec.DecodeError as error:
                raise StoreError(f"{self.where}: what answers there is neither Elasticsearch nor OpenSearch: change"
                                 f" [store] hosts ({error})") from error
        try:
            said = _failure(body).error
        except msgspec.DecodeError:  # a proxy's page
            said = body[:200].decode("utf-8", "replace")
        problem = Problem(reason=f"{said or 'status'} ({status})") if isinstance(said, str) else said
        if but and problem.type == but:
            return None
        self.fail(status, problem, doing)

    def _ask(self, method: str, target: str, body: bytes | None = None,
             content: str = "application/json") -> tuple[int, bytes]:
        from elastic_transport import ConnectionTimeout, TransportError

        headers = {"accept": "application/json", **({"content-type": content} if body is not None else {})}
        try:
            answer = self._transport.perform_request(method, target, body=body, headers=headers,
                                                     request_timeout=self._timeout)
        except ConnectionTimeout as error:
            raise StoreUnavailable(f"{self.where}: no answer within {self._timeout:g} s") from error
        except (TransportError, OSError) as error:
            cause = _innermost(error)
            if isinstance(cause, SSLCertVerificationError):
                raise StoreError(f"{self.where}: its certificate is not to be trusted: check [store] hosts and ca"
                                 f" ({cause})") from error
            raise StoreUnavailable(f"{self.where}: cannot be reached ({cause}): is it running? see [store]"
                                   " hosts") from error
        return answer.meta.status, answer.body or b""


def _transport(hosts: Sequence[str], headers: Mapping[str, str], ca: str | None) -> Transport:
    try:
        from elastic_transport import NodeConfig, Transport
        from elastic_transport.client_utils import url_to_node_config
    except ImportError as error:
        raise StoreError("[store] type = elasticsearch (or opensearch) needs elastic-transport: pip install"
                         " 'drtc[elasticsearch]'") from error
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # what it would warn of, an error says
    nodes = []
    for host in hosts:
        node: NodeConfig = url_to_node_config(host, use_default_ports_for_scheme=True)
        nodes.append(node.replace(headers={**node.headers, **headers},
                                  **({"ca_certs": ca} if ca and node.scheme == "https" else {})))
    untouched: Any = _Untouched()
    types = ("application/json", "application/x-ndjson", "application/*", "text/*")
    return Transport(nodes, serializers=dict.fromkeys(types, untouched), max_retries=min(1, len(nodes) - 1),
                     retry_on_status=(), max_dead_node_backoff=5.0, meta_header=False)


def _innermost(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
