"""What the Aerospike store asks of its servers: a client, what the namespace can do, and their errors in sentences."""
from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ..errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from .aerospike import AerospikeSettings

PASSING = {
    1: "the server met an error of its own",
    7: "the cluster is changing",
    8: "the namespace is full: give it more storage, or remove what it need not hold",
    9: "it did not answer in time",
    11: "the cluster cannot be reached, or has not formed yet",
    14: "too many wait for the same record",
    15: "the scan was broken off by the server",
    18: "its storage is too slow for what is written",
    22: "the server refuses this now (a quota of the set is used up, or the cluster's clocks are apart)",
    28: "another data center wrote at the same time",
    83: "the user's quota is used up",
    152: "its queues of batches are full",
    210: "the scan was broken off by the server",
    211: "its queue of scans is full",
    212: "the scan did not end in time",
    -1: "the client cannot, as while a cluster forms",
    -3: "the client was stopped",
    -4: "no such host",
    -5: "the client broke off",
    -6: "the connection failed",
    -7: "too many connections are open",
    -8: "a node of the cluster left",
    -9: "TLS failed: [store] tls and the tls_ settings must fit the server's",
    -10: "the connection failed",
    -11: "too much waits to be sent",
    -12: "it failed several times",
    -14: "it failed too often in a second",
    -15: "no answer came",
    -16: "a part of the batch failed",
}
_AWAY = frozenset([-1, -6, -8, -10, -15, 11])  # where nobody may be there
REFUSALS = {
    10: "the server refuses this for good",
    16: "the server does not know this command: drtc needs Aerospike 6 or newer",
    51: "the server knows no users: leave [store] user empty",
    52: "the server's security is switched off: leave [store] user empty",
    60: "there is no such user: change [store] user",
    61: "the user is not in order: change [store] user",
    62: "the password is wrong: change [store] password",
    63: "the password has expired: renew it, and change [store] password",
    65: "the password is wrong: change [store] password",
    66: "the password has expired: renew it, and change [store] password",
    80: "the server wants a user: set [store] user and password",
    81: "the user may not do this: grant it read-write and truncate on the namespace",
    82: "the user may not come from this address: change the server's whitelist",
    150: "the server takes no batches: set batch-max-requests",
    151: "the server takes no batch of this many: raise batch-max-requests in its configuration, or set it to 0",
}


def connect(settings: AerospikeSettings) -> Any:
    """A client of this process alone: it has threads, so it is made after any fork.

    Raises:
        StoreUnavailable: nobody answers there. StoreError: they refuse us, or the client is not installed.
    """
    try:
        import aerospike
        from aerospike.exception import AerospikeError
    except ImportError as error:
        raise StoreError("[store] type = aerospike, the default, needs the package aerospike: pip install"
                         " 'drtc[aerospike]', or set another type") from error
    aerospike.set_log_level(aerospike.LOG_LEVEL_OFF)  # what it would say, we say in a sentence
    try:
        return aerospike.client(client_settings(settings))
    except AerospikeError as error:
        failure = translated(settings.place, "connect", error)
        nameless = _unknown(settings) if isinstance(failure, StoreUnavailable) else []
        if nameless:  # the client does not say so
            failure = StoreUnavailable(f"{settings.place}: cannot connect now: {', '.join(nameless)}: see [store]"
                                       " hosts")
        raise failure from error


def client_settings(settings: AerospikeSettings) -> dict[str, Any]:
    """What the client is made with. Every timeout stands here, and nothing that the client would pass over."""
    import aerospike

    patience = max(1, round(settings.timeout * 1000))
    # Master and all copies: else a load may miss a save that was answered while the cluster was changing
    reads = {"read_mode_ap": aerospike.POLICY_READ_MODE_AP_ALL, "replica": aerospike.POLICY_REPLICA_MASTER}
    once = {"total_timeout": patience, "socket_timeout": patience, "max_retries": 1}
    auth = {"internal": aerospike.AUTH_INTERNAL, "external": aerospike.AUTH_EXTERNAL, "pki": aerospike.AUTH_PKI}
    made: dict[str, Any] = {
        "hosts": [(each.host, each.port, settings.tls_name or each.host) if settings.tls else tuple(each)
                  for each in settings.hosts],
        "validate_keys": True,
        "connect_timeout": min(patience, 5000),
        "policies": {
            "auth_mode": auth[settings.auth],
            "login_timeout_ms": patience,
            "batch": {**once, **reads},
            "batch_parent_write": once,  # of batches that save or remove
            "read": {**once, **reads},
            "write": once,
            "operate": once,
            "info": {"timeout": patience},
            # A scan lasts as long as it moves; where nothing comes, it is asked once more within the timeout
            "query": {"total_timeout": 0, "socket_timeout": max(1, patience // 2), "max_retries": 1},
        },
    }
    if settings.user:
        made.update(user=settings.user, password=settings.password)
    if settings.tls:
        files = {"cafile": settings.tls_ca, "certfile": settings.tls_certificate, "keyfile": settings.tls_key}
        made["tls"] = {"enable": True, **{name: path for name, path in files.items() if path}}
    return made


def survival(client: Any, settings: AerospikeSettings) -> str:
    """Checks the namespace; returns what "stored" survives with it.

    Raises:
        StoreError: there is none of that name, or it cannot do what the settings ask.
    """
    names = answer(client, settings, "namespaces").split(";")
    if settings.namespace not in names:
        raise StoreError(f"{settings.place}: there is no such namespace (there are: {', '.join(names)}): change"
                         " [store] namespace, or add it to the servers' configuration")
    said = asked(client, settings, f"get-config:context=namespace;id={settings.namespace}")
    if settings.ttl and said.get("nsup-period") == "0" and said.get("allow-ttl-without-nsup") != "true":
        raise StoreError(f"{settings.place}: nothing expires there (nsup-period is 0), and [store] ttl is set: set"
                         " nsup-period in the servers' configuration, or leave ttl out")
    copies = int(asked(client, settings, f"namespace/{settings.namespace}").get("effective_replication_factor", 1))
    kept = any(key.startswith(("storage-engine.file", "storage-engine.device")) for key in said)
    if said.get("storage-engine.commit-to-device") == "true":
        return "a killed process and a power cut"
    if copies > 1:
        return f"a killed process and the loss of {copies - 1} of {copies} copies"
    if kept:
        return "a killed process and an orderly restart of the server; its crash takes about the last second away"
    return "a killed process of drtc; not a restart of the server, which keeps this namespace in memory alone"


def batch_size(client: Any, settings: AerospikeSettings, most: int) -> int:
    """How many records a batch may have, besides the view's note: ``most``, or fewer where the server takes fewer."""
    limit = int(asked(client, settings, "get-config:context=service").get("batch-max-requests", 0))
    return min(most, max(1, limit - 1)) if limit else most


def _unknown(settings: AerospikeSettings) -> list[str]:
    """Of the hosts those whose names cannot be resolved, as parts of a sentence."""
    found = []
    for each in settings.hosts:
        try:
            socket.getaddrinfo(each.host, each.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found.append(f"the host {each.host} is not known ({error})")
    return found


def asked(client: Any, settings: AerospikeSettings, question: str) -> dict[str, str]:
    """What one node says, ``name=value`` as a dict."""
    return dict(each.split("=", 1) for each in answer(client, settings, question).split(";") if "=" in each)


def answer(client: Any, settings: AerospikeSettings, question: str) -> str:
    """What one node says, as it says it."""
    from aerospike.exception import AerospikeError

    try:
        said: str = client.info_random_node(question)
    except AerospikeError as error:
        raise translated(settings.place, "ask", error) from error
    return said.split("\t")[-1].strip()


def translated(place: str, doing: str, error: Any) -> StoreError:
    """The client's exception as ours; to be chained."""
    message = getattr(error, "msg", None) or str(error)
    return refusal(place, doing, getattr(error, "code", -1), message)


def refusal(place: str, doing: str, code: int, message: str | None) -> StoreError:
    """The error that a status of the client or the server stands for."""
    said = f" ({message})" if message and not message.endswith("AEROSPIKE_OK") else ""
    if code in PASSING:
        away = ": is it running? see [store] hosts" if code in _AWAY else ""
        return StoreUnavailable(f"{place}: cannot {doing} now: {PASSING[code]}{said}{away}")
    if code in REFUSALS:
        return StoreError(f"{place}: cannot {doing}: {REFUSALS[code]}{said}")
    return StoreError(f"{place}: cannot {doing}: error {code} of Aerospike{said}")
